"""What one body must not change for the next in the interpreter: the facts that we name, all of them put right in place.

What a body imports stays, as that is what a warm child is for; what its own modules remember is its own affair.
"""

from __future__ import annotations

import builtins
import gc
import logging
import os
import socket
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from halfstep_worker.children.facts import Fact

OWN_ROOMS = ("halfstep", "halfstep_worker")
STANDARD = (
    "abc", "codecs", "collections", "contextlib", "copy", "datetime", "decimal", "functools", "glob", "hashlib",
    "importlib", "inspect", "io", "itertools", "json", "json.decoder", "json.encoder", "locale", "logging", "math",
    "operator", "os", "os.path", "pathlib", "pickle", "posix", "re", "resource", "select", "selectors", "shutil", "signal",
    "socket", "ssl", "string", "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "types",
    "typing", "urllib.parse", "uuid", "weakref", "zlib",
)  # fmt: skip
"""Modules whose functions a body may not leave replaced, as far as they were imported before the child was born."""
WITH_CLASSES = ("subprocess", "socket", "threading", "logging", "json.encoder", "json.decoder", "os", "contextlib", "tempfile",
                "ssl", "uuid", "pathlib", "queue", "selectors")  # fmt: skip
"""Of those, the ones whose classes are looked at too."""
_HEAP_TYPE = 1 << 9
_HOOKS = ("excepthook", "unraisablehook", "displayhook", "breakpointhook", "stdin", "stdout", "stderr", "__stdin__", "__stdout__",
          "__stderr__", "__excepthook__", "path", "meta_path", "path_hooks", "argv", "dont_write_bytecode", "modules",
          "addaudithook")  # fmt: skip


def facts_of_the_code() -> list[Fact]:
    """What all others stand on. The zygote remembers it, for all its children: there are some thousand functions."""
    _listen(sys, "addaudithook")
    _listen(os, "register_at_fork")
    facts = [
        Fact("the built-in functions", lambda: vars(builtins), lambda old: _replace(vars(builtins), old), dict),
        Fact("the loaded modules", lambda: sys.modules, partial(_bring_back, sys.modules), dict, _holds_all),
        _patched(),
        _patched_classes(),
    ]
    return [replace(fact, setup=True) for fact in facts]


def facts_of_the_interpreter() -> list[Fact]:
    """In the order in which they are put right."""
    setup = [
        Fact("the attributes of sys", lambda: [getattr(sys, name, None) for name in _HOOKS], _set_hooks),
        *_lists(),
        *_settings(),
        *_logging(),
    ]
    return [
        *(replace(fact, setup=True) for fact in setup),
        Fact("the standard streams of Python", _streams, _set_streams),
        Fact("the event loop", _loop, _set_loop),
    ]


_hooks: list[str] = []


def hooks_since_birth() -> list[str]:
    """Hooks that were set and can neither be seen nor taken away; of a child it is emptied when it is new."""
    return _hooks


def _listen(module: Any, name: str) -> None:
    original, frame = getattr(module, name), sys._getframe

    def noted(*args: Any, **kwargs: Any) -> Any:
        if frame(1).f_code.co_name != "<module>":  # modules of the standard library do so while they are imported
            _hooks.append(name)
        return original(*args, **kwargs)

    setattr(module, name, noted)


_MISSING = object()


def _holds_all(old: dict[str, Any], living: dict[str, Any]) -> bool:
    """Whether all functions, classes and modules of a namespace are still there; what has come is remembered from now on.

    What is a mere value may be meant to change, and has a fact of its own where it matters.
    """
    if old == living:  # in C, where nearly all looks end
        return True
    if any(_is_fixed(value) and living.get(name, _MISSING) is not value for name, value in old.items()):
        return False
    old |= living
    return True


def _is_fixed(value: object) -> bool:
    return callable(value) or isinstance(value, ModuleType)


def _bring_back(living: dict[str, Any], old: dict[str, Any]) -> None:
    living.update({name: value for name, value in old.items() if _is_fixed(value)})


def _replace(living: dict[str, Any], old: dict[str, Any]) -> None:
    for name in [name for name in living if name not in old]:
        del living[name]
    living.update(old)


def _set_hooks(old: list[Any]) -> None:
    for name, value in zip(_HOOKS, old, strict=True):
        setattr(sys, name, value)


def _lists() -> list[Fact]:
    """Lists that stay the same object: what is in them is compared."""
    named: dict[str, list[Any]] = {
        "sys.path": sys.path,
        "sys.meta_path": sys.meta_path,
        "sys.path_hooks": sys.path_hooks,
        "sys.argv": sys.argv,
        "gc.callbacks": gc.callbacks,
    }
    lists = [Fact(name, partial(_same, living), partial(_refill, living), list) for name, living in named.items()]
    return [*lists, Fact("the filters of warnings", lambda: warnings.filters, _set_filters, list)]


def _refill(living: list[Any], old: list[Any]) -> None:
    living[:] = old


def _set_filters(old: list[Any]) -> None:
    warnings.filters[:] = old  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _patched() -> Fact:
    """Functions of modules that were replaced. One fact, compared in one go: there are some hundred modules."""
    spaces = [vars(module) for _, module in _known_modules()]
    return Fact(
        "functions of the standard library or of halfstep",
        partial(_same, spaces),
        lambda old: [*map(_bring_back, spaces, old)],
        lambda living: [dict(space) for space in living],
        lambda old, living: old == living or all([*map(_holds_all, old, living)]),
    )


