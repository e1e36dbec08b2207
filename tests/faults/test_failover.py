"""A failover to a synchronous standby, both of them real servers, while workers work. A proxy stands for the name that moves."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from balance import balance
from effects import Effects
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep_cli.embedded.binaries import choose
from own_server import OwnServer
from proxy import Proxy
from siege import live_tasks
from waiting import wait_until
from worker_processes import WorkerProcess

TASKS = 60
pytestmark = pytest.mark.skipif(
    not (choose(None).bin / "pg_basebackup").exists(), reason="this PostgreSQL comes without pg_basebackup, which makes a standby"
)


@pytest.fixture
def standby(own_server: OwnServer) -> Iterator[OwnServer]:
    """Follows the test's own server, which acknowledges a commit only when the standby has it."""
    folder = Path(tempfile.mkdtemp(prefix="halfstep-standby-"))
    os.chmod(folder, 0o711)
    twin = own_server.standby(folder)
    try:
        twin.start()
        own_server.admin("ALTER SYSTEM SET synchronous_standby_names = '*'")
        own_server.admin("SELECT pg_reload_conf()")
        in_step = "SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        wait_until(lambda: own_server.admin(in_step), what="the standby to be in step")
        yield twin
    finally:
        twin.crash()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_failover_to_a_synchronous_standby_loses_and_repeats_nothing(
    own_server: OwnServer, standby: OwnServer, start_worker: Callable[..., WorkerProcess], effects: Effects
) -> None:
    with closing(Database(own_server.url)) as database:
        tasks = enqueue_many(database, [NewTask("python", effects.call(0.1), {})] * TASKS)
    with closing(Proxy(own_server.url)) as name:
        worker = start_worker(url=name.url, lease_seconds=20.0)
        wait_until(lambda: len(effects.ends()) > TASKS / 4, what="some ends")
        own_server.crash()
        standby.promote()
        name.lead_to(standby.url)
        with closing(Database(standby.url)) as database:
            wait_until(lambda: live_tasks(database) == 0, what="the end of all tasks")
            sheet = balance(database, effects, tasks)
        assert (sheet.problems, sheet.states, sheet.attempts) == ([], {"succeeded": TASKS}, TASKS), str(sheet)
        assert worker.stop() == 0
