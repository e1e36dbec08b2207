"""A role that may enqueue to one queue, and tries for more: to reach, read, slow, block or learn of what is others'."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from halfstep import enqueue
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.errors import InvalidTask
from halfstep.migrate import schema_state
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue
from producers import Producer
from waiting import PATIENCE, wait_until

OTHERS = (
    "SELECT id, queue, state, operator, args, run_at FROM halfstep.task WHERE queue <> 'mine' ORDER BY id",
    "SELECT key, queue, task_id FROM halfstep.unique_key WHERE queue <> 'mine' ORDER BY key",
    "SELECT name, weight, paused_at, operators, placements FROM halfstep.queue ORDER BY name",
    "SELECT id, fixed_queues, args_bytes, history_days FROM halfstep.installation",
    "SELECT role, queue FROM halfstep.producer ORDER BY queue",
    "SELECT name, queue FROM halfstep.cluster WHERE queue <> 'mine' ORDER BY name",
    "SELECT oid::text, proowner, prosrc, proacl::text FROM pg_proc WHERE pronamespace = 'halfstep'::regnamespace ORDER BY 1",
)  # fmt: skip
NO_RIGHT, NO_QUEUE, NOT_VALID = "42501", "HS002", "HS001"

ATTEMPTS: dict[str, tuple[str, str]] = {
    # to reach another queue
    "another's queue": ("SELECT halfstep.enqueue('http', '{}', queue => 'theirs')", NO_QUEUE),
    "the default queue": ("SELECT halfstep.enqueue('http', '{}')", NO_QUEUE),
    "no queue": ("SELECT halfstep.enqueue('http', '{}', queue => NULL)", NO_QUEUE),
    "a queue that is not there yet": ("SELECT halfstep.enqueue('http', '{}', queue => 'fresh')", NO_QUEUE),
    "a queue in other letters": ("SELECT halfstep.enqueue('http', '{}', queue => 'Theirs')", NO_QUEUE),
    "a queue behind blanks": ("SELECT halfstep.enqueue('http', '{}', queue => 'mine ')", NO_QUEUE),
    "another's queue behind one's own in a batch": (
        """SELECT halfstep.enqueue_many('[{"operator":"a","args":{},"queue":"mine"},{"operator":"a","args":{},"queue":"no"}]')""",
        NO_QUEUE,
    ),
    "a key given twice in a record": (
        """SELECT halfstep.enqueue_many('[{"operator":"http","args":{},"queue":"mine","queue":"theirs"}]')""", NO_QUEUE,
    ),
    "another's queue by json": ("SELECT halfstep.enqueue('http', '{}'::json, queue => 'theirs')", NO_QUEUE),
    "another's, intervals": ("SELECT halfstep.enqueue('http', '{}', timeout => interval '1 s', queue => 'theirs')", NO_QUEUE),
    "another's key": ("SELECT halfstep.enqueue('http', '{}', queue => 'theirs', unique_key => 'daily')", NO_QUEUE),
    "a key in another's queue": ("SELECT halfstep.enqueue('http', '{}', queue => 'theirs', unique_key => 'new')", NO_QUEUE),
    "a cluster of another's queue": (
        "SELECT halfstep.enqueue('http', '{}', queue => 'theirs', placement => 'pod', cluster => 'x')", NO_QUEUE,
    ),
    # to run what the queue does not take
    "another operator": ("""SELECT halfstep.enqueue('bash', '{"command": "id"}', queue => 'mine')""", NO_QUEUE),
    "an operator in capitals": ("SELECT halfstep.enqueue('HTTP', '{}', queue => 'mine')", NO_QUEUE),
    "operator pod": ("""SELECT halfstep.enqueue('pod', '{"image": "x"}', queue => 'mine', placement => 'pod')""", NO_QUEUE),
    "script in a pod": ("SELECT halfstep.enqueue('script', '{}', queue => 'mine', placement => 'pod')", NO_QUEUE),
    "more than one's share of clusters": (
        "SELECT halfstep.enqueue('http', '{}', 'mine', placement => 'pod', cluster => 'c' || i) FROM generate_series(1, 9) i",
        NOT_VALID,
    ),
    # to read
    "the tasks": ("SELECT * FROM halfstep.task", NO_RIGHT),
    "a column of the tasks": ("SELECT args FROM halfstep.task", NO_RIGHT),
    "how many tasks": ("SELECT count(*) FROM halfstep.task", NO_RIGHT),
    "the history": ("SELECT * FROM halfstep.history", NO_RIGHT),
    "a partition of it": ("SELECT * FROM halfstep.history_default", NO_RIGHT),
    "the logs": ("SELECT * FROM halfstep.log", NO_RIGHT),
    "the attempts": ("SELECT * FROM halfstep.attempt", NO_RIGHT),
    "the keys": ("SELECT * FROM halfstep.unique_key", NO_RIGHT),
    "the workers": ("SELECT * FROM halfstep.worker", NO_RIGHT),
    "the pods": ("SELECT * FROM halfstep.pod", NO_RIGHT),
    "who else may enqueue": ("SELECT * FROM halfstep.producer", NO_RIGHT),
    "the queues": ("SELECT * FROM halfstep.queue", NO_RIGHT),
    "the clusters": ("SELECT * FROM halfstep.cluster", NO_RIGHT),
    "the demand": ("SELECT * FROM halfstep.demand", NO_RIGHT),
    "the installation": ("SELECT * FROM halfstep.installation", NO_RIGHT),
    "the last id": ("SELECT last_value FROM halfstep.task_id", NO_RIGHT),
    "the next id": ("SELECT nextval('halfstep.task_id')", NO_RIGHT),
    "a copy": ("COPY halfstep.task TO STDOUT", NO_RIGHT),
    "a file": ("SELECT pg_read_file('postgresql.conf')", NO_RIGHT),
    "a plan": ("EXPLAIN ANALYZE SELECT * FROM halfstep.task", NO_RIGHT),
    "the last lines of a task": ("SELECT halfstep.last_lines(1, 1, 5)", NO_RIGHT),
    "how a worker died": ("SELECT halfstep.death_words(gen_random_uuid())", NO_RIGHT),
    "whether a role may": ("SELECT halfstep.may_enqueue('theirs')", NO_RIGHT),
    "whether somebody waits": ("SELECT halfstep.awaited('{theirs}')", NO_RIGHT),
    # to write
    "a task by hand": ("INSERT INTO halfstep.task DEFAULT VALUES", NO_RIGHT),
    "another's task": ("UPDATE halfstep.task SET queue = 'mine'", NO_RIGHT),
    "all tasks": ("DELETE FROM halfstep.task", NO_RIGHT),
    "an empty table": ("TRUNCATE halfstep.task", NO_RIGHT),
    "a grant": ("INSERT INTO halfstep.producer VALUES (current_user, 'theirs')", NO_RIGHT),
    "another queue's limits": ("UPDATE halfstep.queue SET operators = NULL", NO_RIGHT),
    "a key by hand": ("SELECT halfstep.take_key('daily', 'theirs', 1, NULL)", NO_RIGHT),
    "a cluster by hand": ("SELECT halfstep.admit_cluster('x', '')", NO_RIGHT),
    "a queue by hand": ("""SELECT halfstep.check_queues('[{"queue": "x"}]')""", NO_RIGHT),
    "a partition": ("SELECT halfstep.add_partition('history', 'finished_at', '2030-01-01')", NO_RIGHT),
    "a scaler": ("INSERT INTO halfstep.scaler VALUES (gen_random_uuid(), 'x', '{*}')", NO_RIGHT),
    "a lease": ("INSERT INTO halfstep.lease VALUES (gen_random_uuid(), 0, 1)", NO_RIGHT),
    "another id": ("SELECT setval('halfstep.task_id', 1)", NO_RIGHT),
    # to become somebody else, or make something that others would use
    "the owner": ("SET ROLE halfstep", "22023 42501"),
    "the owner's session": ("SET SESSION AUTHORIZATION postgres", "42501 22023"),
    "a table in the schema": ("CREATE TABLE halfstep.mine (x int)", NO_RIGHT),
    "a function in the schema": ("CREATE FUNCTION halfstep.enqueue(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'", NO_RIGHT),
    "another body for a function": (
        "CREATE OR REPLACE FUNCTION halfstep.shown(given text) RETURNS text LANGUAGE sql AS 'SELECT NULL'", NO_RIGHT,
    ),
    "a trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON halfstep.task EXECUTE FUNCTION suppress_redundant_updates_trigger()", NO_RIGHT,
    ),
    "a rule": ("CREATE RULE r AS ON INSERT TO halfstep.task DO INSTEAD NOTHING", "42501 42809"),
    "a policy": ("ALTER TABLE halfstep.task DISABLE ROW LEVEL SECURITY", NO_RIGHT),
    "the schema": ("DROP SCHEMA halfstep CASCADE", NO_RIGHT),
    "a setting of a function": ("ALTER FUNCTION halfstep.enqueue_many(text) SET search_path = mine", NO_RIGHT),
    "a grant of one's own": ("GRANT EXECUTE ON FUNCTION halfstep.enqueue_many(text) TO PUBLIC", "42501 0LP01 none"),
    "a lock of the tasks": ("DO 'BEGIN LOCK TABLE halfstep.task; END'", NO_RIGHT),
    "a lock of a queue": ("SELECT FROM halfstep.queue WHERE name = 'theirs' FOR UPDATE", NO_RIGHT),
    "a turn": ("SELECT FROM halfstep.turn FOR UPDATE", NO_RIGHT),
    "a vacuum": ("VACUUM FULL halfstep.task", "none"),
    "an analyze": ("ANALYZE halfstep.task", "none"),
    "the end of others' sessions": (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user", "42501 none",
    ),
}  # fmt: skip
PODS = {
    "an image": '{"image": "evil"}', "an environment": '{"env": {"LD_PRELOAD": "x"}}', "more of it": '{"env_from": [{}]}',
    "secrets": '{"secrets": ["db"]}', "config maps": '{"config_maps": ["x"]}', "volumes": '{"volumes": [{}]}',
    "mounts": '{"volume_mounts": [{}]}', "init containers": '{"init_containers": [{}]}', "sidecars": '{"sidecars": [{}]}',
    "an account": '{"service_account": "admin"}', "a security context": '{"security_context": {}}',
    "a template": '{"template": "x"}', "pull secrets": '{"image_pull_secrets": ["x"]}', "something newer": '{"new_in_2030": 1}',
    "a list": "[1]", "a text": '"image"',
}  # fmt: skip


@dataclass
class Neighbours:
    """A producer of the queue `mine`, which takes http only, and what is others' in queue `theirs`."""

    producer: Producer
    database: Database
    before: list[Any]

    @property
    def now(self) -> list[Any]:
        """All that is not the producer's."""
        return [self.database.execute(sql) for sql in OTHERS]


