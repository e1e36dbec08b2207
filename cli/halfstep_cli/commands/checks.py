"""What doctor looks at. Each check is one question, answered by a `Finding`."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

from halfstep.errors import HalfstepError, NotPermitted
from halfstep_cli.commands.findings import Check, Finding, Patient
from halfstep_cli.commands.service_checks import queues, scaled_objects, troubles, unserved, workers

NOTIFY_SECONDS = 2.0
CLOCK_SECONDS = 5.0
"""More than this between here and the server confuses people who compare times; the queue itself uses the server's clock only."""
AHEAD_DAYS = 2
MOST_GRANTS = 5


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings, in order. Nothing more is asked when the database does not answer or its schema does not fit."""
    for check in (reachable, server, encoding, schema):
        finding = _asked(check, patient)
        yield finding
        if finding.ok is False and check is not encoding:
            return
    for check in (
        rights,
        owners,
        grants,
        installation,
        durability,
        notifications,
        clock,
        workers,
        queues,
        unserved,
        scaled_objects,
        troubles,
        partitions,
        default_partitions,
    ):
        yield _asked(check, patient)


def _asked(check: Check, patient: Patient) -> Finding:
    name = check.__name__.replace("_", " ")
    try:
        return check(patient)
    except NotPermitted:
        return Finding(name, None, "this role may not look", "Ask again as the role that owns the schema.")
    except HalfstepError as error:
        return Finding(name, False, " ".join(str(error).split()))


def reachable(patient: Patient) -> Finding:
    """Does the database answer, and how fast?"""
    patient.database.execute("SELECT 1")
    began = time.perf_counter()
    row = patient.database.execute("SELECT current_user AS role, current_database() AS name")[0]
    milliseconds = (time.perf_counter() - began) * 1000
    return Finding("reachable", True, f"database {row['name']} as role {row['role']}, {milliseconds:.1f} ms a round trip")


def server(patient: Patient) -> Finding:
    """Is PostgreSQL new enough?"""
    from halfstep.migrate import check_server, server_version

    check_server(server_version(patient.database))
    row = patient.database.execute("SELECT current_setting('server_version') AS version")[0]
    return Finding("server", True, f"PostgreSQL {row['version']}")


def encoding(patient: Patient) -> Finding:
    """Can the database hold whatever tasks say?"""
    from halfstep.migrate import ENCODING, check_encoding

    check_encoding(patient.database)
    return Finding("encoding", True, ENCODING)


def schema(patient: Patient) -> Finding:
    """May this version of halfstep use the schema?"""
    from halfstep.migrate import check_schema

    state = check_schema(patient.database)
    return Finding("schema", True, f"version {state.version}")


def rights(patient: Patient) -> Finding:
    """May this role work, or at least enqueue?"""
    row = patient.database.execute(_RIGHTS)[0]
    if row["superuser"]:
        return Finding("rights", True, "this role is a superuser, which nothing of halfstep's needs: work as the schema's owner")
    if row["owns"]:
        return Finding("rights", True, "this role may do everything: migrate, work, enqueue")
    if row["enqueues"]:
        return Finding("rights", True, "this role may enqueue, to the queues granted to it, and do nothing else")
    advice = f"halfstep grant producer {row['role']} --queue QUEUE, or use the role that owns the schema."
    return Finding("rights", False, f"role {row['role']} may neither work nor enqueue", advice)


def owners(patient: Patient) -> Finding:
    """Does the schema's owner own all of it, and may nobody else make anything there?"""
    from halfstep.ownership import foreign_objects, makers, named, standing

    found = standing(patient.database)
    owner = found.owner if found else ""
    if objects := foreign_objects(patient.database):
        advice = f"Drop them, or have their owner changed (ALTER … OWNER TO {owner}) once you know what they are."
        return Finding("owners", False, f"not all is {owner}'s: {named(objects)}", advice)
    if others := makers(patient.database):
        revoke = f"REVOKE CREATE ON SCHEMA halfstep FROM {', '.join(others)};"
        return Finding("owners", False, f"{', '.join(others)} may make objects in the schema", revoke)
    return Finding("owners", True, f"all of the schema is {owner}'s")


def grants(patient: Patient) -> Finding:
    """Has anybody rights that no producer needs?"""
    from halfstep.ownership import foreign_rights, grantee

    found = foreign_rights(patient.database)
    if not found:
        return Finding("grants", True, "nobody has more than producers and scalers need")
    first = found[0]
    what = "ALL FUNCTIONS IN SCHEMA halfstep" if first["revoke"].startswith("FUNCTION") and not first["role"] else first["revoke"]
    told = "; ".join(f"{grantee(row['role'])} has {row['privileges']} on {row['object']}" for row in found[:MOST_GRANTS])
    more = f"; and {len(found) - MOST_GRANTS} more" if len(found) > MOST_GRANTS else ""
    return Finding("grants", False, told + more, f"REVOKE ALL ON {what} FROM {grantee(first['role'])}; and so on.")


