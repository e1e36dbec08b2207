"""Programs built from their Go modules, once for each state of our `go.mod` and `go.sum`."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.harness.commands import run, say
from cluster.harness.paths import HERE, cache, digest

KUBERNETES = "1.36.3"
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class Module:
    """A folder of `programs/` with a `go.mod`: either all of its tools are built, or the program in the folder itself."""

    name: str
    minutes: int
    """How long a first build takes on two cores."""
    link: str = ""
    """Further flags for the linker."""
    own: bool = False
    """The folder has a `main.go`."""

    @property
    def source(self) -> Path:
        """Its folder."""
        return HERE / "programs" / self.name

    @property
    def target(self) -> Path:
        """Where its programs are once they are built."""
        state = [file.read_bytes() for file in sorted(self.source.iterdir())]
        return cache() / "programs" / f"{self.name}-{digest(self.link.encode(), *state)}"


KUBERNETES_MODULE = Module(
    "kubernetes",
    minutes=8,
    # A node without them shows itself as v0.0.0.
    link=f"-X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36",
)
ETCD = Module("etcd", minutes=1, own=True)
COREDNS = Module("coredns", minutes=2, own=True)
KWOK = Module("kwok", minutes=2)
KEDA = Module("keda", minutes=7)


def built(module: Module) -> Path:
    """The folder with the module's programs, built now if need be."""
    if not module.target.exists():
        say(f"Building {module.name}, once; about {module.minutes} minutes ...")
        _build(module)
    return module.target


def _build(module: Module) -> None:
    module.target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=module.target.parent, prefix=".building-"))
    try:
        _compile(module, folder)
        folder.chmod(0o755)
        if not module.target.exists():  # another checkout may have been faster
            folder.rename(module.target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile(module: Module, folder: Path) -> None:
    into = f"{folder / module.name}" if module.own else f"{folder}/"
    flags = ["-buildvcs=false", "-trimpath", f"-ldflags=-s -w {module.link}".rstrip()]
    environment = os.environ | {"CGO_ENABLED": "0"}
    run(
        ["go", "build", *flags, "-o", into, "." if module.own else "tool"],
        cwd=module.source,
        env=environment,
        seconds=2400,
    )
