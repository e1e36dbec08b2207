"""What becomes of a body's result or exception."""

from __future__ import annotations

import json
import os

import pytest

from halfstep.errors import HalfstepError
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep_worker.children import PoolSettings, allowed_environment
from halfstep_worker.children.forker import Forker
from worker.children_support import at_work  # noqa: TID251


@pytest.fixture(scope="module")
def work():
    with at_work(result_bytes=2_000_000) as work:
        yield work


def test_results_come_in_the_order_of_the_tasks(work):
    for key in range(200):
        work.send(key, "echo", number=key)
    outcomes = work.ends(*range(200))
    assert [key for key in work.order if isinstance(key, int)] == list(range(200))
    assert outcomes == [Succeeded(json.dumps({"number": key})) for key in range(200)]


def test_a_result_is_utf_8_text_and_keeps_every_character(work):
    assert work.run("echo", text='Grüße "\u2028" 😀') == Succeeded('{"text": "Grüße \\"\u2028\\" 😀"}')


def test_an_exception_fails_the_attempt_and_leaves_its_traceback_in_the_log(work):
    work.send("raised", "fail", text="bad\0thing")
    assert work.ends("raised") == [Failed("ValueError: bad\ufffdthing", reason="exception")]
    trace = work.lines("raised", "stderr")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: bad\ufffdthing"
    assert not [line for line in trace if "halfstep_worker" in line]


def test_a_very_long_error_is_cut(work):
    assert len(work.run("fail", text="x" * 100_000).error) == 16 * 1024


@pytest.mark.parametrize(
    ("operator", "args", "outcome"),
    [
        ("invalid", {}, Failed("The argument `x` is missing.", reason="invalid", final=True)),
        ("leave", {"code": 3}, Failed("SystemExit: 3")),
        ("interrupt", {}, Failed("KeyboardInterrupt")),
        ("no_such_operator", {}, Failed("AttributeError: 'Bodies' object has no attribute 'no_such_operator'")),
    ],
)
def test_other_exceptions_end_the_attempt_and_not_the_child(work, operator, args, outcome):
    before = work.pool.children[0].id
    assert work.run(operator, **args) == outcome
    assert work.pool.children[0].id == before


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("nan", "not JSON"),
        ("infinity", "not JSON"),
        ("bytes", "bytes"),
        ("set", "set"),
        ("object", "object"),
        ("nul", "NUL"),
        ("nul_key", "NUL"),
        ("surrogate", "surrogate"),
        ("deep", "not JSON"),
        ("bad_text", "not JSON"),
        ("nul_text", "NUL"),
        ("retry_nan", "retry after nan"),
    ],
)
def test_what_can_not_be_stored_fails_at_once_and_says_why(work, name, word):
    outcome = work.run("special", name=name)
    assert (outcome.reason, outcome.final) == ("result", True)
    assert word in outcome.error


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("backslash_u0000", Succeeded('"\\\\u0000"')),
        ("good_text", Succeeded('{"a": 1}')),
        ("failed", Failed("no\ufffdgood", final=True)),
        ("retry", Retry("later", delay=3.0)),
        ("cancelled", Cancelled("enough")),
        ("lost", Failed("The body said that it was lost (gone): The worker was lost while the task ran.")),
    ],
)
def test_a_body_can_return_an_outcome(work, name, outcome):
    assert work.run("special", name=name) == outcome


def test_large_args_and_results_pass(work):
    work.send("args", "length", text="x" * 1_048_576)
    work.send("result", "large", size=1_048_576)
    work.send("after", "echo")
    length, text, _ = work.ends("args", "result", "after")
    assert length == Succeeded("1048576")
    assert len(text.result) == 1_048_578


def test_a_result_over_the_limit_fails_and_its_neighbours_do_not(work):
    for key, size in enumerate((1, 2_000_000, 2)):
        work.send(("size", key), "large", size=size)
    small, large, other = work.ends(("size", 0), ("size", 1), ("size", 2))
    assert large.reason == "result"
    assert "2000002 bytes of JSON, the limit is 2000000" in large.error
    assert (small, other) == (Succeeded('"x"'), Succeeded('"xx"'))


def test_more_tasks_than_the_channel_holds_wait_for_room(work):
    for key in range(60):
        work.send(("big", key), "length", text="x" * 60_000)
    assert set(work.ends(*(("big", key) for key in range(60)))) == {Succeeded("60000")}


def test_a_body_knows_its_task(work):
    work.send("who", "who", timeout=600.0)
    task, attempt, left = json.loads(work.ends("who")[0].result)
    assert (task, attempt) == (7, 1)
    assert 400 < left <= 600
    assert json.loads(work.run("who").result) == [7, 1, None]


def test_a_body_can_log_and_say_how_far_it_is(work):
    work.send("said", "say", text="one\ntw\0o")
    assert work.ends("said") == [Succeeded("null")]
    assert work.lines("said") == ["one", "tw\ufffdo"]
    assert work.progress("said") == ['{"half": true}']


def test_a_loader_that_fails_is_one_sentence():
    with (
        pytest.raises(HalfstepError, match=r"could not be loaded.*RuntimeError: no such module"),
        at_work(loader_settings={"fail": "no such module"}),
    ):
        pass
    with pytest.raises(HalfstepError, match="ModuleNotFoundError"), at_work(loader="nowhere_at_all:load"):
        pass


def test_why_a_loader_failed_is_known_also_when_its_process_has_ended_by_then():
    """It leaves a message unread, which its end of the socket tells before what it has said."""
    forker = Forker(PoolSettings(loader="nowhere_at_all:load", environment=allowed_environment(os.environ)))
    try:
        os.waitid(os.P_PID, forker.pid, os.WEXITED | os.WNOWAIT)
        ((kind, sentence),) = forker.reports() or [("lost", "")]
    finally:
        forker.close()
    assert kind == "failed"
    assert "ModuleNotFoundError" in sentence