def installation(patient: Patient) -> Finding:
    """Is the installation's id this database's own, and not that of one that it is a copy of?"""
    from halfstep.installation import ELSEWHERE, read_installation

    found = read_installation(patient.database)
    if found.is_elsewhere:
        return Finding("installation", False, f"{found.id}: {ELSEWHERE}")
    return Finding("installation", True, found.id)


def durability(patient: Patient) -> Finding:
    """Would the server keep what it has told us is committed? As our own login sees it."""
    row = patient.database.execute(_DURABILITY)[0]
    said = ", ".join(f"{name} {value}" for name, value in row.items())
    if row["fsync"] == "off":
        advice = "Set fsync = on, unless the provider's storage keeps PostgreSQL's log by itself."
        return Finding("durability", False, f"{said}: a crash of the machine may lose or ruin everything", advice)
    notes = [note for name, note in _UNSAFE.items() if row[name] == "off"]
    return Finding("durability", True, ": ".join([said, "; ".join(notes)]) if notes else said)


def notifications(patient: Patient) -> Finding:
    """Does a NOTIFY arrive? Without them idle workers poll, which is slower and just as safe."""
    from halfstep.database import Listener

    channel = f"halfstep_doctor_{secrets.token_hex(8)}"
    with closing(Listener(patient.listen_url, channel)) as listener:
        began = time.perf_counter()
        patient.database.execute("SELECT pg_notify(%(channel)s, 'hello')", {"channel": channel})
        heard = _heard(listener.wait)
    if heard:
        return Finding("notifications", True, f"arrived after {(time.perf_counter() - began) * 1000:.1f} ms")
    advice = "If there is a pooler in transaction mode, set HALFSTEP_DIRECT_DATABASE_URL to an address that goes past it."
    return Finding("notifications", False, f"none arrived within {NOTIFY_SECONDS:g} s, so idle workers only poll", advice)


def clock(patient: Patient) -> Finding:
    """Do this machine and the server agree what time it is? Half of the round trip is taken off."""
    before = datetime.now(UTC)
    there = patient.database.execute("SELECT clock_timestamp() AS now")[0]["now"]
    after = datetime.now(UTC)
    offset = (there - (before + (after - before) / 2)).total_seconds()
    if abs(offset) <= CLOCK_SECONDS:
        return Finding("clock", True, f"{offset:+.3f} s between the server and here")
    return Finding("clock", False, f"the server is {offset:+.1f} s off", "Synchronise both clocks (NTP).")


def partitions(patient: Patient) -> Finding:
    """Are there partitions for the coming days?"""
    missing = patient.database.run("missing_partitions", ahead=AHEAD_DAYS)
    if missing:
        return Finding("partitions", False, f"{len(missing)} of the coming days are missing", "halfstep prune")
    return Finding("partitions", True, f"there for today and the next {AHEAD_DAYS} days")


def default_partitions(patient: Patient) -> Finding:
    """Did rows fall into a default partition? They are safe there, but are dropped row by row."""
    row = patient.database.execute(_STRAYS)[0]
    filled = [name for name in ("history", "attempt", "log") if row[name]]
    if not filled:
        return Finding("default partitions", True, "empty")
    return Finding("default partitions", False, f"rows in that of {', '.join(filled)}", "halfstep prune, every day")


def _heard(wait: Callable[..., Sequence[str]]) -> bool:
    """One notification, waited for; nobody stops us early."""
    never, writer = os.pipe()
    try:
        return bool(wait(NOTIFY_SECONDS, stop_fd=never))
    finally:
        os.close(never)
        os.close(writer)


_DURABILITY = """
SELECT current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes
"""
_UNSAFE = {
    "synchronous_commit": "halfstep's own commits are kept anyway, but what your transactions enqueue may be lost in a crash",
    "full_page_writes": "only right where the file system never writes half a page, as ZFS",
}
_RIGHTS = """
SELECT current_user AS role,
       (SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname IN (session_user, current_user)) AS superuser,
       (SELECT pg_has_role(current_user, nspowner, 'member') FROM pg_namespace WHERE nspname = 'halfstep') AS owns,
       (SELECT bool_or(has_function_privilege(current_user, p.oid, 'execute')) FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'halfstep' WHERE p.proname = 'enqueue_many') AS enqueues
"""
_STRAYS = """
SELECT EXISTS (SELECT FROM halfstep.history_default) AS history, EXISTS (SELECT FROM halfstep.attempt_default) AS attempt,
       EXISTS (SELECT FROM halfstep.log_default) AS log
"""
