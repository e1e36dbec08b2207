"""Processes that have run a bad body, and then run programs: `python -m isolation.polluted_process FOLDER SOCKET`.

Each request on SOCKET names a pollution and brings three descriptors: stdout, stderr, report. A process is forked for it, which
pollutes itself, runs the witnesses that lie in FOLDER by their operators, and writes to the report how each ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import locale
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from halfstep_worker.children import home
from halfstep_worker.operators import OperatorFailed, load
from halfstep_worker.operators.registry import Registry

POLLUTIONS: dict[str, Callable[[], object]] = {}
_KEPT: list[object] = []
_libc = ctypes.CDLL(None)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
NOBODY = 65534


def pollution(body: Callable[[], object]) -> Callable[[], object]:
    """Registers a body by its name."""
    POLLUTIONS[body.__name__] = body
    return body


@pollution
def nothing() -> None:
    """The clean run."""


@pollution
def path_changed() -> None:
    os.environ["PATH"] = "/nowhere"


@pollution
def variables_added() -> None:
    os.environ |= {"MORE": "x", "LC_ALL": "tr_TR.UTF-8", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "TMPDIR": "/nowhere"}


@pollution
def shell_told_to_read_a_file() -> None:
    os.environ |= {"BASH_ENV": "/proc/self/environ", "ENV": "/proc/self/environ", "SHELLOPTS": "noexec"}


@pollution
def environment_cleared() -> None:
    os.environ.clear()


@pollution
def environment_replaced() -> None:
    os.environ = {"PATH": "/nowhere"}  # type: ignore[assignment]  # noqa: B003


@pollution
def environment_changed_below_python() -> None:
    os.putenv("MORE", "x")
    os.putenv("PATH", "/nowhere")


@pollution
def secrets_of_ours_in_the_environment() -> None:
    os.environ |= {"HALFSTEP_DATABASE_URL": "postgresql://here", "HALFSTEP_TASK_ID": "7"}


@pollution
def closed_umask() -> None:
    os.umask(0o077)


@pollution
def open_umask() -> None:
    os.umask(0)


@pollution
def another_folder() -> None:
    os.chdir("/")


@pollution
def a_folder_that_is_gone() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


@pollution
def child_signal_ignored() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@pollution
def child_signal_ignored_below_python() -> None:
    _libc.signal(signal.SIGCHLD, 1)


@pollution
def child_signal_collects_whatever_ends() -> None:
    def collect(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, collect)


@pollution
def broken_pipes_kill() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@pollution
def broken_pipes_ignored_below_python() -> None:
    _libc.signal(signal.SIGPIPE, 1)


@pollution
def hang_up_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pollution
def terminate_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pollution
def every_signal_ignored() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


@pollution
def every_signal_handled() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV}:
        signal.signal(number, lambda *_: None)


@pollution
def every_signal_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


@pollution
def a_signal_that_waits_behind_the_mask() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGUSR1)


@pollution
def an_alarm_is_set() -> None:
    signal.alarm(3600)


@pollution
def timers_run() -> None:
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 3600, 1)


@pollution
def wakeup_descriptor() -> None:
    near, far = socket.socketpair()
    _KEPT.extend((near, far))
    near.setblocking(False)
    signal.set_wakeup_fd(near.fileno())


@pollution
def event_loop_left_open() -> None:
    loop = asyncio.new_event_loop()
    _KEPT.append(loop)
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    loop.add_signal_handler(signal.SIGCHLD, lambda: None)


@pollution
def slow() -> None:
    if os.getuid() == 0:  # nobody else may hurry again
        os.nice(5)


@pollution
def one_processor() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pollution
def another_scheduler() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@pollution
def few_descriptors() -> None:
    _soft(resource.RLIMIT_NOFILE, 30)


@pollution
def no_files() -> None:
    _soft(resource.RLIMIT_FSIZE, 0)


@pollution
def little_memory() -> None:
    _soft(resource.RLIMIT_DATA, 400 * 2**20)
    _soft(resource.RLIMIT_STACK, 2**20)


@pollution
def core_dumps() -> None:
    _soft(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1])


def _soft(number: int, limit: int) -> None:
    resource.setrlimit(number, (limit, resource.getrlimit(number)[1]))


@pollution
def input_closed() -> None:
    os.close(0)


@pollution
def input_is_a_file() -> None:
    os.dup2(os.open(__file__, os.O_RDONLY), 0)


@pollution
def descriptors_leaked() -> None:
    for _ in range(100):
        os.set_inheritable(os.open(__file__, os.O_RDONLY), True)


@pollution
def streams_of_python_closed() -> None:
    _KEPT.extend((os.dup(1), os.dup(2)))
    for number, file in ((_KEPT[-2], sys.stdout), (_KEPT[-1], sys.stderr)):
        target = file.fileno()
        file.close()
        os.dup2(number, target)  # type: ignore[arg-type]


@pollution
def streams_of_python_replaced() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@pollution
def streams_do_not_block() -> None:
    os.set_blocking(1, False)
    os.set_blocking(2, False)


@pollution
def turkish() -> None:
    for name in ("tr_TR.UTF-8", "C"):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            return


@pollution
def in_the_group_of_its_parent() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))


@pollution
def in_a_session_of_its_own() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


@pollution
def outlives_its_parent() -> None:
    for option, value in ((PR_SET_PDEATHSIG, 0), (PR_SET_DUMPABLE, 0), (PR_SET_CHILD_SUBREAPER, 1)):
        _libc.prctl(option, value, 0, 0, 0)


@pollution
def another_user() -> None:
    if os.getuid() == 0:
        os.setgroups([NOBODY])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


@pollution
def a_program_left_running() -> None:
    _KEPT.append(
        subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )


@pollution
def programs_left_dead() -> None:
    for _ in range(5):
        _KEPT.append(subprocess.Popen(["true"]))


@pollution
def a_thread_left_running() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


@pollution
def a_thread_collects_whatever_ends() -> None:
    """Not one of the table: whoever is first knows how a program ended."""

    def collect() -> None:
        while True:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)

    threading.Thread(target=collect, daemon=True).start()


@pollution
def a_thread_keeps_child_signal_ignored() -> None:
    """Not one of the table: nobody knows how a program ended."""

    def ignore() -> None:
        while True:
            _libc.signal(signal.SIGCHLD, 1)
            pause.wait(0.001)

    pause = threading.Event()
    threading.Thread(target=ignore, daemon=True).start()


@pollution
def hard_limit_lowered() -> None:
    """Not one of the table: only root with all its rights can take it back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))


