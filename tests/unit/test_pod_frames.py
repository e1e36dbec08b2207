"""What a body's pod tells its launcher through the termination message and the log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.kubernetes.frames import LINE_BYTES, Elsewhere, Frames, frame, message_limit, opened, seal

LARGE = Succeeded(json.dumps({"text": "é\u0001" * 25_000}, ensure_ascii=False))


@pytest.mark.parametrize(
    "outcome", [Succeeded('{"a": [1.5, null]}'), Failed("né", "exit", True), Retry("again", 3.0), Cancelled("no"), Lost("a", "b")]
)
def test_an_outcome_comes_back_from_the_message(outcome: Outcome) -> None:
    sealed = seal(outcome)
    assert sealed.lines == []
    assert opened(sealed.message) == outcome


def test_a_large_one_comes_back_from_the_lines() -> None:
    sealed = seal(LARGE)
    found = opened(sealed.message)
    assert isinstance(found, Elsewhere)
    assert max(len(line.encode()) for line in sealed.lines) < LINE_BYTES
    frames = Frames()
    assert [frames.take(line) for line in sealed.lines] == [None] * len(sealed.lines)
    assert frames.outcome(found.digest) == LARGE


def test_the_message_keeps_to_what_the_pod_leaves_it() -> None:
    assert [message_limit(n) for n in (0, 1, 3, 4, 6)] == [4096, 4096, 4096, 3072, 2048]
    result = Succeeded(json.dumps("x" * 3500))
    assert not seal(result).lines
    assert seal(result, limit=message_limit(4)).lines


def test_lines_that_the_body_made_up_are_taken_for_nothing() -> None:
    sealed = seal(LARGE)
    found = opened(sealed.message)
    assert isinstance(found, Elsewhere)
    frames = Frames()
    for line in frame("outcome", seal(Succeeded("1")).message):
        frames.take(line)
    assert frames.outcome(found.digest) is None
    for line in sealed.lines:
        frames.take(line)
    assert frames.outcome(found.digest) == LARGE


def test_a_log_that_is_read_again_from_somewhere_does_no_harm() -> None:
    sealed = seal(LARGE)
    found = opened(sealed.message)
    assert isinstance(found, Elsewhere)
    frames = Frames()
    for line in [*sealed.lines[3:], *sealed.lines[:9], *sealed.lines[4:], *sealed.lines[7:]]:
        frames.take(line)
    assert frames.outcome(found.digest) == LARGE


def test_a_missing_line_is_no_outcome() -> None:
    sealed = seal(LARGE)
    found = opened(sealed.message)
    assert isinstance(found, Elsewhere)
    frames = Frames()
    for line in sealed.lines[:5] + sealed.lines[6:]:
        frames.take(line)
    assert frames.outcome(found.digest) is None


def test_what_stands_before_a_frame_on_its_line_is_the_logs() -> None:
    frames = Frames()
    (line,) = frame("progress", '{"rows": 3}')
    assert frames.take("no newline" + line) == "no newline"
    assert frames.progress == '{"rows": 3}'


@given(st.text())
def test_other_lines_pass_untouched(line: str) -> None:
    assert Frames().take(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "\x1fhalfstep",
        "\x1fhalfstep outcome 0/0 ",
        "\x1fhalfstep outcome 2/1 AA==",
        "\x1fhalfstep progress 1/1 A",
        "\x1fhalfstep x 1/1 ",
    ],
)
def test_broken_frames_harm_nothing(line: str) -> None:
    frames = Frames()
    frames.take(line)
    assert frames.progress is None
    assert frames.outcome("") is None


def test_memory_is_bounded_whatever_the_lines_claim() -> None:
    frames = Frames(limit=10_000)
    for line in frame("progress", "x" * 20_000):
        frames.take(line)
    assert frames.progress is None


@given(st.text())
def test_whatever_stands_in_a_message_it_is_opened_without_an_error(message: str) -> None:
    assert opened(message) is None
