"""What every test may ask for: a real PostgreSQL, a fresh database a test, a worker as the queue sees it.

All xdist workers share one embedded server, started by the first test that needs it. To use another server, whatever its version:

    HALFSTEP_TEST_SERVER_URL=postgresql://postgres@127.0.0.1:5432/postgres make test

(a superuser; the tests make roles and databases of their own there and drop them at the end).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest

from halfstep.administration import Administration
from halfstep.claims import Claim, Ending, Exchanged, Turn, Wish
from halfstep.database import Database, Row, parse_url
from halfstep.migrate import migrate
from halfstep.outcomes import Cancelled, Failed, Succeeded
from halfstep.queue import Queue, WorkerCard
from halfstep.reports import Reports
from halfstep_cli.embedded import EmbeddedServer, discard
from producers import Producer, producer_of
from waiting import wait_until

# The machine may be shared: neither an example nor the making of examples is slow by itself.
hypothesis.settings.register_profile(
    "tests", deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

TOGETHER = ("test_plans.py", "test_keda_end_to_end.py", "test_keda_metrics.py", "test_keda_refusals.py")
"""Files with a preparation that is too dear to be made by several workers."""

FOLDER = "HALFSTEP_TEST_FOLDER"
"""Names the folder of this run's embedded server; set by the process that all xdist workers descend from."""


def pytest_configure(config: pytest.Config) -> None:
    """The server of the environment that the tests run in is none of theirs."""
    os.environ.pop("HALFSTEP_DATABASE_URL", None)
    config.addinivalue_line(
        "markers", "alters_schema: changes tables, partitions or millions of rows; its database is not used again."
    )
    if not hasattr(config, "workerinput"):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="halfstep-tests-")
        os.chmod(os.environ[FOLDER], 0o711)  # as root the server runs as another user


def pytest_unconfigure(config: pytest.Config) -> None:
    """Every xdist worker has left the server by now."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(FOLDER))
        for left in folder.glob("*/"):
            discard(left)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files of `TOGETHER` run on one worker each, whatever the version of pytest makes of `--dist loadgroup`."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.rpartition("/")[2] in TOGETHER else nodeid

    return Scheduling(config, log)


class TestServer:
    """A PostgreSQL server as its superuser, and what the tests made there."""

    __test__ = False

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._admin = Database(admin_url)
        self.owner = self.make_role("CREATEROLE")
        self._template = self.make_database(template="template0")
        with closing(Database(self.url(self._template))) as database:
            migrate(database)

    def admin(self, statement: str) -> list[Row]:
        """Runs one statement as the superuser, outside of the tests' databases."""
        return self._admin.execute(statement)

    def make_role(self, options: str = "") -> tuple[str, str]:
        """A role that may log in, no superuser: its name and password."""
        name, password = f"test_{secrets.token_hex(6)}", secrets.token_hex(12)
        self.admin(f"CREATE ROLE {name} LOGIN NOSUPERUSER {options} PASSWORD '{password}'")
        return name, password

    def url(self, database: str, role: tuple[str, str] | None = None) -> str:
        """Where `role` (the owner if None) logs in to `database`."""
        name, password = role or self.owner
        parts = parse_url(self.admin_url).set(drivername="postgresql", username=name, password=password, database=database)
        return parts.render_as_string(hide_password=False)

    def make_database(self, *, template: str | None = None) -> str:
        """A new database of the owner's, a migrated one unless another `template` is named; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {template or self._template} OWNER {self.owner[0]}")
        return name

    def drop(self, name: str) -> None:
        """The database goes, whoever is connected to it."""
        self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def clean(self, name: str) -> str:
        """Empties a database for the next test, under a new name that nobody who is left over knows; returns it.

        Far cheaper than a new one: dropping a database waits for a checkpoint.
        """
        fresh = f"test_{secrets.token_hex(6)}"
        self.admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        wait_until(
            lambda: not self.admin(f"SELECT FROM pg_stat_activity WHERE datname = '{name}'"), what="the end of old connections"
        )
        self.admin(f"ALTER DATABASE {name} RENAME TO {fresh}")
        self.admin(f"ALTER DATABASE {fresh} ALLOW_CONNECTIONS true")
        with closing(Database(self.url(fresh))) as database:
            database.script(_EMPTY)
        return fresh

    def close(self) -> None:
        """Drops what is left."""
        for row in self.admin(f"SELECT datname FROM pg_database WHERE datdba = '{self.owner[0]}'::regrole"):
            self.drop(row["datname"])
        self.admin(f"DROP ROLE {self.owner[0]}")
        self._admin.close()


_EMPTY = """
DELETE FROM halfstep.task; DELETE FROM halfstep.history; DELETE FROM halfstep.attempt; DELETE FROM halfstep.log;
DELETE FROM halfstep.unique_key; DELETE FROM halfstep.worker; DELETE FROM halfstep.lease; DELETE FROM halfstep.exchange;
DELETE FROM halfstep.pod; DELETE FROM halfstep.tally; DELETE FROM halfstep.scaler; DELETE FROM halfstep.election;
DELETE FROM halfstep.producer; DELETE FROM halfstep.cluster; DELETE FROM halfstep.queue;
INSERT INTO halfstep.queue (name) VALUES ('default');
DELETE FROM halfstep.installation; INSERT INTO halfstep.installation DEFAULT VALUES; ALTER SEQUENCE halfstep.task_id RESTART;
"""


@dataclass(slots=True)
class QueueWorker:
    """A worker as the queue sees it: registered, with the sequence of its exchanges. It runs nothing."""

    queue: Queue
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 0

    def turn(self, queues: Sequence[str] = ("default",), placement: str = "worker", cluster: str = "") -> Turn:
        """Its next turn, which it does not take yet."""
        return Turn(self.id, self.sequence, list(queues), placement, cluster)

    def exchange(self, wish: Wish, finished: Sequence[Ending] = (), **served: object) -> Exchanged:
        """Takes its turn."""
        done = self.queue.exchange(self.turn(**served), wish, finished)  # type: ignore[arg-type]
        self.sequence += done.mine
        return done

    def claim(self, want: int = 1, *, alone: bool = False, **served: object) -> list[Claim]:
        """Claims up to `want` tasks."""
        return self.exchange(Wish(want, str(uuid.uuid4()), alone=alone), **served).claims

    def finish(self, *claims: Claim, outcome: Succeeded | Failed | Cancelled | None = None) -> list[int]:
        """Ends claims; returns the refused ids."""
        endings = [Ending(claim, outcome or Succeeded(), 0.5) for claim in claims]
        return self.exchange(Wish(0, str(uuid.uuid4())), endings).refused

    def die(self, *, rescue: bool = True) -> None:
        """Its lease is marked dead and, unless told otherwise, its tasks are rescued."""
        counter = next(lease["counter"] for lease in self.queue.leases() if lease["worker"] == self.id)
        assert self.queue.mark_dead(self.id, counter=counter)
        if rescue:
            self.queue.rescue()


@contextmanager
def _server(name: str) -> Iterator[TestServer]:
    with ExitStack() as stack:
        given = os.environ.get("HALFSTEP_TEST_SERVER_URL")
        started = given or stack.enter_context(EmbeddedServer(Path(os.environ[FOLDER]) / name)).admin_url
        yield stack.enter_context(closing(TestServer(started)))


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """The server of this run."""
    with _server("server") as made:
        yield made


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[TestServer]:
    """A server of the file's own, for what counts pages: rows that any transaction on a server may still see are read again.

    In whichever database that transaction is. A server that was given is not quiet.
    """
    with _server("quiet") as made:
        yield made


@pytest.fixture(scope="session")
def clean_databases() -> list[str]:
    """Databases that tests have left and that were emptied."""
    return []


@pytest.fixture
def database_url(server: TestServer, clean_databases: list[str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated and empty database of the test's own, as the role that owns it (no superuser)."""
    name = clean_databases.pop() if clean_databases else server.make_database()
    yield server.url(name)
    if request.node.get_closest_marker("alters_schema"):
        server.drop(name)
    else:
        clean_databases.append(server.clean(name))


