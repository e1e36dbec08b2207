"""What the manifests need of a cluster before it can judge them: definitions of foreign kinds, namespaces, and a linter.

`python -m cluster.manifest_ground` fetches what comes from the network: tests run in that of our own cluster, with no way out.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.harness.commands import run
from cluster.harness.paths import cache, digest
from cluster.harness.programs import KEDA
from kustomize import Object

CHECKOV = "3.3.30"
MANAGER = "halfstep-tests"
ITSELF = {MANAGER, "kube-apiserver", "kube-controller-manager"}
"""Who writes to an object that is nobody's but ours."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """CustomResourceDefinitions in a Go module, which the Go proxy hands out and the checksum database vouches for."""

    module: str
    folder: str
    files: tuple[str, ...]
    version: str = ""
    """Empty: the one that the harness builds."""

    def found(self) -> list[Object]:
        """Downloaded if need be. Raises `ClusterError`."""
        module, cwd = (f"{self.module}@{self.version}", Path("/")) if self.version else (self.module, KEDA.source)
        folder = Path(json.loads(run(["go", "mod", "download", "-json", module], cwd=cwd, seconds=300))["Dir"])
        documents = [yaml.safe_load_all((folder / self.folder / f"{name}.yaml").read_text()) for name in self.files]
        return [document for each in documents for document in each if document]


DEFINITIONS = (
    Definitions(
        "github.com/kedacore/keda/v2",
        "config/crd/bases",
        ("keda.sh_scaledobjects", "keda.sh_triggerauthentications"),
    ),
    Definitions(
        "github.com/cert-manager/cert-manager",
        "deploy/crds",
        ("cert-manager.io_certificates", "cert-manager.io_issuers"),
        version="v1.21.2",
    ),
    Definitions(
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
        ("monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"),
        version="v0.85.0",
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one kubectl."""

    code: int
    out: str
    err: str


def kubectl(*words: str, given: Sequence[Object] = (), seconds: float = 120) -> Answer:
    """On the cluster of KUBECONFIG, with objects as its standard input; whatever it answers."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(given)})
    done = subprocess.run(["kubectl", *words], input=text, capture_output=True, text=True, timeout=seconds, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def there(name: str, objects: Sequence[Object]) -> Iterator[None]:
    """Applied, for all test processes together: the last one that leaves removes what was not there before the first.

    A definition that somebody else has written to since, as an installation of KEDA does, is theirs and stays.
    """
    with record(name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _note(file.name, _missing(objects))
        answer = kubectl("apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "-f", "-", given=objects)
        assert answer.code == 0, answer.err
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield
        finally:
            _remove_if_last(file, objects)


def record(name: str) -> Path:
    """The file that processes lock for what they share in the cluster of KUBECONFIG."""
    return Path(tempfile.gettempdir()) / f"halfstep-{name}-{digest(os.environ['KUBECONFIG'].encode())}"


def _note(record: str, missing: Sequence[str]) -> None:
    """Only the first one sees what is missing."""
    if missing:
        with Path(record).open("a") as file:
            file.writelines(f"{name}\n" for name in missing)


def _remove_if_last(record: Any, objects: Sequence[Object]) -> None:
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    ours = set(Path(record.name).read_text().splitlines())
    gone = [each for each in objects if _identity(each) in ours - _adopted(objects)]
    if gone:
        kubectl("delete", "--wait=true", "--ignore-not-found", "-f", "-", given=gone, seconds=180)
    record.truncate(0)


def _missing(objects: Sequence[Object]) -> list[str]:
    present = set(map(_identity, _present(objects)))
    return [name for name in map(_identity, objects) if name not in present]


def _adopted(objects: Sequence[Object]) -> set[str]:
    """Definitions that somebody else has written to."""
    managers = {
        _identity(each): {entry["manager"] for entry in each["metadata"].get("managedFields", ())}
        for each in _present([each for each in objects if each["kind"] == "CustomResourceDefinition"])
    }
    return {name for name, all_of_them in managers.items() if all_of_them - ITSELF}


def _present(objects: Sequence[Object]) -> list[Object]:
    if not objects:
        return []
    answer = kubectl("get", "--ignore-not-found", "--show-managed-fields", "--output=json", "-f", "-", given=objects)
    assert answer.code == 0, answer.err
    shown = json.loads(answer.out or "{}")
    return list(shown.get("items", [shown])) if shown else []


def _identity(each: Object) -> str:
    return f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}"


def _checkov() -> Path:
    return cache() / f"checkov-{CHECKOV}"


def has_checkov() -> bool:
    """Whether it was fetched."""
    return (_checkov() / "ready").exists()


def fetch() -> None:
    """Everything, once. Raises `ClusterError`."""
    for each in DEFINITIONS:
        each.found()
    if not has_checkov():
        venv.create(_checkov(), with_pip=True, clear=True)
        run([_checkov() / "bin" / "pip", "install", "--quiet", f"checkov=={CHECKOV}"], seconds=600)
        (_checkov() / "ready").touch()


def failed_checks(manifest: Path) -> list[dict[str, Any]]:
    """What checkov finds wrong with a file of objects. It asks nobody on the network."""
    words = ["--framework", "kubernetes", "--output", "json", "--quiet", "--skip-download", "--file", str(manifest)]
    done = subprocess.run([_checkov() / "bin" / "checkov", *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    report = json.loads(done.stdout)
    failed: list[dict[str, Any]] = report["results"]["failed_checks"]
    return failed


if __name__ == "__main__":
    fetch()
