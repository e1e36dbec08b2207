"""The overlay `keda-postgresql` on a real cluster: KEDA itself asks the view halfstep.demand, and no scaler of ours is there."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg2
import pytest
import yaml
from sqlalchemy.engine import make_url

from cluster.full_run import ALL, BODIES, LAUNCHERS, WORKERS, FullRun, watched
from cluster.installation import (
    DATABASE_SECRET,
    MIGRATED,
    NONE,
    SCALED_OBJECTS,
    SYSTEM,
    Installation,
    applied,
    wait_until_ready,
    write_overlay,
)
from cluster.kube import RUNTIME, Cluster
from cluster.manifest_ground import kubectl
from kustomize import MANIFESTS, Object, one, render_with
from waiting import wait_until

pytestmark = pytest.mark.cluster

OVERLAY = Path("overlays") / "keda-postgresql"
ROLE_FILE = MANIFESTS / OVERLAY / "role.sql"
ROLE = "halfstep_keda"
PASSWORD = secrets.token_hex(16)
POLLING_SECONDS, COOLDOWN_SECONDS = 5, 10
MOST_WORKERS = 5
SETTINGS = {
    "worker-max": str(MOST_WORKERS),
    "worker-cpu": "100m",
    "worker-memory": "512Mi",
    "worker-grace": "30",
    "worker-termination-grace": "45",
    "polling-interval": str(POLLING_SECONDS),
    "cooldown": str(COOLDOWN_SECONDS),
}
EXPORTER = ("rollout", "status", "deployment/halfstep-exporter")
METRICS_SECONDS = 60
LOOK_MILLISECONDS = 500


@pytest.fixture(scope="module")
def here(cluster: Cluster, keda: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation at zero replicas; skipped where KEDA does not run."""
    folder = tmp_path_factory.mktemp("overlay")
    with applied(cluster, folder / "all", overlay(folder)) as here:
        wait_until_ready([MIGRATED])
        make_role()
        wait_until_ready([EXPORTER, SCALED_OBJECTS])
        here.wait_for_replicas(NONE, seconds=60)
        yield here


@pytest.fixture(scope="module")
def run(here: Installation) -> Iterator[FullRun]:
    """All the work, come and gone."""
    with watched(here) as run:
        run.enqueue()
        run.wait_for_the_end()
        yield run


def overlay(folder: Path) -> list[Object]:
    """The shipped files as a user changes them, in a copy, and beside them the demo's PostgreSQL."""
    ours = folder / "manifests"
    shutil.copytree(MANIFESTS, ours)
    name, _, tag = RUNTIME.rpartition(":")
    change(ours / "overlays" / "production" / "image" / "kustomization.yaml", images=[image("halfstep", name, tag)])
    change(ours / OVERLAY / "settings.yaml", data=SETTINGS)
    for place in ("database", "all"):
        (folder / place).mkdir()
    (folder / "all" / "database.yaml").write_text(yaml.safe_dump_all(database(folder / "database")))
    return render_with(folder / "all", {"resources": [str(ours / OVERLAY), "database.yaml"]})


def change(file: Path, **more: Any) -> None:
    """Top-level keys of a file."""
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | more))


def image(name: str, new: str, tag: str) -> Object:
    """For kustomize's `images`."""
    return {"name": name, "newName": new, "newTag": tag}


