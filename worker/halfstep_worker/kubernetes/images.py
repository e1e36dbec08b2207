"""Names of images, read as container runtimes read them, and the patterns of a policy.

The grammar is that of https://pkg.go.dev/github.com/distribution/reference: `[registry/]path[:tag][@digest]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

_LONGEST = 255
_HUB = ("docker.io", "index.docker.io")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"sha(?:256|384|512):[0-9a-f]{32,}|[0-9a-f]{64}")
"""Of an image that lies on a node, whatever it was called when it came there."""


@dataclass(frozen=True, slots=True)
class Image:
    """A name taken apart. With a digest, the tag has no meaning."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    def fits(self, pattern: str) -> bool:
        """Whether one of its spellings fits: with or without `docker.io/library/`, with or without `:latest`.

        A digest decides alone what is run, so a pattern that says something of a tag fits it only if it has an `@` too.
        """
        whole = "@" in pattern
        if self.digest and not whole and ":" in pattern.partition("/")[2 if "/" in pattern else 0]:
            return False
        return any(_fits(name + end, pattern) for name, end in product(self._spellings(), self._ends(whole)))

    def _spellings(self) -> Iterator[str]:
        """Without its registry only where a reader can't take the path's first part for one."""
        if self.registry not in _HUB:
            yield f"{self.registry}/{self.path}"
            return
        for path in self._paths():
            yield from (f"{registry}/{path}" for registry in _HUB)
            if not _is_registry(path.partition("/")[0]):
                yield path

    def _paths(self) -> tuple[str, ...]:
        folder, _, name = self.path.partition("/")
        return (self.path, name) if folder == "library" and "/" not in name else (self.path,)

    def _ends(self, whole: bool) -> tuple[str, ...]:
        if self.digest:
            return (f"@{self.digest}", *((f":{self.tag}@{self.digest}",) if whole and self.tag else ()))
        return ("", ":latest") if self.tag in ("", "latest") else (f":{self.tag}",)


def read_image(text: str) -> Image | None:
    """None: it is no name of an image, or the bare id of one, which says nothing of where it came from."""
    name, at, digest = text.partition("@")
    if len(name) > _LONGEST or (at and not _DIGEST.fullmatch(digest)) or _ID.fullmatch(name):
        return None
    registry, path = _split(name)
    path, colon, tag = path.partition(":")
    if registry in _HUB and "/" not in path:
        path = f"library/{path}"
    well = _REGISTRY.fullmatch(registry) and _PATH.fullmatch(path) and (not colon or _TAG.fullmatch(tag))
    return Image(registry, path, tag, digest) if well else None


def _fits(spelling: str, pattern: str) -> bool:
    """`*` before the first `/` of a pattern stays before the first `/`: another registry's path is no registry.

    So a pattern without a `/`, but `*` alone, fits no spelling with one: `alpine:3*` fits no path of the host `alpine:3000`.
    """
    if pattern == "*":
        return True
    first, slash, rest = pattern.partition("/")
    its_first, its_slash, its_rest = spelling.partition("/")
    return slash == its_slash and fnmatchcase(its_first, first) and fnmatchcase(its_rest, rest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    return (first, rest) if slash and _is_registry(first) else (_HUB[0], name)


def _is_registry(first: str) -> bool:
    """By the part before the first `/`. Anything else is a path of Docker's own registry."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first
