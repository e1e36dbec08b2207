"""What one body must not change for the next in the interpreter: the facts that we name, all of them put right in place.

What a body imports stays, as that is what a warm child is for; what its own modules remember is its own affair.
"""

from __future__ import annotations

import codecs
import decimal
import gc
import logging
import socket
import sys
import tempfile
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from halfstep_worker.children.code_facts import replace as replace_all
from halfstep_worker.children.facts import Fact

_HOOKS = ("excepthook", "unraisablehook", "displayhook", "breakpointhook", "stdin", "stdout", "stderr", "__stdin__", "__stdout__",
          "__stderr__", "__excepthook__", "path", "meta_path", "path_hooks", "argv", "dont_write_bytecode", "modules",
          "addaudithook", "exit", "executable", "tracebacklimit")  # fmt: skip


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
        Fact(
            "the decimal context", decimal.getcontext, lambda old: decimal.setcontext(old.copy()), lambda now: now.copy(), _alike
        ),
        *_of_single_modules(),
    ]


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


def _same(value: Any) -> Any:
    return value


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
        ("the size of threads' stacks", threading.stack_size, threading.stack_size),
        ("the tracing of memory", tracemalloc.is_tracing, lambda on: tracemalloc.start() if on else tracemalloc.stop()),
    ]
    return [Fact(*pair) for pair in pairs]


def _logging() -> list[Fact]:
    root = logging.getLogger()
    return [
        Fact("the showing of warnings", _showing, _show_again),
        Fact("logging.disable", lambda: root.manager.disable, logging.disable),
        Fact("logging.raiseExceptions", lambda: logging.raiseExceptions, lambda old: setattr(logging, "raiseExceptions", old)),
        Fact("the loggers", _loggers, _set_loggers, unharmed=_are_as_they_were),
    ]


def _showing() -> object:
    return warnings.showwarning, warnings.formatwarning, getattr(logging, "_warnings_showwarning", None)


def _show_again(old: Any) -> None:
    """Also where logging.captureWarnings has put itself there."""
    warnings.showwarning, warnings.formatwarning, logging._warnings_showwarning = old  # type: ignore[attr-defined]


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, logger.disabled, logger.propagate, tuple(logger.handlers), tuple(logger.filters)


_NEW_LOGGER = (0, False, True, (), ())


def _loggers() -> dict[str, tuple[Any, ...]]:
    root = logging.getLogger()
    found = {name: _logger(one) for name, one in list(root.manager.loggerDict.items()) if isinstance(one, logging.Logger)}
    return found | {"root": _logger(root)}


def _are_as_they_were(old: dict[str, Any], now: dict[str, Any]) -> bool:
    """One that a body was the first to ask for has to be as it was then."""
    return old == now or all(old.get(name, _NEW_LOGGER) == state for name, state in now.items())


def _set_loggers(old: dict[str, Any]) -> None:
    for name, state in _loggers().items():
        level, disabled, propagate, handlers, filters = old.get(name, _NEW_LOGGER)
        if state != (level, disabled, propagate, handlers, filters):
            logger = logging.getLogger(None if name == "root" else name)
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
            logger.handlers[:], logger.filters[:] = handlers, filters


def _alike(old: decimal.Context, now: decimal.Context) -> bool:
    return str(old) == str(now)


def _of_single_modules() -> list[Fact]:
    """Settings of modules that may be loaded later. Where they are not, there is nothing to read."""
    csv, opener, start = "csv", "urllib.request", "multiprocessing.context"
    tempfile.gettempdir()  # so that it is known, and does not count as a change
    return [
        Fact("tempfile.tempdir", lambda: tempfile.tempdir, lambda old: setattr(tempfile, "tempdir", old)),
        Fact("the handlers of bad characters", lambda: [codecs.lookup_error(name) for name in _ERRORS],
             lambda old: [*map(codecs.register_error, _ERRORS, old)]),
        Fact("csv's limit of fields", lambda: sys.modules[csv].field_size_limit() if csv in sys.modules else 131072,
             lambda old: sys.modules[csv].field_size_limit(old)),
        Fact("urllib's opener", lambda: getattr(sys.modules.get(opener), "_opener", None),
             lambda old: setattr(sys.modules[opener], "_opener", old)),
        Fact("how multiprocessing starts", lambda: getattr(_default_context(start), "_actual_context", None),
             lambda old: setattr(_default_context(start), "_actual_context", old)),
    ]  # fmt: skip


_ERRORS = ("strict", "ignore", "replace", "backslashreplace", "surrogateescape")


def _default_context(module: str) -> Any:
    return getattr(sys.modules.get(module), "_default_context", None)


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
        replace_all(vars(file), own)
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