@pytest.fixture
def empty_database_url(server: TestServer) -> Iterator[str]:
    """A fresh database without halfstep's schema."""
    name = server.make_database(template="template0")
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], Database]]:
    """Makes further connections to the test's database; they are closed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Database(database_url)))


@pytest.fixture
def raw_connect(database_url: str) -> Iterator[Callable[[], psycopg2.extensions.connection]]:
    """Makes plain driver connections to the test's database, as users have them; they are closed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(psycopg2.connect(database_url)))


@pytest.fixture
def database(connect: Callable[[], Database]) -> Database:
    """The test's first connection."""
    return connect()


@pytest.fixture
def queue(database: Database) -> Queue:
    """The verbs, on the test's first connection."""
    return Queue(database)


@pytest.fixture
def reports(database: Database) -> Reports:
    """What people read, on the test's first connection."""
    return Reports(database)


@pytest.fixture
def administration(database: Database) -> Administration:
    """What an administrator does, on the test's first connection."""
    return Administration(database)


@pytest.fixture
def producer(server: Any, database: Database) -> Iterator[Producer]:
    """A role that was granted nothing yet, and its connection."""
    with producer_of(server, database) as one:
        yield one


@pytest.fixture
def make_worker(queue: Queue) -> Callable[..., QueueWorker]:
    """Registers a worker; keyword arguments are those of WorkerCard. `on`: the Queue whose connection it uses."""

    def register(*, on: Queue | None = None, **card: object) -> QueueWorker:
        worker = QueueWorker(on or queue)
        given = {"name": "w", "host": "here", "pid": 1, "version": "0", "slots": 4} | card
        worker.queue.register(WorkerCard(id=worker.id, **given))  # type: ignore[arg-type]
        return worker

    return register


@pytest.fixture
def worker(make_worker: Callable[..., QueueWorker]) -> QueueWorker:
    """One registered worker on the test's first connection."""
    return make_worker()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for what has to happen at the same time; the test waits for them at its end."""
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture
def wait_for_lock_waiters(database_url: str) -> Iterator[Callable[[int], None]]:
    """Returns once that many connections of the test's database wait for a lock."""
    with closing(Database(database_url)) as observer:
        sql = (
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND pid <> pg_backend_pid()"
        )

        def wait(number: int = 1) -> None:
            wait_until(lambda: observer.execute(sql)[0]["n"] >= number, what=f"{number} waiting for a lock")

        yield wait
