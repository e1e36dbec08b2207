"""Bodies that change what the kernel keeps of their process."""

from __future__ import annotations

import ctypes
import locale
import os
import resource
import shutil
import signal
import tempfile
import time

from isolation.polluting import pollutes

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_TIMERSLACK = 1, 4, 15, 29
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
NOBODY = 65534


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def noticed(number: int, frame: object) -> None:
    """A handler of the user's."""


# -- signals


@pollutes()
def ends_of_programs_are_ignored() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@pollutes()
def ends_of_programs_are_ignored_below_python() -> None:
    libc().signal(int(signal.SIGCHLD), 1)


@pollutes()
def ends_of_programs_are_taken_by_a_handler() -> None:
    def reap(number: int, frame: object) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    signal.signal(signal.SIGCHLD, reap)


@pollutes()
def term_is_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pollutes()
def term_has_its_default() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pollutes()
def term_is_ignored_below_python() -> None:
    libc().signal(int(signal.SIGTERM), 1)


@pollutes()
def pipe_has_its_default() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@pollutes()
def interrupt_is_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pollutes()
def every_signal_is_ignored() -> None:
    _every_signal(signal.SIG_IGN)


@pollutes()
def every_signal_has_a_handler() -> None:
    _every_signal(noticed)


def _every_signal(handler: object) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, handler)  # type: ignore[arg-type]


@pollutes()
def every_signal_is_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


@pollutes("succeeded", "failed:crash")
def a_blocked_signal_is_pending() -> None:
    """Whoever unblocks it dies of it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)


@pollutes()
def an_alarm_is_due_soon() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)


@pollutes()
def an_alarm_is_due_later() -> None:
    signal.alarm(1)


@pollutes()
def an_alarm_comes_again_and_again() -> None:
    signal.signal(signal.SIGALRM, noticed)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)


@pollutes()
def an_alarm_raises() -> None:
    def strike(number: int, frame: object) -> None:
        raise TimeoutError("the alarm of a body that is over")

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.03)


@pollutes()
def processor_time_runs_out() -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
    signal.setitimer(signal.ITIMER_PROF, 0.05)


@pollutes()
def signals_wake_a_descriptor() -> None:
    _, into = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(into)


@pollutes()
def calls_are_interrupted() -> None:
    signal.signal(signal.SIGCHLD, noticed)
    signal.siginterrupt(signal.SIGCHLD, True)


# -- environment, folder, masks, identity


@pollutes()
def a_variable_is_set() -> None:
    os.environ["POLLUTED"] = "yes"


@pollutes()
def a_variable_is_set_below_python() -> None:
    os.putenv("POLLUTED", "yes")


@pollutes()
def the_path_is_elsewhere() -> None:
    os.environ["PATH"] = "/nowhere"


@pollutes()
def the_path_is_gone_below_python() -> None:
    os.unsetenv("PATH")


@pollutes()
def the_environment_is_empty() -> None:
    os.environ.clear()


@pollutes()
def the_environment_is_empty_below_python() -> None:
    libc().clearenv()


@pollutes()
def the_environment_is_another_object() -> None:
    os.environ = {"PATH": "/nowhere"}  # type: ignore[assignment]  # noqa: B003


@pollutes()
def programs_get_a_library_before_others() -> None:
    os.environ["LD_PRELOAD"] = "/nowhere/missing.so"
    os.environ["BASH_ENV"] = "/nowhere/profile"
    os.environ["PYTHONHOME"] = "/nowhere"


@pollutes()
def another_time_zone() -> None:
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()


@pollutes()
def another_locale() -> None:
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")


@pollutes()
def nobody_may_read_new_files() -> None:
    os.umask(0o777)


@pollutes()
def another_folder() -> None:
    os.chdir("/")


@pollutes()
def a_folder_that_is_gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)


@pollutes()
def last_in_line() -> None:
    os.nice(19)


@pollutes()
def last_in_line_by_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 15)


@pollutes(told="user", root=True)
def another_user() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pollutes(root=True)
def another_user_for_now() -> None:
    os.setegid(NOBODY)
    os.seteuid(NOBODY)


@pollutes(root=True)
def other_groups() -> None:
    os.setgroups([4, 5, 6])


@pollutes(root=True)
def another_root() -> None:
    os.chroot(tempfile.mkdtemp())
    os.chdir("/")


@pollutes()
def one_processor_only() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))} if len(os.sched_getaffinity(0)) > 1 else os.sched_getaffinity(0))


@pollutes()
def another_scheduler() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@pollutes("succeeded", "failed")
def the_group_of_its_zygote() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))


# -- limits


@pollutes()
def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


@pollutes()
def few_descriptors_for_now() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (12, hard))


@pollutes()
def no_files_to_write() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pollutes()
def little_address_space() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))


@pollutes()
def little_data() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (100 * 2**20, 100 * 2**20))


@pollutes()
def little_stack() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (256 * 1024, 256 * 1024))


@pollutes()
def little_processor_time() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (1, hard))


@pollutes()
def no_locked_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, hard))


# -- prctl


@pollutes()
def outlives_its_zygote() -> None:
    libc().prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)


@pollutes()
def adopts_no_orphans() -> None:
    libc().prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pollutes()
def no_new_privileges() -> None:
    libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@pollutes()
def another_name() -> None:
    libc().prctl(PR_SET_NAME, ctypes.create_string_buffer(b"sshd"), 0, 0, 0)


@pollutes()
def lazy_timers() -> None:
    libc().prctl(PR_SET_TIMERSLACK, 10**9, 0, 0, 0)


@pollutes()
def open_to_tracers_or_not() -> None:
    libc().prctl(PR_SET_DUMPABLE, 1 - libc().prctl(3, 0, 0, 0, 0), 0, 0, 0)


@pollutes("succeeded", "failed")
def first_to_be_killed() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


@pollutes()
def addresses_as_on_an_old_machine() -> None:
    libc().personality(0x0040000)
