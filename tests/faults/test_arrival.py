"""A worker that starts while its database can't be used. Real processes and a real server."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

from halfstep.database import Database
from halfstep.producer import enqueue
from own_server import OwnServer
from siege import live_tasks
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]


def test_a_worker_that_starts_before_its_database_waits_and_works_when_it_is_there(
    own_server: OwnServer, start_worker: Start
) -> None:
    with closing(Database(own_server.url)) as database:
        enqueue(database, "python", {"function": "jobs:add", "args": [1, 2]})
    own_server.stop()
    worker = start_worker(url=own_server.url)
    wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to notice")
    own_server.start()
    with closing(Database(own_server.url)) as database:
        wait_until(lambda: live_tasks(database) == 0, what="the end of the task")
    assert worker.stop() == 0


def test_a_worker_that_waits_for_its_database_leaves_at_a_signal(own_server: OwnServer, start_worker: Start) -> None:
    own_server.stop()
    worker = start_worker(url=own_server.url)
    wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to notice")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_login_that_is_refused_is_told_at_once(database_url: str, start_worker: Start) -> None:
    user, _, rest = database_url.partition("//")[2].partition(":")
    worker = start_worker(url=f"postgresql://{user}:wrong@{rest.partition('@')[2]}")
    assert worker.wait() == 1
    assert "check the user and password" in worker.log.read_text()


def test_a_database_that_does_not_exist_is_told_at_once(database_url: str, start_worker: Start) -> None:
    worker = start_worker(url=urlsplit(database_url)._replace(path="/no_such_database").geturl())
    assert worker.wait() == 1
    assert "check the names in HALFSTEP_DATABASE_URL" in worker.log.read_text()
