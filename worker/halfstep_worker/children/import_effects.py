"""What a module does to its process while it is imported is set-up, and told apart from what bodies leave."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from halfstep_worker.children.code_facts import is_known, known


class ImportWatch:
    """A finder before all others, that finds nothing itself: it learns when users' modules begin and end to be executed.

    Only of the outermost import, in the main thread: what that imports is a part of it. Modules of the standard library leave
    the process alone; what they consist of is remembered before a body can change it.
    """

    def __init__(self, *, begins: Callable[[], Any], ended: Callable[[Any], None]) -> None:
        self._begins = begins
        self._ended = ended
        self._inside = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the others find, with an ear on its execution."""
        if (self._inside and not is_known(name)) or threading.current_thread() is not threading.main_thread():
            return None
        spec = self._found(name, path, target)
        if spec is not None and spec.loader is not None and not isinstance(spec.loader, type):
            execute = self._learn if is_known(name) else self._execute
            spec.loader.exec_module = partial(execute, spec.loader, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None

    @staticmethod
    def _learn(loader: Any, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)
        execute(module)
        known.take([module])

    def _execute(self, loader: Any, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)
        if self._inside:
            execute(module)
            return
        self._inside, before = True, self._begins()
        try:
            execute(module)
        finally:
            self._inside = False
        self._ended(before)  # not after a failure: a half-imported module is forgotten, and so is what it did
