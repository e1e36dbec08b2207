"""Bodies that change what the interpreter and its library keep for all code of a process."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import contextvars
import decimal
import faulthandler
import gc
import json
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import warnings
from typing import Any

from isolation.polluting import pollutes

_VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("polluted")


def nothing(*args: Any, **named: Any) -> None:
    """Takes the place of what did something."""


def refuse(*args: Any, **named: Any) -> Any:
    """Takes the place of what did something, and says no."""
    raise RuntimeError("polluted")


# -- where code comes from


@pollutes()
def no_path() -> None:
    sys.path.clear()


@pollutes()
def a_path_before_others() -> None:
    sys.path.insert(0, "/nowhere")


@pollutes()
def the_path_is_another_list() -> None:
    sys.path = ["/nowhere"]


@pollutes()
def an_importer_refuses() -> None:
    class Refusing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            raise ImportError(f"no {name} any more")

    sys.meta_path.insert(0, Refusing())  # type: ignore[arg-type]


@pollutes()
def no_importers() -> None:
    sys.meta_path.clear()
    sys.path_hooks.clear()


@pollutes()
def json_is_a_fake() -> None:
    sys.modules["json"] = types.ModuleType("json")


@pollutes()
def os_is_a_fake() -> None:
    sys.modules["os"] = types.ModuleType("os")


@pollutes()
def subprocess_is_missing() -> None:
    sys.modules["subprocess"] = None  # type: ignore[assignment]


@pollutes()
def modules_are_gone() -> None:
    for name in ("json", "logging", "socket", "subprocess", "asyncio", "tempfile"):
        sys.modules.pop(name, None)


@pollutes()
def our_modules_are_gone() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("halfstep")]:
        del sys.modules[name]


# -- patches


@pollutes()
def open_is_patched() -> None:
    builtins.open = refuse


@pollutes()
def print_is_patched() -> None:
    builtins.print = nothing


@pollutes()
def len_is_patched() -> None:
    builtins.len = lambda _: 0  # type: ignore[assignment]


@pollutes()
def import_is_patched() -> None:
    builtins.__import__ = refuse


@pollutes()
def a_builtin_is_new() -> None:
    builtins.polluted = True  # type: ignore[attr-defined]


@pollutes()
def dumps_is_patched() -> None:
    json.dumps = lambda *_, **__: '"polluted"'


@pollutes()
def write_is_patched() -> None:
    os.write = lambda fd, data: len(data)


@pollutes()
def the_clock_stands() -> None:
    time.monotonic = lambda: 0.0
    time.monotonic_ns = lambda: 0
    time.time = lambda: 0.0


@pollutes()
def programs_are_patched() -> None:
    subprocess.Popen = refuse  # type: ignore[assignment, misc]


@pollutes()
def a_method_of_programs_is_patched() -> None:
    subprocess.Popen.wait = lambda *_, **__: 0  # type: ignore[method-assign]


@pollutes()
def sockets_are_patched() -> None:
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse


@pollutes()
def threads_are_patched() -> None:
    threading.Thread.start = nothing  # type: ignore[method-assign]


@pollutes("succeeded", "failed")
def the_pid_is_patched() -> None:
    os.getpid = lambda: 1


# -- hooks


@pollutes()
def hooks_are_others() -> None:
    sys.excepthook = nothing
    sys.unraisablehook = nothing
    sys.displayhook = nothing
    sys.breakpointhook = nothing
    threading.excepthook = nothing


@pollutes()
def hooks_raise() -> None:
    sys.excepthook = refuse
    sys.unraisablehook = refuse
    threading.excepthook = refuse


@pollutes()
def a_trace_refuses() -> None:
    sys.settrace(_refuse_lines)
    threading.settrace(_refuse_lines)


@pollutes()
def a_profile_listens() -> None:
    sys.setprofile(nothing)
    threading.setprofile(nothing)


def _refuse_lines(frame: types.FrameType, event: str, arg: object) -> None:
    if "witness" in frame.f_code.co_filename:
        raise RuntimeError("polluted")


@pollutes("succeeded", "failed")
def an_audit_refuses() -> None:
    sys.addaudithook(lambda event, args: refuse() if event in ("open", "subprocess.Popen", "socket.connect", "import") else None)


@pollutes("succeeded", "failed")
def an_audit_refuses_everything() -> None:
    sys.addaudithook(lambda event, args: refuse())


@pollutes()
def forks_are_hooked() -> None:
    os.register_at_fork(before=nothing, after_in_child=lambda: os._exit(9))


@pollutes()
def something_is_done_at_the_end() -> None:
    atexit.register(print, "said by a body that is over")


# -- logging and warnings


@pollutes()
def logging_is_disabled() -> None:
    logging.disable(logging.CRITICAL)


@pollutes()
def the_root_says_everything() -> None:
    logging.getLogger().setLevel(logging.DEBUG)


@pollutes()
def the_root_has_a_handler() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="polluted %(message)s", force=True)


@pollutes()
def a_handler_of_the_root_raises() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("polluted")

    logging.getLogger().addHandler(Broken())


@pollutes()
def a_logger_is_off() -> None:
    logging.getLogger("witness").disabled = True
    logging.getLogger("witness").propagate = False


@pollutes()
def loggers_are_of_another_class() -> None:
    class Silent(logging.Logger):
        def handle(self, record: logging.LogRecord) -> None:
            return

    logging.setLoggerClass(Silent)
    logging.raiseExceptions = False
    logging.setLogRecordFactory(lambda *args, **named: logging.LogRecord("polluted", 10, "", 0, "polluted", None, None))


@pollutes()
def logging_is_shut_down() -> None:
    logging.shutdown()


@pollutes()
def warnings_are_errors() -> None:
    warnings.simplefilter("error")


@pollutes()
def warnings_are_shown_elsewhere() -> None:
    warnings.showwarning = nothing
    logging.captureWarnings(True)


# -- numbers, memory, loops


@pollutes()
def rubbish_stays() -> None:
    gc.disable()
    gc.set_threshold(0)


@pollutes()
def everything_is_frozen() -> None:
    gc.freeze()
    gc.set_debug(gc.DEBUG_SAVEALL)


@pollutes()
def rubbish_is_reported() -> None:
    gc.callbacks.append(nothing)


@pollutes()
def calculates_with_two_digits() -> None:
    decimal.getcontext().prec = 2
    decimal.getcontext().traps[decimal.Inexact] = True


@pollutes()
def chance_is_known() -> None:
    random.seed(0)


@pollutes()
def shallow_recursion() -> None:
    sys.setrecursionlimit(120)


@pollutes()
def deep_recursion_is_allowed() -> None:
    sys.setrecursionlimit(10**6)


@pollutes()
def threads_switch_seldom() -> None:
    sys.setswitchinterval(5.0)


@pollutes()
def short_numbers() -> None:
    sys.set_int_max_str_digits(0)


@pollutes()
def sockets_have_no_time() -> None:
    socket.setdefaulttimeout(1e-6)


@pollutes()
def a_loop_has_run() -> None:
    asyncio.run(asyncio.sleep(0))


@pollutes()
def another_policy_of_loops() -> None:
    class Refusing(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> Any:
            raise RuntimeError("polluted")

    asyncio.set_event_loop_policy(Refusing())


@pollutes()
def a_closed_loop_is_left() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


@pollutes()
def a_running_loop_is_left() -> None:
    loop = asyncio.new_event_loop()
    asyncio.events._set_running_loop(loop)


@pollutes()
def loops_are_hooked() -> None:
    sys.set_asyncgen_hooks(firstiter=refuse, finalizer=refuse)
    sys.set_coroutine_origin_tracking_depth(10)


@pollutes()
def a_variable_of_the_context_is_set() -> None:
    _VARIABLE.set("yes")


@pollutes()
def faults_are_told() -> None:
    faulthandler.enable(file=open(os.devnull, "w"))  # noqa: SIM115
    faulthandler.dump_traceback_later(0.05, exit=True)


@pollutes()
def memory_is_traced() -> None:
    tracemalloc.start(25)