@pytest.fixture
def neighbours(producer: Producer, administration: Administration, database: Database) -> Iterator[Neighbours]:
    """Afterwards nothing of the others' is changed, and a worker of theirs gets their task."""
    administration.set_queue("mine", operators=["http"])
    administration.set_queue("theirs")
    administration.grant_producer(producer.role, ["mine"])
    enqueue(database, "bash", {"command": "true"}, queue="theirs", unique_key="daily", labels={"secret": "yes"})
    made = Neighbours(producer, database, [])
    made.before = made.now
    yield made
    assert made.now == made.before


@pytest.mark.parametrize(("sql", "codes"), ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_a_producer_does_not_get(neighbours: Neighbours, sql: str, codes: str) -> None:
    with closing(psycopg2.connect(neighbours.producer.url)) as connection:
        connection.autocommit = True
        code, told = "none", ""  # for what PostgreSQL only warns of, and does not do
        try:
            connection.cursor().execute(sql)
        except psycopg2.Error as error:
            code, told = error.pgcode or "", str(error)
    assert code in codes.split()
    assert not any(word in told for word in ("daily", "secret", "default,"))


@pytest.mark.parametrize("settings", PODS.values(), ids=PODS.keys())
@pytest.mark.parametrize("operator", ["http"])
def test_a_pod_of_a_limited_queue_runs_nothing_of_the_producers(neighbours: Neighbours, operator: str, settings: str) -> None:
    with closing(psycopg2.connect(neighbours.producer.url)) as connection, pytest.raises(psycopg2.Error) as told:
        connection.cursor().execute(
            "SELECT halfstep.enqueue(%s, %s::jsonb, queue => 'mine', placement => 'pod')", (operator, f'{{"pod": {settings}}}')
        )
    assert told.value.pgcode == NO_QUEUE
    assert 'says under "pod" what is to run' in str(told.value)


def test_a_pod_of_a_limited_queue_may_ask_for_resources_and_places(neighbours: Neighbours) -> None:
    pod = {"resources": {"limits": {"cpu": "1"}}, "node_selector": {"disk": "ssd"}, "priority_class": "low", "grace_seconds": 5}
    pod |= {"on_oom": {"memory": "x2", "max": "1Gi"}, "runtime_class": "gvisor"}
    pod |= {"queue_timeout": 60}
    assert enqueue(neighbours.producer.database, "http", {"pod": pod}, queue="mine", placement="pod")


def test_a_queue_can_be_limited_to_a_placement(neighbours: Neighbours, administration: Administration) -> None:
    administration.set_queue("mine", placements=["worker"])
    with pytest.raises(Exception, match="Queue mine takes only tasks with the placement worker, not pod"):
        enqueue(neighbours.producer.database, "http", queue="mine", placement="pod")
    administration.set_queue("mine", any_placement=True)
    assert enqueue(neighbours.producer.database, "http", queue="mine", placement="pod")
    neighbours.before = neighbours.now


# -- to block, to slow, to learn -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_transaction(neighbours: Neighbours) -> Iterator[Callable[[str], None]]:
    """Executes something as the producer, in a transaction that stays open till the end of the test."""
    with ExitStack() as stack:

        def keep(sql: str) -> None:
            connection = stack.enter_context(closing(psycopg2.connect(neighbours.producer.url)))
            connection.cursor().execute(sql)

        yield keep


@pytest.fixture
def impatient(connect: Callable[[], Database]) -> Database:
    """A connection of the others' that waits for no lock."""
    other = connect()
    other.execute("SET lock_timeout = 300")
    return other


HOLDS = {
    "a key of the same name": "SELECT halfstep.enqueue('http', '{}', queue => 'mine', unique_key => 'k')",
    "a cluster of the same name": "SELECT halfstep.enqueue('http', '{}', queue => 'mine', placement => 'pod', cluster => 'c')",
    "all advisory locks that halfstep ever took": (
        "SELECT pg_advisory_lock(n) FROM unnest(ARRAY[1886547821, 1718578276, 1751215206, hashtext('halfstep.add_partition')]) n"
    ),
    "a key that has expired": (
        "SELECT halfstep.enqueue('http', '{}', queue => 'mine', unique_key => 'gone', unique_for => '1 ms'), pg_sleep(0.01);"
        " COMMIT; BEGIN; SELECT halfstep.enqueue('http', '{}', queue => 'mine', unique_key => 'gone', unique_for => '1 day')"
    ),
    "many tasks": "SELECT halfstep.enqueue('http', '{}', queue => 'mine') FROM generate_series(1, 500)",
}


@pytest.mark.parametrize("sql", HOLDS.values(), ids=HOLDS.keys())
def test_an_open_transaction_of_a_producer_keeps_nobody_waiting_with(
    neighbours: Neighbours, open_transaction: Callable[[str], None], impatient: Database, sql: str
) -> None:
    open_transaction(sql)
    queue, administration = Queue(impatient), Administration(impatient)
    later = {"queue": "theirs", "run_at": "2100-01-01T00:00:00Z"}
    assert enqueue(impatient, "bash", queue="theirs", unique_key="k", placement="pod", cluster="c")
    due = enqueue(impatient, "bash", **later)  # type: ignore[arg-type]
    impatient.execute(f"UPDATE halfstep.task SET run_at = clock_timestamp() WHERE id = {due}")
    assert queue.promote() == 1
    queue.fold()
    queue.pause("mine")
    queue.resume("mine")
    administration.set_queue("mine", operators=["http"])
    impatient.execute(
        "DROP TABLE halfstep.history_" + impatient.execute("SELECT to_char(now() + '7 days', 'YYYYMMDD') AS day")[0]["day"]
    )
    assert administration.prune().busy == []
    neighbours.before = neighbours.now


def test_a_key_belongs_to_its_queue(neighbours: Neighbours) -> None:
    """The producer's own task, and not the id of the one in the other queue."""
    theirs = neighbours.database.execute("SELECT id FROM halfstep.task")[0]["id"]
    mine = enqueue(neighbours.producer.database, "http", queue="mine", unique_key="daily")
    assert mine != theirs
    assert enqueue(neighbours.producer.database, "http", queue="mine", unique_key="daily") == mine
    assert enqueue(neighbours.database, "bash", queue="theirs", unique_key="daily") == theirs


def test_a_refused_enqueue_never_waits_for_a_key_of_another_queue(
    neighbours: Neighbours, raw_connect: Callable[[], Any], threads: ThreadPoolExecutor
) -> None:
    """Whoever has to wait learns that there is one, and whoever waits in a queue keeps its other users waiting."""
    holder = raw_connect()
    enqueue(holder, "bash", queue="theirs", unique_key="open")
    attempt = threads.submit(enqueue, neighbours.producer.database, "http", queue="theirs", unique_key="open")
    assert "may not enqueue to queue theirs" in str(attempt.exception(PATIENCE))
    holder.rollback()


def test_a_refused_enqueue_writes_nothing_into_the_queue_of_others(
    neighbours: Neighbours, server: Any, threads: ThreadPoolExecutor
) -> None:
    """Not even for as long as it waits for something of its own: whoever claims there would have to read past it."""
    producer, size = neighbours.producer, "SELECT pg_relation_size('halfstep.task') AS bytes"
    waits = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{producer.role}' AND wait_event_type = 'Lock'"
    mine = NewTask("http", {}, {"queue": "mine", "placement": "pod", "cluster": "c"})
    theirs = NewTask("http", {"x": "y" * 1_000}, {"queue": "theirs"})
    with closing(psycopg2.connect(producer.url)) as holder:
        enqueue_many(holder, [mine])
        before = neighbours.database.execute(size)[0]["bytes"]
        waiting = threads.submit(enqueue_many, producer.database, [mine, *[theirs] * 2_000])
        wait_until(lambda: server.admin(waits), what="the enqueue to wait")
        assert neighbours.database.execute(size)[0]["bytes"] - before < 100_000
    assert "may not enqueue to queue theirs" in str(waiting.exception(PATIENCE))


def test_a_place_is_kept_for_a_task_that_nobody_sees_yet(neighbours: Neighbours, administration: Administration) -> None:
    def enqueue_on(cursor: Any, **options: str) -> None:
        told = "".join(f", {name} => '{value}'" for name, value in options.items())
        cursor.execute(f"SELECT halfstep.enqueue('http', '{{}}', queue => 'mine', placement => 'pod', cluster => 'c'{told})")

    first = enqueue(neighbours.producer.database, "http", queue="mine", unique_key="k")
    assert enqueue(neighbours.producer.database, "http", queue="mine", unique_key="k", placement="pod", cluster="c") == first
    with closing(psycopg2.connect(neighbours.producer.url)) as connection:
        enqueue_on(connection.cursor())
        administration.prune()
        connection.commit()
    places = neighbours.database.execute("SELECT name FROM halfstep.cluster WHERE queue = 'mine'")
    assert [row["name"] for row in places] == ["c"]


def test_of_fixed_queues_a_producer_is_told_its_own(neighbours: Neighbours, administration: Administration) -> None:
    administration.fix_queues(True)
    neighbours.database.execute("DELETE FROM halfstep.queue WHERE name = 'mine'")
    administration.database.execute(
        "INSERT INTO halfstep.producer VALUES (%(role)s, 'other')", {"role": neighbours.producer.role}
    )
    administration.set_queue("other")
    with pytest.raises(Exception, match=r"no queue mine, and the queues here are fixed; known: other$"):
        enqueue(neighbours.producer.database, "http", queue="mine")
    neighbours.before = neighbours.now


def test_what_is_refused_is_said_in_the_same_words_whether_the_queue_is_there_or_not(neighbours: Neighbours) -> None:
    told = []
    for name in ("theirs", "nowhere"):
        with pytest.raises(Exception, match="may not enqueue") as error:
            enqueue(neighbours.producer.database, "http", queue=name)
        told.append(str(error.value).replace(name, "NAME"))
    assert told[0] == told[1]


def test_racing_enqueues_get_no_more_than_their_places_for_clusters(neighbours: Neighbours, threads: ThreadPoolExecutor) -> None:
    start = threading.Barrier(12)

    def name_one(number: int) -> bool:
        with closing(Database(neighbours.producer.url)) as connection:
            connection.execute("SELECT 1")
            start.wait(PATIENCE)
            with suppress(InvalidTask):
                return bool(enqueue(connection, "http", queue="mine", placement="pod", cluster=f"c{number}"))
            return False

    assert sum(task.result(PATIENCE) for task in [threads.submit(name_one, number) for number in range(12)]) == 5
    assert neighbours.database.execute("SELECT count(DISTINCT cluster) AS n FROM halfstep.task")[0]["n"] == 6  # and ''


def test_a_cluster_that_a_launcher_serves_needs_no_place(neighbours: Neighbours, make_worker: Callable[..., Any]) -> None:
    connection = neighbours.producer.database
    for number in range(5):
        enqueue(connection, "http", queue="mine", placement="pod", cluster=f"c{number}")
    with pytest.raises(Exception, match="served by no launcher"):
        enqueue(connection, "http", queue="mine", placement="pod", cluster="near")
    make_worker(placement="pod", cluster="near")
    assert enqueue(connection, "http", queue="mine", placement="pod", cluster="near")
    neighbours.before = neighbours.now


def test_a_place_is_free_again_when_no_task_names_its_cluster(neighbours: Neighbours, administration: Administration) -> None:
    ids = enqueue_many(
        neighbours.producer.database,
        [NewTask("http", {}, {"queue": "mine", "placement": "pod", "cluster": f"c{number}"}) for number in range(5)],
    )
    for id in ids[1:]:
        Queue(neighbours.database).cancel(id)
    administration.prune()
    assert [row["name"] for row in neighbours.database.execute("SELECT name FROM halfstep.cluster WHERE queue = 'mine'")] == [
        "c0"
    ]


def test_use_makes_a_thousand_queues_and_an_administrator_more(database: Database, administration: Administration) -> None:
    database.execute("INSERT INTO halfstep.queue (name) SELECT 'q' || n FROM generate_series(1, 998) n")
    enqueue(database, "bash", queue="last")
    with pytest.raises(Exception, match="of 1000 queues on no more are made by use; an administrator makes it"):
        enqueue(database, "bash", queue="one-more")
    administration.set_queue("one-more")
    assert enqueue(database, "bash", queue="one-more")


def test_who_might_enqueue_before_an_upgrade_may_enqueue_after_it(producer: Producer, administration: Administration) -> None:
    """The functions of an earlier version went, and with them their grants."""
    administration.grant_producer(producer.role, ["mine"])
    assert schema_state(administration.database).version >= 6
    for kind in ("jsonb", "json", "text"):
        assert producer.database.execute(f"SELECT halfstep.enqueue('http', '{{}}'::{kind}, queue => 'mine') AS id")[0]["id"]
