"""The runtime's image, on a base made of Debian packages: `localhost/halfstep:test`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from cluster.harness.commands import run, say
from cluster.harness.images import Image, buildah
from cluster.harness.paths import CHECKOUT, cache

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
BASE = f"localhost/python-base:{SUITE}"

SOURCES = ("halfstep", "worker", "scaler", "cli")
FILES = ("pyproject.toml", "README.md", "LICENSE")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "cert", "proxy")
AUTHORITIES = Path("/etc/ssl/certs")


def _files() -> dict[str, Path]:
    paths = [path for folder in SOURCES for path in (CHECKOUT / folder).rglob("*")]
    inner = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(CHECKOUT)): path for path in [*inner, *(CHECKOUT / name for name in FILES)]}


def _flags() -> list[str]:
    """The build finds packages as this machine does: by its pip settings and certificate authorities."""
    settings = cache() / "pip.conf"
    settings.write_text("\n".join(["[global]", *_pip_settings()]) + "\n")
    shared = [f"--volume={settings}:/etc/pip.conf:ro"]
    if AUTHORITIES.exists():
        shared.append(f"--volume={AUTHORITIES}:{AUTHORITIES}:ro")
    _make_base()
    return [f"--build-arg=BASE={BASE}", "--layers", *shared]


def _pip_settings() -> list[str]:
    """Lines such as `global.cert='/etc/ssl/ca.crt'`, wherever they come from; the last one counts."""
    lines = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    found = {key.rpartition(".")[2]: value.strip("'") for key, _, value in (line.partition("=") for line in lines)}
    return [f"{key} = {found[key]}" for key in PIP_SETTINGS if key in found]


def _make_base() -> None:
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
        return
    say("Making a base image of Debian packages, once; about a minute ...")
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".base-") as folder:
        root = Path(folder) / "root"
        run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root], seconds=600)
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / waste)
        container = buildah("from", "scratch").strip()
        buildah("add", container, root, "/", seconds=300)
        buildah("commit", "--rm", container, BASE, seconds=300)


RUNTIME = Image("localhost/halfstep:test", CHECKOUT / "Dockerfile", _files, flags=_flags, salt=f"{SUITE} {PACKAGES}")
