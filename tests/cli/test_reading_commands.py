"""tasks, show, logs, queues, workers: for people and as JSON."""

from __future__ import annotations

import json
import os

from halfstep.outcomes import Failed, Retry, Succeeded
from halfstep.producer import enqueue
from halfstep.queue import Queue
from waiting import PATIENCE, wait_until


def fill(database, worker) -> None:
    """Task 1 succeeded, 2 failed on its second attempt, 3 waits, 4 is due tomorrow."""
    for _ in range(2):
        enqueue(database, "bash", {"command": "true"}, labels={"team": "ops"})
    one, two = worker.claim(2)
    worker.finish(one, outcome=Succeeded('{"answer": 42}'))
    worker.queue.retry([(two, Retry("It failed\nonce.", 0.0))])
    (two,) = worker.claim(1)
    worker.finish(two, outcome=Failed("It failed\nagain.", "exception"))
    enqueue(database, "http", {"url": "http://localhost"}, queue="etl")
    enqueue(database, "bash", {"command": "true"}, run_at="2999-01-01T00:00:00Z")


def test_tasks_are_listed_newest_first_and_filtered(halfstep, database, worker):
    fill(database, worker)

    def listed(*words: str) -> list[int]:
        return [task["id"] for task in halfstep("tasks", "--json", *words).json]

    assert listed() == [4, 3, 2, 1]
    assert listed("--limit", "2") == [4, 3]
    assert listed("--state", "failed", "-s", "ready") == [3, 2]
    assert listed("--queue", "etl") == [3]
    assert listed("--operator", "http") == [3]
    assert listed("--label", "team=ops") == [2, 1]
    assert listed("--label", "team=dev") == []


def test_tasks_of_a_cluster_are_the_pod_tasks_for_it(halfstep, database):
    enqueue(database, "bash", {"command": "true"})
    enqueue(database, "pod", {"image": "busybox"}, placement="pod")
    enqueue(database, "pod", {"image": "busybox"}, placement="pod", cluster="gpu")
    assert [(task["id"], task["cluster"]) for task in halfstep("tasks", "--cluster", "gpu", "--json").json] == [(3, "gpu")]
    assert [(task["id"], task["cluster"]) for task in halfstep("tasks", "--cluster", "default", "--json").json] == [(2, "")]
    assert halfstep("tasks", "--cluster", "away").err == "There are no such tasks.\n"


def test_tasks_without_a_terminal_are_plain_lines(halfstep, database, worker):
    fill(database, worker)
    said = halfstep("tasks")
    lines = said.out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "QUEUE", "OPERATOR", "ATTEMPT", "ENQUEUED", "ENDED", "ERROR"]
    assert [line.split()[:4] for line in lines[1:3]] == [["4", "scheduled", "default", "bash"], ["3", "ready", "etl", "http"]]
    assert lines[3].endswith("It failed again.")
    assert "\033" not in said.out


def test_no_tasks_are_an_empty_array_and_a_note(halfstep):
    assert halfstep("tasks", "--json").json == []
    said = halfstep("tasks")
    assert (said.code, said.out, said.err) == (0, "", "There are no such tasks.\n")


def test_show_has_the_promised_fields(halfstep, database, worker):
    fill(database, worker)
    one, two = halfstep("show", "1", "--json").json, halfstep("show", "2", "--json").json
    assert {"id", "state", "queue", "operator", "result", "error", "attempts"} <= set(one)
    assert (one["state"], one["result"], one["error"]) == ("succeeded", {"answer": 42}, None)
    assert {"number", "worker", "started_at", "ended_at", "outcome", "reason"} <= set(two["attempts"][0])
    assert [(a["number"], a["outcome"], a["reason"]) for a in two["attempts"]] == [
        (1, "failed", "exception"),
        (2, "failed", "exception"),
    ]
    assert (two["state"], two["error"]) == ("failed", "It failed\nagain.")


def test_show_for_people_says_why_a_task_waits(halfstep, database, worker):
    fill(database, worker)
    assert 'result      {"answer": 42}' in halfstep("show", "1").out
    assert "It failed again." in halfstep("show", "2").out
    halfstep("pause", "etl")
    assert "ready (its queue is paused)" in halfstep("show", "3").out
    assert "scheduled (waits until 2999-01-01 00:00:00 UTC)" in halfstep("show", "4").out


def test_control_characters_of_a_task_do_not_reach_the_terminal(halfstep, database):
    enqueue(database, "bash", {"command": "\033[2J\x9b2J"}, labels={"a": "\033]0;title\a"})
    assert not any(code in halfstep("show", "1").out for code in ("\033", "\x9b", "\a"))


def write_log(queue: Queue, worker) -> None:
    """Task 1 wrote three lines, on two streams, in two attempts; it runs."""
    for attempt in (1, 2):
        (claim,) = worker.claim(1)
        lines = [[1893456000.0, "stdout", f"out {attempt}"], [1893456000.5, "stderr", "err"]][: 3 - attempt]
        queue.write_log([{"task_id": claim.id, "attempt": attempt, "chunk": 0, "lines": lines}])
        if attempt == 1:
            queue.retry([(claim, Retry("again", 0.0))])


