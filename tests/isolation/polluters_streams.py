"""Bodies that close, move or replace what others write to."""

from __future__ import annotations

import fcntl
import io
import os
import sys

from isolation.polluting import pollutes


@pollutes()
def stdout_is_closed() -> None:
    sys.stdout.close()


@pollutes()
def stderr_is_closed() -> None:
    sys.stderr.close()


@pollutes()
def stdin_is_closed() -> None:
    sys.stdin.close()


@pollutes()
def stdout_is_detached() -> None:
    sys.stdout.detach()  # type: ignore[union-attr]


@pollutes()
def the_buffer_of_stdout_is_closed() -> None:
    sys.stdout.buffer.close()


@pollutes()
def descriptor_0_is_closed() -> None:
    os.close(0)


@pollutes()
def descriptor_1_is_closed() -> None:
    os.close(1)


@pollutes()
def descriptor_2_is_closed() -> None:
    os.close(2)


@pollutes()
def descriptors_0_to_2_are_closed() -> None:
    os.closerange(0, 3)


@pollutes()
def descriptor_1_is_somebody_elses() -> None:
    os.close(1)
    os.memfd_create("polluted")


@pollutes()
def descriptor_1_leads_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@pollutes()
def descriptor_2_leads_to_1() -> None:
    os.dup2(1, 2)


@pollutes()
def descriptors_1_and_2_change_places() -> None:
    kept = os.dup(1)
    os.dup2(2, 1)
    os.dup2(kept, 2)
    os.close(kept)


@pollutes()
def descriptor_0_is_a_pipe_that_never_ends() -> None:
    out, _ = os.pipe()
    os.dup2(out, 0)


@pollutes()
def descriptor_1_does_not_block() -> None:
    os.set_blocking(1, False)
    os.set_blocking(2, False)


@pollutes()
def descriptor_1_is_closed_for_programs() -> None:
    for fd in (0, 1, 2):
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


@pollutes()
def stdout_leads_nowhere() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@pollutes()
def stdout_is_a_text() -> None:
    sys.stdout = io.StringIO()


@pollutes()
def stderr_is_a_text() -> None:
    sys.stderr = io.StringIO()


@pollutes()
def stdout_is_none() -> None:
    sys.stdout = None  # type: ignore[assignment]
    sys.stderr = None  # type: ignore[assignment]


@pollutes()
def stdout_raises() -> None:
    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError("this stream is broken")

        def flush(self) -> None:
            raise OSError("this stream is broken")

    sys.stdout = sys.stderr = Broken()


@pollutes()
def stdin_says_something() -> None:
    sys.stdin = io.StringIO("a line of a body that is over\n")


@pollutes()
def the_first_stdout_is_another() -> None:
    sys.__stdout__ = io.StringIO()  # type: ignore[misc, assignment]
    sys.__stderr__ = io.StringIO()  # type: ignore[misc, assignment]


@pollutes("succeeded", "failed")
def stdout_speaks_ascii_only() -> None:
    sys.stdout.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]


@pollutes()
def stdout_is_written_when_full() -> None:
    sys.stdout.reconfigure(line_buffering=False, write_through=False)  # type: ignore[union-attr]


@pollutes()
def stdout_is_written_through() -> None:
    sys.stdout.reconfigure(write_through=True, line_buffering=False)  # type: ignore[union-attr]


@pollutes()
def stdout_has_something_in_it() -> None:
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
    sys.stdout.write("without an end")


@pollutes()
def a_method_of_stdout_is_patched() -> None:
    sys.stdout.write = lambda text: len(text)  # type: ignore[method-assign, assignment]
