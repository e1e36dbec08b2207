"""What one body must not change for the next in the code itself: built-ins, and what modules that we know of consist of."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from halfstep_worker.children.facts import Fact

OWN_ROOMS = ("halfstep", "halfstep_worker")
WITH_CLASSES = ("subprocess", "socket", "threading", "logging", "json.encoder", "json.decoder", "os", "contextlib", "tempfile",
                "ssl", "uuid", "pathlib", "queue", "selectors", "http.client", "urllib.request", "random")  # fmt: skip
"""Modules whose classes are looked at too."""
_LIVELY = ("asyncio", "builtins", "logging", "multiprocessing", "signal", "sys", "threading", "time", "warnings")
"""Of these only functions, classes and modules count: their values are meant to change, and have facts of their own."""
_PLAIN = (str, bytes, float, tuple, frozenset, list, dict, set)
_HEAP_TYPE = 1 << 9
_MISSING = object()

Space = dict[str, Any]


def facts_of_the_code() -> list[Fact]:
    """What all others stand on. The zygote remembers it, for all its children: there are some thousand functions."""
    _listen(sys, "addaudithook")
    _listen(os, "register_at_fork")
    known.take([module for name, module in list(sys.modules.items()) if is_known(name) and isinstance(module, ModuleType)])
    return [
        Fact("the built-in functions", lambda: vars(builtins), lambda old: replace(vars(builtins), old), dict, setup=True),
        Fact("the loaded modules", lambda: sys.modules, partial(_bring_back, sys.modules), dict, _holds_all, setup=True),
        Fact("functions of the standard library or of halfstep", lambda: known, lambda _: known.bring_back(),
             lambda _: known.remember(), lambda *_: known.are_unharmed(), setup=True),
        _patched_classes(),
    ]  # fmt: skip


def is_known(name: str) -> bool:
    """Whether it is a module of the standard library or of ours: of others only their authors know what may change."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in OWN_ROOMS


def replace(living: Space, old: Space) -> None:
    """Make a namespace what it was."""
    for name in [name for name in living if name not in old]:
        del living[name]
    living.update(old)


class KnownModules:
    """Namespaces of modules, and what they were. One comparison in C for all of them, where nearly all looks end."""

    def __init__(self) -> None:
        self._spaces: list[Space] = []
        self._old: list[Space] = []
        self._harmed: list[Callable[[object, object], bool]] = []

    def take(self, modules: list[ModuleType]) -> None:
        """Look at these too from now on."""
        for module in modules:
            top = module.__name__.partition(".")[0]
            self._spaces.append(vars(module))
            self._old.append(dict(vars(module)))
            self._harmed.append(_is_other_code if top in (*_LIVELY, *OWN_ROOMS) else _is_other)

    def remember(self) -> KnownModules:
        """All of them as they are now."""
        self._old = [dict(space) for space in self._spaces]
        return self

    def are_unharmed(self) -> bool:
        """What has come to them, or has changed as it may, is remembered from now on."""
        if self._old == self._spaces:
            return True
        for old, space, harmed in zip(self._old, self._spaces, self._harmed, strict=True):
            if old != space:
                if any(harmed(value, space.get(name, _MISSING)) for name, value in old.items()):
                    return False
                old |= space
        return True

    def bring_back(self) -> None:
        """What was replaced or taken away is put back."""
        for old, space, harmed in zip(self._old, self._spaces, self._harmed, strict=True):
            space.update({name: value for name, value in old.items() if harmed(value, space.get(name, _MISSING))})


known = KnownModules()
"""Those of this process. A child goes on with what its zygote has remembered."""


def _is_code(value: object) -> bool:
    return callable(value) or isinstance(value, ModuleType)


def _is_other_code(old: object, now: object) -> bool:
    return now is not old and _is_code(old)


def _is_other(old: object, now: object) -> bool:
    """None may become something, and whole numbers count."""
    if now is old or old is None or type(old) in (int, bool):
        return False
    return not (type(old) in _PLAIN and type(now) is type(old) and now == old)


def _holds_all(old: Space, living: Space) -> bool:
    """Whether all modules are still there; what has come is remembered from now on."""
    if old == living:
        return True
    if any(living.get(name, _MISSING) is not value for name, value in old.items()):
        return False
    old |= living
    return True


def _bring_back(living: Space, old: Space) -> None:
    living.update(old)


def _patched_classes() -> Fact:
    """Their methods."""
    modules = [module for name, module in list(sys.modules.items()) if name in WITH_CLASSES]
    classes = [value for module in modules for value in vars(module).values() if _is_own(value, module)]
    spaces = [vars(one) for one in classes]
    return Fact(
        "methods of the standard library",
        lambda: spaces,
        lambda old: [*map(_mend_class, classes, old)],
        lambda living: [dict(space) for space in living],
        setup=True,
    )


def _is_own(value: object, module: ModuleType) -> bool:
    """A class of this module that can be changed: one written in Python."""
    return isinstance(value, type) and value.__module__ == module.__name__ and bool(value.__flags__ & _HEAP_TYPE)


def _mend_class(changed: type, old: Space) -> None:
    for name in [name for name in vars(changed) if name not in old]:
        delattr(changed, name)
    for name, value in old.items():
        if vars(changed).get(name, _MISSING) is not value:
            setattr(changed, name, value)


# -- hooks that can neither be seen nor taken away

_hooks: list[str] = []


def hooks_since_birth() -> list[str]:
    """Those that were set; of a child it is emptied when it is new."""
    return _hooks


def _listen(module: Any, name: str) -> None:
    original, frame = getattr(module, name), sys._getframe

    def noted(*args: Any, **kwargs: Any) -> Any:
        if frame(1).f_code.co_name != "<module>":  # modules of the standard library do so while they are imported
            _hooks.append(name)
        return original(*args, **kwargs)

    setattr(module, name, noted)
