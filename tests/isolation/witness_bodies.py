"""Python bodies that say what they find of their process: what the kernel and the interpreter keep, and what still works."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import ctypes
import decimal
import faulthandler
import gc
import importlib
import inspect
import json
import locale
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from halfstep import current

ALLOWED_BYTES = 150 * 2**20
FEW_DESCRIPTORS = 60
NAMES = [
    "json.dumps",
    "json.loads",
    "os.write",
    "os.read",
    "os.fork",
    "os.getpid",
    "os.kill",
    "os.environ.copy",
    "time.monotonic",
    "time.time",
    "time.sleep",
    "subprocess.Popen",
    "subprocess.Popen.wait",
    "subprocess.run",
    "socket.socket",
    "socket.socket.connect",
    "socket.getaddrinfo",
    "threading.Thread.start",
    "threading.Event",
    "logging.getLogger",
    "signal.signal",
    "sys.exit",
    "tempfile.mkstemp",
    "builtins.open",
    "builtins.print",
    "builtins.len",
    "builtins.__import__",
    "halfstep.current",
    "halfstep.context.enter",
    "halfstep.context.leave",
]
_log = logging.getLogger("witness")


def report() -> dict[str, Any]:
    """Everything, by name."""
    sections: dict[str, Callable[[], object]] = {
        **_KERNEL,
        **_INTERPRETER,
        **_ABILITIES,
    }
    return {name: _told(probe) for name, probe in sections.items()}


def speak() -> str:
    """Writes to every place that a body may write to."""
    print("printed")
    print("printed to stderr", file=sys.stderr)
    os.write(1, b"written below python\n")
    os.write(2, b"written below python to stderr\n")
    _log.warning("warned")
    current().log("logged")
    current().heartbeat({"half": True})
    subprocess.run(["sh", "-c", "echo said by a program; echo said by a program to stderr >&2"], check=True)
    return f"task {current().task_id}, attempt {current().attempt}, stop reason {current().stop_reason}"


def add(a: int, b: int) -> int:
    """Does what it is asked to."""
    return a + b


def fail() -> None:
    """Fails as anything can."""
    raise ValueError("this one fails")


def _told(probe: Callable[[], object]) -> object:
    try:
        return probe()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# -- the kernel's


def _status(*names: str) -> dict[str, str]:
    lines = (line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: value.strip() for name, value in lines if name in names}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _getenv(name: str) -> str | None:
    getenv = _libc().getenv
    getenv.restype = ctypes.c_char_p
    value = getenv(name.encode())
    return value.decode() if value else None


def _limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")}


def _prctl(option: int) -> int:
    value = ctypes.c_int()
    _libc().prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


def _session() -> list[bool]:
    zygote = os.getppid()
    return [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getsid(zygote), zygote == _parent_by_kernel()]


def _parent_by_kernel() -> int:
    return int(_status("PPid")["PPid"])


def _streams() -> list[str]:
    links = [os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in (0, 1, 2)]
    flags = [f"blocking {os.get_blocking(fd)}, inheritable {os.get_inheritable(fd)}" for fd in (0, 1, 2)]
    return [*links, *flags, f"different {os.fstat(1).st_ino != os.fstat(2).st_ino}"]


def _children() -> int:
    found = 0
    for thread in os.listdir("/proc/self/task"):
        found += len(Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found


_KERNEL: dict[str, Callable[[], object]] = {
    "environment": lambda: dict(sorted(os.environ.items())),
    "environment object": lambda: type(os.environ).__name__,
    "environment below python": lambda: {name: _getenv(name) for name in ("PATH", "HOME", "POLLUTED", "TZ", "LD_PRELOAD")},
    "folder": os.getcwd,
    "root": lambda: [os.stat("/").st_ino, os.path.exists("/proc/self")],
    "masks": lambda: _status("Umask", "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"),
    "handlers": lambda: {number.name: _handler(number) for number in signal.Signals},
    "timers": lambda: [signal.getitimer(kind)[0] > 0 for kind in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
    "limits": _limits,
    "ids": lambda: [os.getresuid(), os.getresgid(), os.getgroups()],
    "capabilities": lambda: _status("CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"),
    "priority": lambda: [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))],
    "session": _session,
    "prctl": lambda: [_prctl(2), _prctl(37), _libc().prctl(3, 0, 0, 0, 0), _libc().prctl(30, 0, 0, 0, 0)],
    "personality": lambda: _libc().personality(0xFFFFFFFF),
    "name": lambda: Path("/proc/self/comm").read_text(),
    "memory killer": lambda: Path("/proc/self/oom_score_adj").read_text(),
    "threads below python": lambda: _status("Threads"),
    "descriptors are few": lambda: len(os.listdir("/proc/self/fd")) < FEW_DESCRIPTORS,
    "descriptors 0 to 2": _streams,
    "processes": _children,
}


def _handler(number: signal.Signals) -> str:
    found = signal.getsignal(number)
    return getattr(found, "__qualname__", None) or repr(found)


# -- the interpreter's


def _stream(file: Any) -> list[object]:
    return [type(file).__name__, file.encoding, file.errors, file.line_buffering, file.write_through, file.closed, file.fileno()]


def _logging() -> list[object]:
    root = logging.getLogger()
    return [
        *(root.level, len(root.handlers), root.disabled, logging.root.manager.disable, logging.raiseExceptions),
        *(logging.getLoggerClass().__name__, logging.getLogRecordFactory().__name__, repr(logging.lastResort)),
        *(_log.disabled, _log.propagate, _log.level, len(_log.handlers)),
    ]


def _module(name: str) -> list[object]:
    found = sys.modules.get(name)
    return [type(found).__name__, getattr(found, "__name__", None), bool(getattr(found, "__spec__", None))]


def _origin(name: str) -> str:
    """Where a function comes from, which a patched one does not tell as the true one."""
    module, *rest = name.split(".")
    found: Any = importlib.import_module(module)
    for part in rest:
        found = getattr(found, part)
    return f"{type(found).__name__} {getattr(found, '__module__', '')} {getattr(found, '__qualname__', '')}"


def _hooks() -> list[str]:
    hooks = (sys.excepthook, sys.unraisablehook, sys.displayhook, sys.breakpointhook, threading.excepthook, warnings.showwarning)
    return [f"{getattr(hook, '__module__', '')} {getattr(hook, '__qualname__', hook)}" for hook in hooks]


def _traces() -> list[str]:
    return [repr(get()) for get in (sys.gettrace, sys.getprofile, threading.gettrace, threading.getprofile)]


def _context() -> list[str]:
    return sorted(variable.name for variable in contextvars.copy_context() if variable.name != "decimal_context")


def _time() -> list[object]:
    return [time.tzname, time.timezone, time.strftime("%H:%M %p", time.localtime(0)), locale.setlocale(locale.LC_ALL)]


_INTERPRETER: dict[str, Callable[[], object]] = {
    "path": lambda: sys.path,
    "importers": lambda: [[getattr(one, "__name__", repr(type(one))) for one in sys.meta_path], len(sys.path_hooks)],
    "modules": lambda: {name: _module(name) for name in ("json", "os", "subprocess", "logging", "socket", "halfstep.context")},
    "functions": lambda: {name: _told(lambda name=name: _origin(name)) for name in NAMES},  # type: ignore[misc]
    "builtins": lambda: [len(dir(builtins)), len([1, 2])],
    "stdin": lambda: [_stream(sys.stdin)[:1], sys.stdin is sys.__stdin__, sys.stdin.read()],
    "stdout": lambda: [_stream(sys.stdout), sys.stdout is sys.__stdout__, sys.stdout.write.__qualname__],
    "stderr": lambda: [_stream(sys.stderr), sys.stderr is sys.__stderr__, sys.stderr.write.__qualname__],
    "recursion": lambda: [sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits()],
    "sockets": socket.getdefaulttimeout,
    "hooks": _hooks,
    "traces": _traces,
    "loops": lambda: [repr(sys.get_asyncgen_hooks()), sys.get_coroutine_origin_tracking_depth()],
    "logging": _logging,
    "warnings": lambda: [str(one) for one in warnings.filters],
    "collector": lambda: [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)],
    "decimals": lambda: [decimal.getcontext().prec, sorted(str(trap) for trap, on in decimal.getcontext().traps.items() if on)],
    "chance is known": lambda: random.random() == random.Random(0).random(),
    "context": _context,
    "threads": lambda: sorted(thread.name for thread in threading.enumerate()),
    "faults": lambda: [faulthandler.is_enabled(), tracemalloc.is_tracing()],
    "time": _time,
}


# -- what works


def _program(*argv: str) -> list[object]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return [done.returncode, done.stdout]


def _file() -> list[object]:
    handle, path = tempfile.mkstemp()
    os.close(handle)
    plain = Path(path + "x")
    plain.write_text("text")
    found = [plain.read_text(), oct(plain.stat().st_mode)]
    os.unlink(path)
    plain.unlink()
    return [*found]


def _fresh_import() -> str | None:
    sys.modules.pop("this_is_a_witness", None)
    module = importlib.import_module("this_is_a_witness")
    del sys.modules["this_is_a_witness"]
    return str(module.WORD)


def _loop_of_policy() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = asyncio.get_event_loop_policy()
        try:
            policy.get_event_loop().close()
            return type(policy).__name__
        finally:
            asyncio.set_event_loop_policy(None)


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


def _thread() -> list[int]:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(7))
    thread.start()
    thread.join()
    return found


def _talk() -> bytes:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
        with there, here:
            here.sendall(b"hello")
            return there.recv(5)


def _deep(levels: int) -> int:
    return 0 if levels == 0 else 1 + _deep(levels - 1)


def _quits(number: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _clock() -> bool:
    return 0 < time.monotonic() <= time.clock_gettime(time.CLOCK_MONOTONIC) and time.time() > 10**9


_ABILITIES: dict[str, Callable[[], object]] = {
    "a loop of the policy": _loop_of_policy,
    "asyncio.run": lambda: asyncio.run(_answer()),
    "a program that fails": lambda: _program("sh", "-c", "exit 3"),
    "a program that is killed": lambda: _program("sh", "-c", "kill -9 $$"),
    "a program's place": lambda: _program("sh", "-c", "umask; pwd; nice; ulimit -n; trap; echo $PATH"),
    "a fork": lambda: _quits(5),
    "files": _file,
    "an import": _fresh_import,
    "a thread": _thread,
    "a socket": lambda: _talk().decode(),
    "recursion of 500": lambda: _deep(500),
    "clocks": _clock,
    "json": lambda: json.loads(json.dumps({"a": [1, None, "b"]})),
    "calculation": lambda: str(decimal.Decimal(1) / decimal.Decimal(7)),
    "a large number": lambda: len(str(10**4000)),
    "a warning": lambda: warnings.warn("a warning of the witness", stacklevel=1),
    "memory": lambda: len(bytearray(ALLOWED_BYTES)),
    "task": lambda: [current().task_id, current().attempt, current().seconds_left, current().stop_reason],
    "signature": lambda: str(inspect.signature(report)),
}
