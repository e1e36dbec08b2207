"""`halfstep drain`: by name or id, and waiting until the worker has gone."""

from __future__ import annotations

import signal

from halfstep import enqueue
from waiting import NEVER, PATIENCE, wait_until


def test_a_worker_that_is_asked_to_leave_claims_nothing_and_is_shown_as_draining(halfstep, make_worker, database):
    amy, bob = make_worker(name="amy"), make_worker(name="bob")
    enqueue(database, "bash")
    said = halfstep("drain", "amy")
    assert (said.code, said.out) == (0, "")
    assert said.err == "Worker amy is to leave; it claims nothing more and holds no task.\n"
    assert (amy.claim(), len(bob.claim())) == ([], 1)
    assert [worker["state"] for worker in halfstep("workers", "--json").json] == ["draining", "running"]


def test_it_can_be_named_by_its_id_and_the_answer_is_json(halfstep, make_worker, database):
    amy = make_worker(name="amy")
    enqueue(database, "bash")
    amy.claim()
    answer = halfstep("drain", amy.id, "--json").json
    assert answer == {"id": amy.id, "name": "amy", "state": "draining", "held": 1, "gone": False}


def test_several_of_the_same_name_are_told_and_none_is_drained(halfstep, make_worker):
    ids = {make_worker(name="twin").id, make_worker(name="twin").id}
    said = halfstep("drain", "twin")
    assert said.code == 2
    assert said.err.startswith("halfstep: 2 workers have the name twin; choose one by its id: ")
    assert set(said.err.rstrip(".\n").rpartition("id: ")[2].split(", ")) == ids
    assert {worker["state"] for worker in halfstep("workers", "--json").json} == {"running"}


def test_nobody_of_that_name_is_not_found(halfstep, make_worker, queue):
    gone = make_worker(name="gone")
    queue.deregister(gone.id)
    for name in ("nobody", "gone", gone.id):
        said = halfstep("drain", name)
        assert (said.code, said.err) == (5, f"halfstep: No worker that lives has the name or id {name}; see: halfstep workers.\n")


def test_waiting_ends_at_its_limit_with_code_1(halfstep, make_worker):
    make_worker(name="slow")
    said = halfstep("drain", "slow", "--wait", "--timeout", "0.1", "--json")
    assert said.code == 1
    assert said.err.endswith("Worker slow is still there after 0.1 s; it holds no task.\n")
    assert said.json["gone"] is False


def test_a_limit_without_waiting_is_bad_input(halfstep, make_worker):
    make_worker(name="amy")
    assert halfstep("drain", "amy", "--timeout", "3").code == 2
    assert halfstep("workers", "--json").json[0]["state"] == "running"


def test_waiting_returns_when_a_real_worker_has_gone(halfstep, start_worker):
    process = start_worker("--name", "amy", "--grace", "1")
    said = halfstep("drain", "amy", "--wait", "--timeout", f"{PATIENCE}", "--json")
    assert (said.code, said.err.splitlines()[-1]) == (0, "Worker amy has gone.")
    assert said.json | {"id": ""} == {"id": "", "name": "amy", "state": "stopped", "held": 0, "gone": True}
    assert process.wait(timeout=PATIENCE) == 0


def test_waiting_for_one_that_is_lost_meanwhile_says_so(halfstep, start_command, make_worker, reports):
    amy = make_worker(name="amy")
    waiting = start_command("drain", "amy", "--wait", "--timeout", f"{PATIENCE}")
    wait_until(lambda: reports.workers()[0]["state"] == "draining", what="the request")
    amy.die()
    _, err = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, err.splitlines()[-1]) == (1, "Worker amy was lost before it had left; its tasks are rescued.")


def test_a_signal_too_shows_a_worker_as_draining(halfstep, start_worker, database, reports):
    enqueue(database, "bash", {"command": f"sleep {NEVER}"})
    process = start_worker("--name", "amy", "--grace", f"{NEVER}")
    wait_until(lambda: reports.show(1)["state"] == "running", what="the start")
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: halfstep("workers", "--json").json[0]["state"] == "draining", what="its being told")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 0
    assert reports.show(1)["state"] == "ready"
