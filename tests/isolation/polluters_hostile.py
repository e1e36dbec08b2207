"""Bodies that end badly, or turn against what runs them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import signal
import socket
import sys
import threading
from typing import Any

import halfstep
import halfstep.context
from isolation.polluters_lasting import sockets
from isolation.polluting import pollutes


def wait_for_ever() -> None:
    while True:
        signal.pause()


# -- ends


@pollutes("failed:exception")
def leaves() -> None:
    sys.exit(0)


@pollutes("failed:exception")
def is_interrupted() -> None:
    raise KeyboardInterrupt


@pollutes("failed:exception")
def closes_its_generator() -> None:
    raise GeneratorExit


@pollutes("failed:exception")
def raises_something_of_its_own() -> None:
    class Odd(BaseException):
        pass

    raise Odd("polluted")


@pollutes("failed")
def stops_itself() -> None:
    raise halfstep.context.Stopped("cancelled")


@pollutes("failed")
def stops_itself_without_a_reason() -> None:
    raise halfstep.context.Stopped(None)  # type: ignore[arg-type]


class Unspeakable(Exception):
    """Nothing can be said of it."""

    def __str__(self) -> str:
        raise self

    __repr__ = __str__


class Leaving(Exception):
    """Whoever asks what it says, leaves."""

    def __str__(self) -> str:
        sys.exit(1)

    __repr__ = __str__


@pollutes("failed:exception")
def raises_what_can_not_be_said() -> None:
    raise Unspeakable


@pollutes("failed")
def raises_what_leaves_when_said() -> None:
    raise Leaving


@pollutes("failed")
def returns_what_leaves_when_said() -> object:
    class Text(str):
        def __str__(self) -> str:
            sys.exit(1)

        __repr__ = __str__

    return halfstep.outcomes.Failed(Text("no"), reason=Text("no"))  # type: ignore[attr-defined]


@pollutes("failed")
def raises_with_a_reason_that_is_none() -> None:
    error = halfstep.HalfstepError("polluted")
    error.reason = "\0" * 100  # type: ignore[attr-defined]
    raise error


@pollutes("failed")
def raises_a_chain_without_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@pollutes("failed")
def recurses_too_deeply() -> None:
    recurses_too_deeply()


@pollutes("failed:result")
def returns_a_lie() -> object:
    class Odd(dict[str, object]):
        def items(self) -> Any:
            raise KeyboardInterrupt

    return {"odd": {1, 2}, "more": Odd(a=1)}


@pollutes("failed:crash")
def ends_its_process() -> None:
    os._exit(0)


@pollutes("failed:crash")
def aborts() -> None:
    os.abort()


@pollutes("failed:crash")
def reads_address_zero() -> None:
    ctypes.string_at(0)


@pollutes("failed:crash")
def kills_its_group() -> None:
    os.killpg(0, signal.SIGKILL)


@pollutes("succeeded", "failed:timeout", timeout=0.5)
def stops_its_own_process() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pollutes("failed:timeout", timeout=0.5)
def waits_with_every_signal_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    threading.Event().wait()


@pollutes("failed:timeout", timeout=0.5)
def swallows_what_stops_it() -> None:
    while True:
        with contextlib.suppress(BaseException):
            wait_for_ever()


# -- against the zygote


@pollutes("failed:crash")
def stops_its_zygote_and_ends() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    os._exit(0)


@pollutes("failed:timeout", timeout=0.5)
def stops_its_zygote_and_waits() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    wait_for_ever()


@pollutes("failed:crash", "lost")
def kills_its_zygote() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    wait_for_ever()


@pollutes("succeeded")
def asks_its_zygote_to_end() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        os.kill(os.getppid(), number)


# -- against the channel, the page and what runs it


@pollutes("succeeded", "failed")
def answers_for_those_that_wait() -> None:
    for number in range(1, 200):
        _say(f'[{number},"succeeded",0.1,0]\n"forged"')


@pollutes("succeeded", "failed")
def answers_for_the_next() -> None:
    for number in range(2, 6):
        _say(f'[{number},"succeeded",0.1,0]\n"forged"')


@pollutes("succeeded", "failed")
def says_lines_for_those_that_wait() -> None:
    for number in range(1, 200):
        _say(f'[{number},"log",0,0]\nforged')
        _say(f'[{number},"progress",0,0]\n"forged"')


@pollutes("succeeded", "failed")
def babbles() -> None:
    _say("hello")
    _say("[1")
    _say('[1,"succeeded",NaN,7]\nnull')


@pollutes("succeeded", "failed")
def says_what_is_no_text() -> None:
    for fd in sockets():
        with contextlib.suppress(OSError):
            os.write(fd, b"\xff\xfe")


@pollutes("succeeded", "failed")
def reads_what_was_sent_to_others() -> None:
    for fd in sockets():
        with contextlib.suppress(OSError):
            os.set_blocking(fd, False)
            while os.read(fd, 2**20):
                pass


@pollutes("succeeded", "failed")
def hands_over_a_pipe() -> None:
    """As a large message, which is read from its beginning."""
    out, _ = os.pipe()
    for fd in sockets():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
            socket.send_fds(copy, [b"@"], [out])


@pollutes("failed:crash")
def hands_over_what_never_ends() -> None:
    """A descriptor whose reader waits for ever."""
    endless = os.eventfd(0)
    for fd in sockets():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
            socket.send_fds(copy, [b"@"], [endless])
    wait_for_ever()


@pollutes("succeeded", "failed")
def shuts_every_socket() -> None:
    for fd in sockets():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def _say(text: str) -> None:
    for fd in sockets():
        with contextlib.suppress(OSError):
            os.write(fd, text.encode())


@pollutes("succeeded", "failed")
def forges_marks() -> None:
    """What ends the output of a task, with a token guessed and numbers of others."""
    for number in range(1, 50):
        os.write(1, b"\x00%s%d\n" % (b"0" * 16, number))


@pollutes("succeeded", "failed")
def blanks_shared_pages() -> None:
    _fill_shared_pages(0)


@pollutes("succeeded", "failed")
def fills_shared_pages() -> None:
    _fill_shared_pages(255)


def _fill_shared_pages(value: int) -> None:
    for line in open("/proc/self/maps"):  # noqa: SIM115
        place, access, *_ = line.split()
        if access.startswith("rw") and access.endswith("s"):
            begin, end = (int(number, 16) for number in place.split("-"))
            ctypes.memset(begin, value, end - begin)


@pollutes("succeeded", "failed")
def returns_twice() -> str:
    """Two processes answer, and wait for what comes next."""
    os.fork()
    return "I am the one"


@pollutes("succeeded", "failed")
def returns_from_a_fork_only() -> str:
    if pid := os.fork():
        os.waitpid(pid, 0)
    return "I am the one"


@pollutes("succeeded", "failed")
def raises_in_a_fork() -> None:
    if os.fork() == 0:
        raise ValueError("said by a fork")


@pollutes("succeeded", "failed")
def our_context_is_patched() -> None:
    halfstep.context.enter = lambda **_: None  # type: ignore[assignment, return-value]
    halfstep.context.leave = lambda: None  # type: ignore[assignment]
    halfstep.context._running = None


@pollutes("succeeded", "failed")
def our_current_is_patched() -> None:
    halfstep.current = lambda: None  # type: ignore[assignment, return-value]
    halfstep.context.current = halfstep.current


@pollutes("succeeded", "failed")
def our_objects_are_closed() -> None:
    for found in gc.get_objects():
        if type(found).__module__.startswith("halfstep_worker.children") and hasattr(type(found), "close"):
            with contextlib.suppress(Exception):
                found.close()


@pollutes("succeeded", "failed")
def our_objects_are_patched() -> None:
    for found in gc.get_objects():
        if type(found).__module__.startswith("halfstep_worker") and hasattr(found, "__dict__"):
            with contextlib.suppress(Exception):
                vars(found).clear()


@pollutes("succeeded", "failed")
def every_map_is_closed() -> None:
    for found in gc.get_objects():
        with contextlib.suppress(Exception):
            if isinstance(found, mmap.mmap | memoryview):
                found.release() if isinstance(found, memoryview) else found.close()


@pollutes("succeeded", "failed")
def operators_always_succeed() -> None:
    for found in gc.get_objects():
        if type(found).__module__.startswith("halfstep_worker.operators") and hasattr(type(found), "run"):
            type(found).run = lambda *_: "forged"  # type: ignore[attr-defined]


@pollutes("succeeded", "failed")
def our_functions_are_patched() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("halfstep_worker.operators.programs"):
            module._check_exit = lambda *_: None  # type: ignore[attr-defined]
