"""Images built by buildah from what lies here, without a registry, once for each state of their files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.harness import inside
from cluster.harness.commands import ClusterError, run, say
from cluster.harness.paths import HERE, cache, digest
from cluster.harness.programs import Module
from cluster.harness.programs import built as programs_of

STORAGE_BYTES = 5e9
"""A storage that has grown larger than this is begun anew: buildah does not know which of its layers are still of use."""


@dataclass(frozen=True, slots=True)
class Image:
    """A Dockerfile and the files that it sees."""

    tag: str
    dockerfile: Path
    files: Callable[[], dict[str, Path]]
    """Name within the build -> the file's place."""
    flags: Callable[[], list[str]] = list
    """Further words for `buildah bud`."""
    salt: str = ""
    """What it depends on besides its files."""

    @property
    def archive(self) -> Path:
        """The built image as a file."""
        parts = [self.salt.encode(), self.dockerfile.read_bytes()]
        for name, file in sorted(self.files().items()):
            parts += [name.encode(), file.read_bytes()]
        slug = self.tag.replace("/", "-").replace(":", "-")
        return cache() / "images" / f"{slug}-{digest(*parts)}.tar"


def busybox() -> dict[str, Path]:
    """The machine's statically linked busybox. Raises `ClusterError` for another one."""
    place = Path(shutil.which("busybox") or "/bin/busybox")
    if b"/ld-linux" in place.read_bytes():
        raise ClusterError("The busybox here needs libraries; install the package busybox-static.")
    return {"busybox": place}


PAUSE = Image("localhost/pause:1", HERE / "images" / "pause.Dockerfile", busybox)
TOOLS = Image("localhost/tools:1", HERE / "images" / "tools.Dockerfile", busybox)


def program_image(name: str, *, module: Module, programs: tuple[str, ...], names: tuple[str, ...] = ()) -> Image:
    """`localhost/NAME:1` with built programs at its root, under their own names or under `names`."""

    def files() -> dict[str, Path]:
        folder = programs_of(module)
        return {inner: folder / program for inner, program in zip(names or programs, programs, strict=True)}

    return Image(f"localhost/{name}:1", HERE / "images" / "program.Dockerfile", files)


def built(image: Image) -> Path:
    """Its archive, made now if need be."""
    archive = image.archive
    if not archive.exists():
        say(f"Building the image {image.tag} ...")
        archive.parent.mkdir(parents=True, exist_ok=True)
        _prune_storage()
        _build(image, archive)
        _forget_old(archive)
    return archive


def _build(image: Image, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as folder:
        context, result = Path(folder) / "context", Path(folder) / "image.tar"
        for name, file in image.files().items():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, context / name)
        buildah("bud", "--file", image.dockerfile, "--tag", image.tag, *image.flags(), context, seconds=600)
        buildah("push", "--quiet", image.tag, f"docker-archive:{result}:{image.tag}")
        result.rename(archive)


def buildah(*words: str | Path, seconds: float = 120) -> str:
    """Runs it on a storage of our own, without a daemon and without a container runtime."""
    verb, *rest = words
    isolation = ("--isolation", "chroot") if verb == "bud" else ()
    places = ("--root", storage() / "root", "--runroot", storage() / "run")
    return run(["buildah", "--storage-driver", _driver(), *places, verb, *isolation, *rest], seconds=seconds)


def storage() -> Path:
    """Where buildah keeps its layers."""
    return cache() / "storage"


def _driver() -> str:
    """Layers are mounted where the file system bears it, else copied (slow, but it works anywhere)."""
    return "overlay" if run(["stat", "--file-system", "--format=%T", cache()]).strip() in ("ext2/ext3", "xfs", "btrfs") else "vfs"


def _prune_storage() -> None:
    folder = storage()
    if folder.exists() and sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink()) > STORAGE_BYTES:
        shutil.rmtree(folder)


def _forget_old(archive: Path) -> None:
    """Keeps the three newest states of an image: checkouts share the cache."""
    stem = archive.stem.rpartition("-")[0]
    states = sorted(archive.parent.glob(f"{stem}-*.tar"), key=lambda file: file.stat().st_mtime)
    for old in states[:-3]:
        old.unlink(missing_ok=True)


def load(image: Image, *, archive: Path) -> None:
    """Brings that state of it to the node, unless the node has it."""
    label = f"halfstep.test/{archive.stem}"
    if label in inside.ctr("images", "list", f"name=={image.tag}"):
        return
    inside.ctr("images", "import", archive, seconds=120)
    inside.ctr("images", "label", image.tag, f"{label}=here")
