"""The zygote: imports user code once, in a process of one thread, and forks children on request.

It alone forks and reaps children; the worker signals them itself, as a body may have frozen the zygote. When the worker is
gone it kills everything below itself, whatever session or group that moved to, and ends.

Requests: `["fork", id, token]` with four descriptors (task socket, stdout, stderr, shared page).
Reports: `["ready"]` or `["failed", sentence]` once, then `["forked", id, pid]`, `["unforked", id, sentence]`,
`["ended", id, code, max_rss_kib]`; a negative code is a signal.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from io import TextIOWrapper
from typing import Any, NoReturn

from halfstep.shield import shield
from halfstep_worker.children import kernel, processes
from halfstep_worker.children.birth import Birth, become_child
from halfstep_worker.children.code_facts import facts_of_the_code
from halfstep_worker.children.imports import Start, Unforkable
from halfstep_worker.children.pristine import remembered
from halfstep_worker.children.runner import Registry

MESSAGE_BYTES = 1024 * 1024
LEAVE_SECONDS = 3.0
_NEEDED = {signal.SIGTERM, signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGSEGV, signal.SIGBUS,
           signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}  # fmt: skip
_IGNORED = tuple(sorted(signal.valid_signals() - _NEEDED))
BLOCKED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


class Zygote:
    """One zygote process; `run` never returns."""

    def __init__(self, control: socket.socket, settings: dict[str, Any], registry: Registry) -> None:
        self._control = control
        self._settings = settings
        self._registry = registry
        self._code = remembered(facts_of_the_code())
        self._handlers = _children_handlers()
        self._children: dict[int, int] = {}  # pid -> id
        self._kept = processes.descendants(os.getpid(), processes.snapshot())  # what user code started when imported
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> NoReturn:
        """Serve until the worker closes the control socket or dies."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in _IGNORED:  # whatever a body sends to it
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        self._report("ready")
        while True:
            for fd, _ in poller.poll():
                self._buried() if fd == self._wake else self._request()

    def _report(self, *words: object) -> None:
        try:
            self._control.send(json.dumps(words).encode())
        except OSError:
            leave()

    def _request(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
        match json.loads(data or b"[]"):
            case []:
                leave()
            case ["fork", int(child), str(token)]:
                given = (os.getpid(), self._settings, self._registry, self._code, self._handlers, token.encode())
                self._fork(child, Birth(*given, *fds))

    def _fork(self, child: int, birth: Birth) -> None:
        """Signals wait while the child still has the zygote's handlers."""
        for file in (sys.stdout, sys.stderr):
            file.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            pid = os.fork()
            if pid == 0:
                become_child(birth, inherited=(self._control.fileno(), self._settings["lifeline"], self._wake, self._woken))
        except OSError as error:
            self._report("unforked", child, f"A child process could not be started: {error.strerror}.")
        else:
            self._children[pid] = child
            self._report("forked", child, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
            birth.close()

    def _buried(self) -> None:
        """Reap what has ended. A child's group is killed while its zombie still holds the group's number."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while (pid := _next_ended()) is not None:
            child = self._children.pop(pid, None)
            if child is not None:
                processes.kill_group(pid)
                self._kill_strays()
            _, status, usage = os.wait4(pid, 0)
            if child is not None:
                self._report("ended", child, os.waitstatus_to_exitcode(status), usage.ru_maxrss)

    def _kill_strays(self) -> None:
        """What a dead child left in sessions of their own is ours by now: a living child adopts its orphans itself."""
        found = processes.snapshot()
        known = self._children.keys() | self._kept
        mine = (one for one in found.values() if one.parent == os.getpid() and not one.ended)
        strays = {one.pid for one in mine if one.pid not in known}
        processes.kill(strays.union(*(processes.descendants(pid, found) for pid in strays)))


def _children_handlers() -> dict[int, Any]:
    """As imports have left them, but for what the zygote itself had to set before."""
    left: dict[int, Any] = {number: signal.getsignal(number) for number in _IGNORED}
    own: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGCHLD: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL,
           signal.SIGINT: signal.default_int_handler}  # fmt: skip
    return {**{number: handler for number, handler in left.items() if handler is not None}, **own}


def _next_ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def leave() -> NoReturn:
    """Kill all descendants, also those that are born meanwhile, and end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    processes.kill_others(seconds=LEAVE_SECONDS)
    os._exit(0)


def load(settings: dict[str, Any], control: socket.socket, lifeline: int) -> Registry:
    """Import user code through `settings["loader"]`, `module:function`. Raises whatever that raises.

    Does not return where an import has left what no fork survives: the zygote starts over then.
    """
    start = Start.take()
    module, _, function = settings["loader"].partition(":")
    given = settings["loader_settings"] | start.told
    try:
        registry: Registry = getattr(importlib.import_module(module), function)(given)
    except Unforkable as found:
        start.over(found, keep=(control.fileno(), lifeline))
    gc.collect()
    gc.disable()
    gc.freeze()
    return registry


def main(fd: int, lifeline: int) -> NoReturn:
    """The whole life of a zygote on the control socket `fd`, whose first message is the settings. lifeline: see Forker."""
    control = socket.socket(fileno=fd)
    settings = json.loads(control.recv(MESSAGE_BYTES, socket.MSG_PEEK) or b"null")  # left there for a zygote that starts over
    if settings is None:
        os._exit(0)
    _settle_in(settings["worker"], control)
    try:
        registry = load(settings, control, lifeline)
    except BaseException as error:  # whatever user code raises, also SystemExit, is the worker's to tell
        traceback.print_exc()
        control.send(json.dumps(["failed", _sentence(settings["loader"], error)]).encode())
        leave()
    control.recv(MESSAGE_BYTES)
    Zygote(control, settings | {"lifeline": lifeline}, registry).run()


def _settle_in(worker: int, control: socket.socket) -> None:
    """SIGTERM comes from the kernel when a thread of the worker ends; only the end of the worker counts, or its wish."""

    def on_term(*_: object) -> None:
        if os.getppid() != worker or _is_hung_up(control):
            leave()

    for file in (sys.stdout, sys.stderr):
        if isinstance(file, TextIOWrapper):
            file.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    kernel.rename("halfstep-zygote")
    kernel.adopt_orphans()
    kernel.forbid_tracing()
    shield()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # comes with the end of the worker, if it froze us (see Forker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_term)
    try:
        kernel.die_with(worker, by=signal.SIGTERM)
    except ProcessLookupError:
        leave()


def _is_hung_up(control: socket.socket) -> bool:
    poller = select.poll()
    poller.register(control, 0)
    return bool(poller.poll(0))


def _sentence(loader: str, error: BaseException) -> str:
    return f"User code could not be loaded ({loader}): {type(error).__name__}: {error}"[:4000]
