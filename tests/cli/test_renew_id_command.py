"""renew-id: a copy of a database gets an id of its own, and touches no pod of the one that it is a copy of."""

from __future__ import annotations

from contextlib import closing

import pytest

from halfstep.database import Database
from halfstep.errors import Conflict
from halfstep.installation import Installation, read_installation, settle
from halfstep.pods import Doubt, PodBook, PodRow
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Reports


@pytest.fixture
def original(server):
    """A database on which a launcher has begun; nobody is connected."""
    name = server.make_database()
    with closing(Database(server.url(name))) as database:
        settle(database)
    yield name
    server.drop(name)


@pytest.fixture
def copy_of(server):
    """Copies a database, as it stands."""
    made = []

    def copy(name):
        made.append(server.make_database(template=name))
        return server.url(made[-1])

    yield copy
    for name in made:
        server.drop(name)


@pytest.fixture
def at(request):
    """Connections, closed at the end."""

    def connect(url):
        database = Database(url)
        request.addfinalizer(database.close)
        return database

    return connect


def run_in_a_pod(database, make_worker_on, **options):
    """A task whose pod a launcher has asked for; the launcher is gone without a word."""
    task = enqueue(database, "pod", {"image": "x"}, placement="pod", **options)
    launcher = make_worker_on(database)
    (claim,) = launcher.claim(placement="pod")
    PodBook(database).write(
        [PodRow(claim.attempt_id, claim.id, 1, "", "tasks", f"hs-{claim.attempt_id}", "u", {}, token=claim.token)]
    )
    return task, launcher


@pytest.fixture
def make_worker_on(make_worker):
    return lambda database: make_worker(on=Queue(database), placement="pod", lease_seconds=0.001)


def test_no_launcher_works_on_a_copy_until_it_has_an_id_of_its_own(original, copy_of, at, server, halfstep_at):
    url = copy_of(original)
    copy = at(url)
    for refused in (settle, lambda database: PodBook(database).installation()):
        with pytest.raises(Conflict, match="For a copy: halfstep renew-id"):
            refused(copy)
    said = halfstep_at(url, "doctor")
    assert (said.code, "renew-id" in said.out) == (1, True)
    id = read_installation(copy).id
    said = halfstep_at(url, "renew-id")
    assert (said.code, said.err) == (1, f"The id {id} gives way to a new one. Nothing was done; add --yes to do it.\n")
    said = halfstep_at(url, "renew-id", "--yes")
    new = settle(copy)
    assert (said.code, said.err) == (0, f"The id is {new} now.\n")
    assert new != id == settle(at(server.url(original)))
    again = halfstep_at(url, "renew-id", "--yes")
    assert (again.code, again.err) == (0, f"The id {new} was given to this very database; nothing to do.\n")
    assert halfstep_at(url, "renew-id", "--force", "--json", "--yes").json["installation"] not in (id, new)
    assert halfstep_at(url, "doctor").code == 0


@pytest.mark.parametrize("words", [(), ("--moved",)], ids=["a copy", "a database that has moved"])
def test_functions_that_a_restore_without_grants_has_left_to_everybody_are_closed(original, copy_of, at, halfstep_at, words):
    url = copy_of(original)
    at(url).execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA halfstep TO PUBLIC")
    said = halfstep_at(url, "doctor")
    assert "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;" in said.out
    assert halfstep_at(url, "renew-id", "--yes", *words).code == 0
    assert halfstep_at(url, "doctor").code == 0


def test_a_database_that_has_moved_keeps_its_id(original, copy_of, at, halfstep_at):
    url = copy_of(original)
    id = read_installation(at(url)).id
    said = halfstep_at(url, "renew-id", "--moved", "--yes")
    assert (said.code, said.err) == (0, f"The id {id} is at home here now.\n")
    assert settle(at(url)) == id


def test_while_somebody_works_nothing_is_renewed(original, copy_of, at, make_worker, halfstep_at):
    url = copy_of(original)
    make_worker(on=Queue(at(url)), name="busy", placement="pod")
    said = halfstep_at(url, "renew-id", "--yes")
    assert (said.code, said.err) == (6, "halfstep: Still at work: busy. Stop them first (halfstep workers shows them).\n")
    assert read_installation(at(url)).is_elsewhere


def test_what_ran_in_pods_of_the_original_is_not_adopted_by_the_copy(original, copy_of, at, make_worker_on, server, halfstep_at):
    with closing(Database(server.url(original))) as database:
        often, launcher = run_in_a_pod(database, make_worker_on)
        once, _ = run_in_a_pod(database, make_worker_on, at_most_once=True)
        Queue(database).deregister(launcher.id)  # it left in order: its pod is to be adopted
    url = copy_of(original)
    copy = at(url)
    said = halfstep_at(url, "renew-id", "--yes")
    assert "2 tasks that ran in pods of the other one wait again, or are cancelled." in said.err
    assert copy.execute("SELECT FROM halfstep.pod") == []
    new = make_worker_on(copy)
    assert PodBook(copy).adopt(new.turn(placement="pod"), token="00000000-0000-4000-8000-000000000001").claims == []
    Queue(copy).rescue()
    assert Reports(copy).states([often, once]) == {often: "ready", once: "cancelled"}
    assert Reports(at(server.url(original))).states([often, once]) == {often: "running", once: "running"}


def test_attempts_that_this_database_never_intended_are_known_as_such(database, make_worker_on):
    _, _ = run_in_a_pod(database, make_worker_on)
    (mine,) = [row["attempt_id"] for row in database.execute("SELECT attempt_id::text FROM halfstep.pod")]
    theirs = "00000000-0000-4000-8000-000000000002"
    doubts = [Doubt(one, f"u-{one}", "tasks", marked=True, older=False, twin=True) for one in (mine, theirs)]
    words = PodBook(database).doubted(doubts)
    assert [uid for uid, word in words.items() if word == "unknown"] == [f"u-{theirs}"]


HOME = "7/5/17/10.20"


@pytest.mark.parametrize(
    ("home", "here", "elsewhere"),
    [
        (None, HOME, False),
        (HOME, HOME, False),
        (HOME, None, False),
        (HOME, "7/6/17/10.20", True),
        (HOME, "7/5/17/11.21", False),
        (HOME, "8/5/18/10.20", False),
        (HOME, "8/9/18/10.20", False),
        (HOME, "8/5/17/10.20", True),
        (HOME, "8/5/18/11.21", True),
        (HOME, "8/5/16/10.20", True),
    ],
    ids=[
        "no launcher has begun yet",
        "the same place",
        "a server that does not tell",
        "a copy beside it (CREATE DATABASE … TEMPLATE)",
        "the schema made anew in the same database",
        "after pg_upgrade",
        "after pg_upgrade from before PostgreSQL 15",
        "restored on a server that was made in the same way",
        "restored on a newer server",
        "restored on an older server",
    ],
)
def test_where_an_id_is_at_home(home, here, elsewhere):
    assert Installation("i", home, here).is_elsewhere is elsewhere
