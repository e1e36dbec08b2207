"""What a running body can know of itself."""

from __future__ import annotations

import math
import threading

import pytest

from halfstep import context
from halfstep.context import Stopped, current
from halfstep.errors import HalfstepError


class RecordingLink:
    def __init__(self) -> None:
        self.reason: str | None = None
        self.lines: list[str] = []
        self.progress: list[str] = []

    def stop_reason(self) -> str | None:
        return self.reason

    def log(self, text: str) -> None:
        self.lines.append(text)

    def heartbeat(self, progress: str) -> None:
        self.progress.append(progress)


@pytest.fixture
def link():
    link = RecordingLink()
    context.enter(task_id=7, attempt=2, deadline_seconds=600, link=link)
    yield link
    context.leave()


def test_outside_of_a_task_current_says_so():
    with pytest.raises(HalfstepError, match="works only inside a running task"):
        current()


def test_a_body_reads_its_task_attempt_and_time_left(link):
    assert (current().task_id, current().attempt) == (7, 2)
    assert 400 < current().seconds_left <= 600
    assert current().deadline is not None


def test_without_a_timeout_there_is_no_deadline(link):
    context.enter(task_id=1, attempt=1, deadline_seconds=None, link=link)
    assert current().deadline is None
    assert current().seconds_left is None


def test_time_left_never_goes_below_zero(link):
    context.enter(task_id=1, attempt=1, deadline_seconds=-5, link=link)
    assert current().seconds_left == 0


def test_the_stop_reason_is_live(link):
    mine = current()
    assert mine.stop_reason is None
    link.reason = "drain"
    assert mine.stop_reason == "drain"


def test_log_lines_and_progress_go_to_the_link(link):
    current().log("half way")
    current().heartbeat({"done": 5, "of": "zehn Stück"})
    assert link.lines == ["half way"]
    assert link.progress == ['{"done": 5, "of": "zehn Stück"}']


@pytest.mark.parametrize(
    "progress", [math.nan, {"x": math.inf}, b"bytes", {"a": {1, 2}}, "a\0b", {"\0": 1}, "\ud800", "x" * 20_000]
)
def test_progress_that_cannot_be_stored_is_refused(link, progress):
    with pytest.raises(ValueError, match=r"[Pp]rogress"):
        current().heartbeat(progress)
    assert link.progress == []


def test_a_written_out_nul_escape_is_no_nul(link):
    current().heartbeat("\\u0000")
    assert link.progress == ['"\\\\u0000"']


def test_threads_of_the_body_see_its_context(link):
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(current().task_id))
    thread.start()
    thread.join()
    assert seen == [7]


def test_after_leaving_there_is_no_context(link):
    context.leave()
    assert context.running() is None


def test_a_stop_is_not_swallowed_by_except_exception():
    def body() -> None:
        try:
            raise Stopped("timeout")
        except Exception:
            pytest.fail("a body swallowed its stop")

    with pytest.raises(Stopped) as caught:
        body()
    assert caught.value.reason == "timeout"
