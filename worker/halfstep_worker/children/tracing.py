"""Which of the modules that an import imports leaves something: looked for only where it is known that one does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from halfstep_worker.children.leftovers import Watch


@dataclass(slots=True)
class Trace:
    """`owners`: the modules before whose import nothing was left, and after it something; the innermost first."""

    watch: Watch
    owners: list[str] = field(default_factory=list)


@contextmanager
def traced(watch: Watch) -> Iterator[Trace]:
    """Looks after each module that is imported meanwhile. Slow, and the modules keep our loader: only for a process that ends."""
    trace = Trace(watch)
    finder = _Finder(trace)
    sys.meta_path.insert(0, finder)
    try:
        yield trace
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not self and hasattr(finder, "find_spec") else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._trace)
                return spec
        return None


class _Loader(Loader):
    """The module's own loader in all but that it looks at what is left."""

    def __init__(self, loader: Any, trace: Trace) -> None:
        self._loader = loader
        self._trace = trace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        clean = not self._trace.watch.left()  # else it is imported in the midst of what another one does
        self._loader.exec_module(module)
        if clean and self._trace.watch.left():
            self._trace.owners.append(module.__name__)
