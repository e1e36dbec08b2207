"""Tasks of operator `http` on a real worker: what their answers make of them."""

from __future__ import annotations

from datetime import datetime

from raw_server import answers, raw_server
from waiting import wait_until

BUSY = b"HTTP/1.1 429 Too Many\r\nRetry-After: 3600\r\nContent-Length: 9\r\n\r\ncome back"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_the_next_attempt_waits_for_as_long_as_the_answer_asks(halfstep, start_worker):
    start_worker()
    with raw_server(answers(BUSY)) as server:
        halfstep("enqueue", "http", f'{{"url": "{server.url}/x"}}')
        wait_until(lambda: halfstep("show", "1", "--json").json["state"] == "scheduled", what="the retry")
    task = halfstep("show", "1", "--json").json
    (attempt,) = task["attempts"]
    waits = datetime.fromisoformat(task["run_at"]) - datetime.fromisoformat(attempt["ended_at"])
    assert 3_500 < waits.total_seconds() < 3_700
    assert attempt["error"].endswith("/x answered 429, expected 200 to 299; it says: come back")


def test_of_a_task_that_runs_at_most_once_it_is_the_end(halfstep, start_worker):
    start_worker()
    with raw_server(answers(BUSY)) as server:
        said = halfstep("enqueue", "http", f'{{"url": "{server.url}"}}', "--at-most-once", "--wait")
    assert said.code == 1
    assert halfstep("show", "1", "--json").json["state"] == "failed"


def test_the_process_is_used_again_after_a_call_by_name(halfstep, start_worker):
    """The thread that looks for the address has ended."""
    start_worker()
    with raw_server(answers(FINE)) as server:
        halfstep("enqueue", "http", f'{{"url": "http://localhost:{server.port}/"}}', "--count", "3", "--wait")
    for task in "123":
        assert halfstep("logs", task).out == f"GET http://localhost:{server.port}/ answered 200\n"
