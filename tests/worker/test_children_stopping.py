"""Crashes, timeouts, cancels, drains and recalls: who was running is always known, and nothing survives its attempt."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from halfstep.outcomes import Cancelled, Failed, Lost, Succeeded
from halfstep_worker.children import Ended, Unstarted
from waiting import wait_until
from worker.children_support import at_work, is_alive  # noqa: TID251


@pytest.fixture
def work():
    with at_work() as work:
        yield work


@pytest.mark.parametrize(
    ("operator", "args", "sentence"),
    [
        ("exit", {"code": 3}, "The body's process exited with code 3 before the body returned."),
        ("exit", {"code": 0}, "The body's process exited with code 0 before the body returned."),
        ("crash", {}, "The body's process ended with signal 11 (SIGSEGV)."),
        ("kill_self", {"number": 9}, "The body's process ended with signal 9 (SIGKILL)."),
        ("kill_self", {"number": 15}, "The body's process ended with signal 15 (SIGTERM)."),
    ],
)
def test_a_crash_blames_the_running_task_and_gives_back_the_unstarted(work, operator, args, sentence):
    for key in range(10):
        work.send(key, "echo")
    work.send("culprit", operator, **args)
    for key in range(10, 20):
        work.send(key, "echo")
    work.ends(*range(20), "culprit")
    culprit = work.outcomes["culprit"]
    assert (type(culprit), culprit.reason) == (Failed, "crash")
    said, peak = culprit.error.rsplit(" Its peak memory was ", 1)
    assert said == sentence
    assert 5 < int(peak.removesuffix(" MiB.")) < 1000
    assert all(work.outcomes[key] == Succeeded("{}") for key in range(10))
    assert all(work.outcomes[key] == Unstarted(key) for key in range(10, 20))
    assert work.order == [*range(10), "culprit", *range(10, 20)]
    assert work.run("echo") == Succeeded("{}")


def test_a_child_that_was_replaced_is_another_process(work):
    first = work.run("pid")
    work.run("exit", code=1)
    assert work.run("pid") != first


def test_the_current_task_and_its_start_are_known(work, tmp_path):
    work.send("a", "wait", ready=str(tmp_path / "ready"))
    work.send("b", "echo")
    child = work.pool.children[0]
    work.until(lambda: child.current)
    task, started = child.current
    assert (task.key, child.started) == ("a", started)
    assert child.keys == ["a", "b"]
    assert child.busy


def test_a_body_that_ignores_term_is_killed_with_all_that_it_started(work, tmp_path):
    ready = tmp_path / "ready"
    work.send("stubborn", "stubborn", ready=str(ready), timeout=1.5)
    work.send("next", "echo")
    work.until(lambda: ready.exists() and len(ready.read_text().split()) == 3)
    work.pool.stop_body("stubborn", "timeout", grace=0.2)
    work.ends("stubborn", "next")
    assert work.outcomes["stubborn"].reason == "timeout"
    told = "The body ran longer than its timeout of 1.5 s. It did not end at SIGTERM. The body's process ended with signal 9"
    assert work.outcomes["stubborn"].error.startswith(f"{told} (SIGKILL). Its peak memory was ")
    assert work.outcomes["next"] == Unstarted("next")
    wait_until(lambda: not any(is_alive(int(pid)) for pid in ready.read_text().split()), what="the end of all three")


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("timeout", Failed("The body ran longer than its timeout.", reason="timeout")),
        ("cancelled", Cancelled()),
        ("drain", Lost("drain", "The worker was drained while the task ran.")),
        ("lease", Lost("lease", "The worker's lease was about to end while the task ran.")),
    ],
)
def test_a_stopped_body_runs_its_finally_blocks_and_its_task_says_why(work, tmp_path, reason, outcome):
    ready, end = tmp_path / "ready", tmp_path / "end"
    work.send("a", "wait", ready=str(ready), end=str(end))
    work.until(lambda: ready.exists() and ready.read_text())
    work.pool.stop_body("a", reason, grace=100)
    assert work.ends("a") == [outcome]
    assert end.read_text() == reason
    assert next(event.seconds for event in work.events if isinstance(event, Ended)) > 0


@pytest.mark.parametrize("operator", ["swallow", "crash_when_stopped"])
def test_the_reason_stands_whatever_the_body_makes_of_the_signal(work, tmp_path, operator):
    ready = tmp_path / "ready"
    work.send("a", operator, ready=str(ready))
    work.until(lambda: ready.exists() and ready.read_text())
    work.pool.stop_body("a", "cancelled", grace=100)
    assert work.ends("a") == [Cancelled()]
    assert work.run("echo") == Succeeded("{}")


def test_stopping_an_unstarted_task_leaves_the_others_in_order(work, tmp_path):
    os.mkfifo(tmp_path / "go")
    work.send("long", "wait_for_file", path=str(tmp_path / "go"))
    work.until(lambda: work.pool.children[0].current)
    for key in range(5):
        work.send(key, "echo")
    work.pool.stop_body(2, "cancelled", grace=100)
    work.pool.stop_body(3, "drain", grace=100)
    (tmp_path / "go").write_text("on")
    work.ends("long", *range(5))
    assert work.outcomes == {
        2: Cancelled(),
        3: Unstarted(3),
        "long": Succeeded('"on"'),
        **dict.fromkeys((0, 1, 4), Succeeded("{}")),
    }
    assert work.order == [2, 3, "long", 0, 1, 4]


def test_a_stop_never_hits_the_task_after_it(work):
    """Each stop races with the end of its short body: either it wins, or the task keeps its own outcome."""
    for key in range(150):
        work.until(lambda: any(child.open for child in work.pool.children))
        work.send((key, "target"), "echo")
        work.send((key, "other"), "echo")
        work.pool.stop_body((key, "target"), "cancelled", grace=100)
        target, other = work.ends((key, "target"), (key, "other"))
        assert target in (Cancelled(), Succeeded("{}"))
        assert other in (Unstarted((key, "other")), Succeeded("{}"))


def test_recall_takes_back_what_was_not_begun(work, tmp_path):
    os.mkfifo(tmp_path / "go")
    work.send("long", "wait_for_file", path=str(tmp_path / "go"))
    work.until(lambda: work.pool.children[0].current)
    for key in range(300):
        work.send(key, "length", text="x" * (200_000 if key == 7 else 3_000))
    assert work.pool.recall(work.pool.children[0]) == list(range(300))
    assert work.pool.children[0].keys == ["long"]
    work.send("later", "echo")
    (tmp_path / "go").write_text("")
    work.ends("long", "later")
    assert work.order == ["long", "later"]


def test_a_warning_is_seen_and_stops_nobody(work):
    work.pool.warn("drain")
    assert work.run("say", text="x") == Succeeded('"drain"')


def test_what_a_body_daemonised_ends_with_it(work, tmp_path):
    ready = tmp_path / "ready"
    work.send("a", "daemon", ready=str(ready))
    work.ends("a")
    daemon = int(wait_until(lambda: ready.exists() and ready.read_text(), what="the daemon"))
    work.until(lambda: not is_alive(daemon))
    assert work.lines("a", "log") == ["[halfstep: this process is not used again, as the body left 1 process running (sh)]"]
    assert work.run("echo") == Succeeded("{}")


def test_a_body_that_writes_to_our_channel_ends_only_itself(work):
    assert work.run("babble").reason == "crash"
    assert work.run("echo") == Succeeded("{}")


def test_a_body_that_answers_twice_spoils_its_process_and_the_next_that_runs_there_has_not_failed(work, tmp_path):
    ready = tmp_path / "ready"
    work.send("twice", "answer_twice")
    work.send("next", "wait", ready=str(ready))
    _, after = work.ends("twice", "next")
    assert isinstance(after, Unstarted) or after.reason == "neighbour", after


def test_more_memory_than_allowed_is_a_memory_error():
    with at_work(memory_bytes=200 * 2**20) as work:
        outcome = work.run("hoard", size=2**31)
        assert (outcome.reason, outcome.final) == ("memory", False)
        assert work.run("echo") == Succeeded("{}")


def test_a_body_whose_processes_together_use_too_much_is_killed():
    hungry = "import os; os.fork(); kept = b'x' * 90_000_000; import signal; signal.pause()"
    with at_work(memory_bytes=128 * 2**20, sample_seconds=0.1) as work:
        work.send("a", "show", command=f'exec python3 -c "{hungry}"')
        work.send("b", "echo")
        work.ends("a", "b")
        assert work.outcomes["a"].reason == "memory"
        assert work.outcomes["a"].error.endswith("its limit is 128 MiB.")
        assert work.outcomes["b"] == Unstarted("b")


def test_a_stop_under_way_can_be_hastened_but_not_put_off(work, tmp_path):
    ready = tmp_path / "ready"
    work.send("a", "stubborn", ready=str(ready))
    work.until(lambda: ready.exists() and len(ready.read_text().split()) == 3)
    child = work.pool.children[0]
    work.pool.stop_body("a", "drain", grace=60)
    work.pool.stop_body("a", "lease", grace=0.1)
    soon = child.stop.kill_at
    work.pool.stop_body("a", "lease", grace=60)
    assert child.stop.kill_at <= soon
    assert work.ends("a") == [Lost("drain", "The worker was drained while the task ran.")]


def test_stopping_the_pool_ends_every_task_once(tmp_path):
    with at_work(slots=2) as work:
        ready = tmp_path / "ready"
        work.send("long", "stubborn", ready=str(ready))
        work.send("behind", "echo")
        work.until(lambda: ready.exists() and len(ready.read_text().split()) == 3)
        work.events += work.pool.stop(grace=0.2)
        assert work.outcomes == {
            "behind": Unstarted("behind"),
            "long": Lost("drain", "The worker was drained while the task ran."),
        }
        assert work.pool.children == []
        assert work.pool.stop(grace=0.2) == []
        wait_until(lambda: not any(is_alive(int(pid)) for pid in Path(ready).read_text().split()), what="the end of all")


def test_a_child_killed_while_idle_is_replaced_and_blames_nobody(work):
    before = work.pool.children[0]
    os.kill(before.pid, signal.SIGKILL)
    work.until(lambda: work.pool.children and work.pool.children[0] is not before)
    assert [event for event in work.events if isinstance(event, Ended)] == []
    assert work.run("echo") == Succeeded("{}")