def test_logs_print_the_lines_of_every_attempt(halfstep, database, queue, worker):
    enqueue(database, "bash", {"command": "true"})
    write_log(queue, worker)
    said = halfstep("logs", "1")
    assert (said.out, said.err) == ("out 1\nerr\nout 2\n", "-- attempt 1\n-- attempt 2\n")
    assert halfstep("logs", "1", "--attempt", "1").out == "out 1\nerr\n"
    assert halfstep("logs", "1", "--attempt", "2").out == "out 2\n"
    assert halfstep("logs", "1", "--timestamps").out.splitlines()[1].endswith("stderr err")


def test_logs_as_json_are_one_object_a_line(halfstep, database, queue, worker):
    enqueue(database, "bash", {"command": "true"})
    write_log(queue, worker)
    lines = [json.loads(line) for line in halfstep("logs", "1", "--json").out.splitlines()]
    assert lines[1] == {"attempt": 1, "at": "2030-01-01T00:00:00.500000+00:00", "stream": "stderr", "text": "err"}
    assert len(lines) == 3


def test_logs_join_a_line_that_was_told_in_parts_unless_something_came_between(halfstep, database, queue, worker):
    enqueue(database, "bash", {"command": "true"})
    (claim,) = worker.claim(1)
    parts = [
        [0.0, "stdout", "one ", True], [0.5, "stdout", "two ", True], [1.0, "stdout", "three"], [1.0, "stdout", "load", True],
        [1.1, "stderr", "oops"], [1.2, "stdout", "ed", True], [1.3, "stdout", ""], [1.4, "stdout", "open", True],
    ]  # fmt: skip
    for n in range(2):
        chunk = {"task_id": claim.id, "attempt": 1, "chunk": n, "lines": parts[4 * n : 4 * n + 4]}
        queue.write_log([chunk])
    assert halfstep("logs", "1").out == "one two three\nload\noops\ned\nopen\n"
    shown = halfstep("logs", "1", "--timestamps").out.splitlines()
    assert [line.split(" ", 2)[2] for line in shown] == [
        "stdout one two three",
        "stdout load",
        "stderr oops",
        "stdout ed",
        "stdout open",
    ]
    told = [json.loads(line) for line in halfstep("logs", "1", "--json").out.splitlines()]
    assert [line.get("goes_on", False) for line in told] == [True, True, False, True, False, True, False, True]


def test_logs_of_an_attempt_that_never_was_are_not_found(halfstep, database, worker):
    fill(database, worker)
    said = halfstep("logs", "1", "--attempt", "2")
    assert (said.code, said.err) == (5, "halfstep: Task 1 had 1 attempts, so there is no attempt 2.\n")


def test_following_a_log_ends_with_the_task_and_has_every_line(halfstep, start_command, start_worker, tmp_path):
    gate = tmp_path / "gate"
    start_worker()
    os.mkfifo(gate)
    halfstep("enqueue", "bash", json.dumps({"command": f"echo first; read -r word < {gate}; echo $word"}))
    following = start_command("logs", "1", "--follow")
    assert following.stdout.readline() == "first\n"
    assert halfstep("show", "1", "--json").json["state"] == "running"
    gate.write_text("last\n")
    assert following.stdout.read() == "last\n"
    assert following.wait(timeout=PATIENCE) == 0


def test_following_a_log_shows_what_there_is_of_a_line_and_then_its_rest(halfstep, start_command, start_worker, tmp_path):
    gate = tmp_path / "gate"
    start_worker()
    os.mkfifo(gate)
    halfstep("enqueue", "bash", json.dumps({"command": f"printf 'Uploading ... '; read -r word < {gate}; echo $word"}))
    following = start_command("logs", "1", "--follow")
    assert following.stdout.read(14) == "Uploading ... "
    assert halfstep("show", "1", "--json").json["state"] == "running"
    gate.write_text("done\n")
    assert following.stdout.read() == "done\n"


def test_queues_show_what_they_hold(halfstep, database, worker):
    fill(database, worker)
    halfstep("pause", "etl")
    by_name = {queue["name"]: queue for queue in halfstep("queues", "--json").json}
    assert (by_name["default"]["scheduled"], by_name["etl"]["ready"], by_name["etl"]["paused"]) == (1, 1, True)
    assert halfstep("queues").out.splitlines()[2].split() == ["etl", "1", "0", "0", "yes", "1"]


def test_workers_show_who_works_and_with_all_who_worked(halfstep, start_worker, reports):
    first = start_worker("--name", "amy", "--queues", "etl,default", "--slots", "3")
    (amy,) = halfstep("workers", "--json").json
    assert (amy["name"], amy["state"], amy["slots"], sorted(amy["queues"])) == ("amy", "running", 3, ["default", "etl"])
    first.terminate()
    wait_until(lambda: not reports.workers(), what="the worker's leaving")
    nobody = halfstep("workers")
    assert (nobody.code, nobody.out, nobody.err) == (0, "", "There are no workers; start one with: halfstep worker\n")
    assert halfstep("workers", "--all").out.splitlines()[1].split()[:2] == ["amy", "stopped"]