def database(folder: Path) -> list[Object]:
    """The demo's PostgreSQL with its Secret, and the Secret for KEDA."""
    found = [each for each in write_overlay(folder) if is_of_database(each)]
    owner = make_url(base64.b64decode(one(found, "Secret", DATABASE_SECRET)["data"]["url"]).decode())
    url = owner.set(username=ROLE, password=PASSWORD).render_as_string(hide_password=False)
    metadata = {"name": "halfstep-keda", "namespace": SYSTEM}
    return [*found, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": url}}]


def is_of_database(each: Object) -> bool:
    """Whether it comes with the demo's PostgreSQL."""
    name = each["metadata"]["name"]
    return name == DATABASE_SECRET or "postgres" in name


def make_role() -> None:
    """As the file says."""
    words = ["--namespace", SYSTEM, "exec", "--stdin", "deployment/halfstep-postgres", "--"]
    psql = ["psql", "--dbname=halfstep", "--set=ON_ERROR_STOP=1", f"--set=password={PASSWORD}", "--file=-"]
    with ROLE_FILE.open() as file:
        done = subprocess.run(["kubectl", *words, *psql], stdin=file, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_keda_asks_the_database_itself_and_no_scaler_is_there(here: Installation) -> None:
    for name in NONE:
        (trigger,) = one(here.objects, "ScaledObject", name)["spec"]["triggers"]
        assert trigger["type"] == "postgresql"
    assert here.pods("halfstep-scaler") == []
    left = kubectl("--namespace", SYSTEM, "get", "deployments,services,serviceaccounts,networkpolicies", "--output=name")
    assert left.code == 0, left.err
    assert "scaler" not in left.out


def test_workers_come_within_a_poll_grow_with_the_work_and_all_leave(run: FullRun) -> None:
    for name, most in ((WORKERS, MOST_WORKERS), (LAUNCHERS, 1)):
        assert run.first_after(name) < POLLING_SECONDS + 2
        assert run.most(name)[1] == most
        changes = [number for _, number in run.replicas.since(run.committed_at, name)]
        assert changes.count(0) == 1, f"{name} were away while there was work: {changes}"
        assert changes[-1] == 0


def test_every_task_and_pod_succeeds_at_its_first_attempt(run: FullRun) -> None:
    ends = run.rows("SELECT placement, state, attempt, count(*) FROM halfstep.history GROUP BY 1, 2, 3 ORDER BY 1")
    assert ends == [("pod", "succeeded", 1, ALL - BODIES), ("worker", "succeeded", 1, BODIES)]


def test_the_exporter_shows_the_queue(run: FullRun, here: Installation) -> None:
    (pod,) = here.pods("halfstep-exporter")
    place = f"http://{pod.status.pod_ip}:9090"
    ended = f'halfstep_attempts_total{{outcome="succeeded",placement="worker",queue="default",reason=""}} {float(BODIES)}'
    wait_until(lambda: ended in got(f"{place}/metrics"), seconds=METRICS_SECONDS, what="all ends in the metrics")
    assert "halfstep_tasks{" in got(f"{place}/metrics")
    assert got(f"{place}/readyz")


def got(address: str) -> str:
    """The body of an answer; empty: there was none."""
    try:
        with urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())
    except URLError:
        return ""


def as_keda(here: Installation) -> Any:
    """A connection as KEDA opens one."""
    url = here.url.set(username=ROLE, password=PASSWORD).render_as_string(hide_password=False)
    return closing(psycopg2.connect(url, connect_timeout=5))


@pytest.mark.parametrize("query", ["TABLE halfstep.task", "TABLE halfstep.worker", "SELECT halfstep.enqueue('bash', '{}')"])
def test_kedas_role_may_read_the_view_and_nothing_else(query: str, here: Installation) -> None:
    with as_keda(here) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(waiting + running), 0) FROM halfstep.demand")
        assert cursor.fetchone() is not None
        with pytest.raises(psycopg2.Error, match=r"permission denied|may not enqueue|read-only"):
            cursor.execute(query)


def test_a_look_takes_no_seconds(here: Installation) -> None:
    (trigger,) = one(here.objects, "ScaledObject", WORKERS)["spec"]["triggers"]
    with as_keda(here) as connection, connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + trigger["metadata"]["query"])
        ((plan,),) = cursor.fetchone()
    assert "JIT" not in plan
    assert plan["Planning Time"] + plan["Execution Time"] < LOOK_MILLISECONDS