@pollution
def output_closed() -> None:
    """Not one of the table: there is nowhere to write."""
    os.close(1)


@pollution
def error_output_closed() -> None:
    """Not one of the table: there is nowhere to write."""
    os.close(2)


@pollution
def another_user_for_good() -> None:
    """Not one of the table: nothing can take it back."""
    os.setuid(NOBODY)


_UNTIL_IGNORED = "while ! grep -q '^SigIgn:.*[13579bdf]....$' /proc/$PPID/status; do :; done"


def ended(run: Callable[[], object]) -> Any:
    """How a witness ended: its result, or the sentence of its error."""
    try:
        return run()
    except OperatorFailed as error:
        return str(error)


def run(name: str, folder: str, operators: Registry) -> dict[str, Any]:
    """Pollute, and run the witnesses."""
    with open(f"{folder}/witness.sh") as file:
        command = file.read()
    runs = {
        "bash": ("bash", {"command": command, "env": {"OWN": "1"}}),
        "sh": ("script", {"path": "witness.sh"}),
        "py": ("script", {"path": "witness.py"}),
        "exit 0": ("bash", {"command": "exit 0"}),
        "exit 3": ("bash", {"command": "exit 3"}),
        "exit 3 of .sh": ("script", {"path": "fails.sh"}),
        "exit 3 of .py": ("script", {"path": "fails.py"}),
        "lost": ("bash", {"command": _UNTIL_IGNORED if name == "a_thread_keeps_child_signal_ignored" else "true"}),
    }
    POLLUTIONS[name]()
    return {title: ended(partial(operators.run, *each)) for title, each in runs.items()}


def be_polluted(name: str, folder: str, operators: Registry, descriptors: list[int]) -> NoReturn:
    """The life of a forked process."""
    try:
        os.setpgid(0, 0)
        home.remember_limits()  # as in a child that was just born
        out, err, report = descriptors
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        os.write(report, json.dumps(run(name, folder, operators)).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        for left in _KEPT:
            if isinstance(left, subprocess.Popen):
                left.kill()
        os._exit(0)


def main(folder: str, requests: socket.socket) -> None:
    """One process after the other, until there are no more requests."""
    operators = load({"source": folder})
    while True:
        name, descriptors, _, _ = socket.recv_fds(requests, 1000, 3, socket.MSG_CMSG_CLOEXEC)
        if not name:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            be_polluted(name.decode(), folder, operators, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
