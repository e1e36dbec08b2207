"""Bodies that leave something behind: threads, processes, descriptors, memory."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from halfstep import current
from isolation.polluting import pollutes

LEAK_BYTES = 150 * 2**20
_kept: list[object] = []
_pause = threading.Event().wait


def _keep_on(step: Callable[[], object]) -> None:
    while True:
        with contextlib.suppress(Exception):
            step()
        _pause(0.002)


def _leave_thread(step: Callable[[], object], *, daemon: bool = True) -> None:
    threading.Thread(target=_keep_on, args=(step,), name="leftover", daemon=daemon).start()


# -- threads


@pollutes(told="leftover")
def a_thread_waits() -> None:
    threading.Thread(target=threading.Event().wait, name="leftover", daemon=True).start()


@pollutes(told="leftover")
def a_thread_waits_that_is_no_daemon() -> None:
    threading.Thread(target=threading.Event().wait, name="leftover").start()


@pollutes(told="thread")
def a_timer_is_set() -> None:
    threading.Timer(0.2, print, ["said by a timer of a body that is over"]).start()


@pollutes(told="leftover")
def a_pool_of_threads_is_open() -> None:
    pool = ThreadPoolExecutor(4, thread_name_prefix="leftover")
    _kept.append(pool)
    list(pool.map(str, range(8)))


@pollutes(told="leftover")
def a_thread_prints() -> None:
    _leave_thread(lambda: print("said by a thread of a body that is over", flush=True))


@pollutes(told="leftover")
def a_thread_writes_to_stderr() -> None:
    _leave_thread(lambda: os.write(2, b"said by a thread of a body that is over\n"))


@pollutes(told="leftover")
def a_thread_logs() -> None:
    kept = current()
    _leave_thread(lambda: kept.log("said by a thread of a body that is over"))


@pollutes(told="leftover")
def a_thread_logs_for_whoever_runs() -> None:
    _leave_thread(lambda: current().log("said by a thread of a body that is over"))


@pollutes(told="leftover")
def a_thread_reports_progress() -> None:
    kept = current()
    _leave_thread(lambda: kept.heartbeat("a body that is over"))


@pollutes(told="leftover")
def a_thread_sets_variables() -> None:
    _leave_thread(lambda: os.environ.__setitem__("POLLUTED", "yes"))


@pollutes(told="leftover")
def a_thread_moves_about() -> None:
    _leave_thread(lambda: os.chdir("/"), daemon=False)


@pollutes(told="thread")
def a_thread_below_python() -> None:
    libc = ctypes.CDLL(None)
    number = ctypes.c_ulong()
    libc.pthread_create(ctypes.byref(number), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)


@pollutes(told="leftover")
def threads_beyond_number() -> None:
    for _ in range(15):
        threading.Thread(target=threading.Event().wait, name="leftover", daemon=True).start()


# -- processes


@pollutes(told="process")
def a_program_runs() -> None:
    subprocess.Popen(["sleep", "600"])


@pollutes(told="process")
def a_program_talks() -> None:
    subprocess.Popen(["sh", "-c", "while :; do echo said by a program of a body that is over; sleep 0.01; done"])


@pollutes(told="process")
def a_program_in_a_session_of_its_own() -> None:
    subprocess.Popen(["sleep", "600"], start_new_session=True)


@pollutes(told="process")
def a_fork_waits() -> None:
    _forked(lambda: None)


@pollutes(told="process")
def a_fork_of_a_fork_waits() -> None:
    _forked(lambda: os._exit(0) if os.fork() else None, wait=True)


@pollutes(told="process")
def a_daemon() -> None:
    def become() -> None:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.closerange(0, 64)

    _forked(become, wait=True)


@pollutes(told="process")
def a_fork_talks_on() -> None:
    _forked(lambda: _keep_on(lambda: os.write(1, b"said by a fork of a body that is over\n")))


@pollutes(told="process")
def a_pool_of_processes_is_open() -> None:
    pool = multiprocessing.get_context("fork").Pool(2)
    _kept.append(pool)
    pool.map(abs, range(4))


@pollutes("succeeded")
def zombies_are_left() -> None:
    for _ in range(20):
        if os.fork() == 0:
            os._exit(3)


def _forked(then: Callable[[], object], *, wait: bool = False) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            then()
            threading.Event().wait()
        finally:
            os._exit(0)
    if wait:
        os.waitpid(pid, 0)


# -- descriptors


@pollutes(told="descriptor")
def descriptors_leak() -> None:
    """Up to what the limit leaves."""
    with contextlib.suppress(OSError):
        for _ in range(2_000):
            os.open(os.devnull, os.O_RDONLY)


@pollutes(told="descriptor")
def open_files_are_kept() -> None:
    _kept.extend(open(os.devnull) for _ in range(200))  # noqa: SIM115


@pollutes("succeeded")
def a_socket_is_kept() -> None:
    _kept.append(socket.socketpair())


@pollutes("succeeded", "failed")
def every_descriptor_is_closed() -> None:
    os.closerange(3, 1024)


@pollutes("succeeded", "failed")
def every_descriptor_is_closed_and_taken() -> None:
    os.closerange(3, 64)
    for _ in range(61):
        os.memfd_create("polluted")


@pollutes("succeeded", "failed")
def every_socket_is_closed() -> None:
    for fd in sockets():
        os.close(fd)


@pollutes("succeeded", "failed")
def every_socket_leads_nowhere() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in sockets():
        os.dup2(nothing, fd)


@pollutes("succeeded", "failed")
def every_pipe_is_closed() -> None:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                os.close(int(name))


def sockets() -> list[int]:
    """Every descriptor that is a socket."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
    return found


# -- memory


@pollutes(told="memory")
def a_list_is_kept() -> None:
    _kept.append(bytearray(b"x") * LEAK_BYTES)


@pollutes(told="memory", times=2)
def a_list_of_objects_grows() -> None:
    _kept.extend([index] * 40 for index in range(200_000))


@pollutes(told="memory")
def pages_are_kept_below_python() -> None:
    kept = mmap.mmap(-1, LEAK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _kept.append(kept)
    for place in range(0, LEAK_BYTES, 4096):
        kept[place] = 1


@pollutes(told="memory")
def memory_is_reserved_that_nobody_touches() -> None:
    _kept.append(bytearray(LEAK_BYTES))


@pollutes("failed:memory", told="memory")
def more_memory_than_there_is() -> None:
    _kept.append(bytearray(2**31))


@pollutes("failed:memory", told="memory")
def a_list_grows_until_it_may_not() -> None:
    while True:
        _kept.append(bytearray(b"x") * (16 * 2**20))