def _patched_classes() -> Fact:
    """Their methods."""
    modules = [module for name, module in _known_modules() if name in WITH_CLASSES]
    classes = [value for module in modules for value in vars(module).values() if _is_own(value, module)]
    return Fact(
        "methods of the standard library",
        partial(_same, [vars(one) for one in classes]),
        lambda old: [*map(_mend_class, classes, old)],
        lambda living: [dict(space) for space in living],
    )


def _known_modules() -> list[tuple[str, ModuleType]]:
    return [(name, module) for name, module in list(sys.modules.items()) if _counts(name) and isinstance(module, ModuleType)]


def _is_own(value: object, module: ModuleType) -> bool:
    """A class of this module that can be changed: one written in Python."""
    return isinstance(value, type) and value.__module__ == module.__name__ and bool(value.__flags__ & _HEAP_TYPE)


def _mend_class(changed: type, old: dict[str, Any]) -> None:
    for name in [name for name in vars(changed) if name not in old]:
        delattr(changed, name)
    for name, value in old.items():
        if vars(changed).get(name, _MISSING) is not value:
            setattr(changed, name, value)


def _same(value: Any) -> Any:
    return value


def _counts(name: str) -> bool:
    return name in STANDARD or name.partition(".")[0] in OWN_ROOMS


def _settings() -> list[Fact]:
    """Values behind a getter and a setter."""
    pairs: list[tuple[str, Callable[[], object], Callable[[Any], object]]] = [
        ("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        ("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        ("the limit of digits", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        ("the trace function", sys.gettrace, sys.settrace),
        ("the profile function", sys.getprofile, sys.setprofile),
        ("the trace function of threads", threading.gettrace, threading.settrace),
        ("the profile function of threads", threading.getprofile, threading.setprofile),
        ("the hook of threads", lambda: threading.excepthook, lambda old: setattr(threading, "excepthook", old)),
        ("the hooks of asynchronous generators", sys.get_asyncgen_hooks, lambda old: sys.set_asyncgen_hooks(*old)),
        ("the garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        ("the thresholds of the garbage collector", gc.get_threshold, lambda old: gc.set_threshold(*old)),
        ("the debugging of the garbage collector", gc.get_debug, gc.set_debug),
        ("the default timeout of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
        ("the tracking of coroutines", sys.get_coroutine_origin_tracking_depth, sys.set_coroutine_origin_tracking_depth),
        ("the tracing of memory", tracemalloc.is_tracing, lambda on: tracemalloc.start() if on else tracemalloc.stop()),
    ]
    return [Fact(*pair) for pair in pairs]


def _logging() -> list[Fact]:
    root = logging.getLogger()
    known = [root, *(logger for logger in list(root.manager.loggerDict.values()) if isinstance(logger, logging.Logger))]
    return [
        Fact("the showing of warnings", _showing, _show_again),
        Fact("logging.disable", lambda: root.manager.disable, logging.disable),
        Fact("logging.raiseExceptions", lambda: logging.raiseExceptions, lambda old: setattr(logging, "raiseExceptions", old)),
        Fact("the loggers", lambda: [_logger(one) for one in known], lambda old: _set_loggers(known, old)),
    ]


def _showing() -> object:
    return warnings.showwarning, warnings.formatwarning, getattr(logging, "_warnings_showwarning", None)


def _show_again(old: Any) -> None:
    """Also where logging.captureWarnings has put itself there."""
    warnings.showwarning, warnings.formatwarning, logging._warnings_showwarning = old  # type: ignore[attr-defined]


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, logger.disabled, logger.propagate, tuple(logger.handlers), tuple(logger.filters)


def _set_loggers(known: list[logging.Logger], old: list[tuple[Any, ...]]) -> None:
    for logger, (level, disabled, propagate, handlers, filters) in zip(known, old, strict=True):
        if _logger(logger) != (level, disabled, propagate, handlers, filters):
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
            logger.handlers[:], logger.filters[:] = handlers, filters


def _standard() -> list[Any]:
    return [file for file in (sys.__stdin__, sys.__stdout__, sys.__stderr__) if file is not None]


def _streams() -> object:
    """How they write; whether one is closed, which nothing cures; what was put over their methods."""
    return [
        (file.closed, file.encoding, file.errors, file.line_buffering, file.write_through, dict(vars(file)))
        for file in _standard()
    ]


def _set_streams(old: list[tuple[Any, ...]]) -> None:
    for file, (_, encoding, errors, line_buffering, write_through, own) in zip(_standard(), old, strict=True):
        _replace(vars(file), own)
        if file.writable():
            file.reconfigure(encoding=encoding, errors=errors, line_buffering=line_buffering, write_through=write_through)


def _loop() -> object:
    """Whether asyncio is as it was: no policy of a body's, no loop that one has set or left running."""
    events: Any = sys.modules.get("asyncio.events")
    policy = getattr(events, "_event_loop_policy", None)
    local = getattr(policy, "_local", None)
    touched = getattr(local, "_set_called", False) or getattr(local, "_loop", None) is not None
    return type(policy), touched, events._get_running_loop() if events else None


def _set_loop(old: tuple[Any, ...]) -> None:
    """A policy that an import has set is made anew, without what it remembers."""
    events: Any = sys.modules["asyncio.events"]
    policy_class, _, running = old
    events._set_running_loop(running)
    events._event_loop_policy = None if policy_class is type(None) else policy_class()
