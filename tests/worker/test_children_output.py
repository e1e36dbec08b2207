"""Every line of output belongs to the task that wrote it, although tasks are sent ahead."""

from __future__ import annotations

import os
import time

import pytest

from halfstep.limits import LOG_LINE_BYTES
from halfstep_worker.children import Ended, Line, Pool, PoolSettings
from halfstep_worker.children.capture import lines_of
from worker.children_support import at_work  # noqa: TID251


@pytest.fixture(scope="module")
def work():
    with at_work() as work:
        yield work


def test_lines_are_those_of_their_task_however_written(work):
    for key in range(0, 400, 4):
        work.send(key, "show", out=f"out {key}\n", err=f"err {key}\n")
        work.send(key + 1, "echo")
        work.send(key + 2, "show", raw=f"raw {key}\n")
        work.send(key + 3, "show", out=f"open {key}")
    work.ends(*range(400))
    assert [key for key in work.order if isinstance(key, int) and key < 400] == list(range(400))
    for key in range(0, 400, 4):
        assert (work.lines(key, "stdout"), work.lines(key, "stderr")) == ([f"out {key}"], [f"err {key}"])
        assert work.lines(key + 1) == []
        assert work.lines(key + 2) == [f"raw {key}"]
        assert work.lines(key + 3) == [f"open {key}"]


def test_what_a_subprocess_writes_belongs_to_the_task(work):
    for key in "abc":
        work.send(key, "show", command=f"printf 'one {key}\\ntwo {key}'; printf 'oops {key}' >&2")
    work.ends(*"abc")
    for key in "abc":
        assert work.lines(key, "stdout") == [f"one {key}", f"two {key}"]
        assert work.lines(key, "stderr") == [f"oops {key}"]


def test_all_lines_come_before_the_end_of_their_task(work):
    for key in range(1000, 1040):
        work.send(key, "show", out="a\nb\n" * 50, err="c")
    work.ends(*range(1000, 1040))
    ended = {event.key: place for place, event in enumerate(work.events) if isinstance(event, Ended)}
    last = {event.key: place for place, event in enumerate(work.events) if isinstance(event, Line)}
    assert all(last[key] < ended[key] for key in range(1000, 1040))
    assert all(len(work.lines(key)) == 101 for key in range(1000, 1040))


def test_a_mebibyte_of_output_arrives_whole_between_silent_neighbours(work):
    lines = [f"{number:07} " + "x" * 56 for number in range(16_384)]
    work.send("before", "echo")
    work.send("much", "show", out="\n".join(lines), err="\n".join(lines))
    work.send("after", "echo")
    work.ends("before", "much", "after")
    assert work.lines("much", "stdout") == lines
    assert work.lines("much", "stderr") == lines
    assert work.lines("before") + work.lines("after") == []


def test_output_can_be_read_while_the_task_runs(work, tmp_path):
    os.mkfifo(tmp_path / "go")
    work.send("live", "show", out="first\nhal", command=f"echo waiting; cat {tmp_path}/go")
    work.until(lambda: "first" in work.lines("live"))
    assert "live" not in work.order
    (tmp_path / "go").write_text("went on")
    work.ends("live")
    assert work.lines("live")[0] == "first"
    assert work.lines("live")[-1] == "went on"


def test_a_line_carries_the_time_of_its_reading(work):
    before = time.time()
    work.send("timed", "show", out="now")
    work.ends("timed")
    assert before <= next(event.at for event in work.events if isinstance(event, Line) and event.key == "timed") <= time.time()


def test_what_is_no_text_is_replaced_and_nothing_is_lost(work):
    work.send("odd", "show", command=r"printf 'a\000b\n\377\nc\r\n\n'")
    work.ends("odd")
    assert work.lines("odd") == ["a\ufffdb", "\ufffd", "c", ""]


def test_an_endless_line_is_cut_into_pieces(work):
    work.send("long", "show", out="é" * 50_000)
    work.ends("long")
    assert "".join(work.lines("long")) == "é" * 50_000
    assert max(len(line.encode()) for line in work.lines("long")) == LOG_LINE_BYTES
    assert len(work.lines("long")) == 7


def test_logging_set_up_when_user_code_was_imported_is_captured(work):
    work.send("logged", "log", text="from a logger")
    work.ends("logged")
    assert work.lines("logged", "stderr") == ["from a logger"]


def test_a_body_that_spoils_its_stdout_spoils_no_later_result():
    with at_work() as work:
        work.send("spoil", "close_stdout")
        work.send("plain", "echo")
        work.send("both", "show", out="here\n", err="still here\n")
        work.ends("spoil", "plain", "both")
        assert sorted(work.lines("both")) == ["here", "still here"]


def test_a_pipe_made_non_blocking_by_a_body_loses_no_marker():
    with at_work() as work:
        for key in range(50):
            work.send(key, "fill", mark=str(key))
        work.ends(*range(50))
        assert all(set("".join(work.lines(key))) <= set(str(key)) for key in range(50))


def test_the_last_words_of_a_dying_child_are_kept():
    with at_work() as work:
        work.send("dies", "exit", code=3, before="last words")
        work.send("unread", "echo")
        work.ends("dies", "unread")
        assert work.lines("dies") == ["last words"]
        assert work.lines("unread") == []


def test_lines_are_cut_between_characters():
    assert lines_of(("x" + "é" * LOG_LINE_BYTES).encode())[0] == "x" + "é" * (LOG_LINE_BYTES // 2 - 1)
    assert lines_of(b"") == []
    assert lines_of(b"\n\nx") == ["", "", "x"]


def test_a_pool_that_was_never_started_can_be_stopped():
    pool = Pool(PoolSettings())
    assert pool.stop(grace=1) == []
    assert pool.stop(grace=1) == []
