"""`halfstep worker`: its settings, and its signals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from halfstep_cli.commands.worker import Code, Served, _settings, words
from halfstep_cli.session import Session
from waiting import NEVER, PATIENCE, wait_until

URL = "postgresql://me:secret@127.0.0.1:1/x"


def test_without_flags_the_defaults_of_the_worker_count():
    settings = _settings(Session(environment={"HALFSTEP_DATABASE_URL": URL}), Served(), Code())
    assert (settings.slots, settings.queues, settings.source, settings.memory_bytes) == (2, None, None, None)
    assert settings.listen_url == URL
    assert settings.name
    assert "secret" not in repr(settings)


def test_a_star_is_all_queues_as_the_scaler_writes_it():
    settings = _settings(Session(environment={"HALFSTEP_DATABASE_URL": URL}), Served(queues="*"), Code())
    assert settings.queues is None


def test_flags_become_settings(tmp_path: Path):
    file = tmp_path / "connections.yaml"
    file.write_text("shop: postgresql://shop@localhost/shop\n")
    environment = {
        "HALFSTEP_DATABASE_URL": URL,
        "HALFSTEP_DIRECT_DATABASE_URL": URL + "y",
        "HALFSTEP_CONNECTION_API": "https://api",
    }
    served = Served(queues="etl, mail", slots=4, grace=7.5, memory_per_slot=256, name="amy")
    code = Code(source=tmp_path, imports=["a", "b,c"], allow=["d e"], connections=file, http_allow=["10.0.0.0/8"])
    settings = _settings(Session(environment=environment), served, code)
    assert (settings.queues, settings.slots, settings.grace, settings.name) == (["etl", "mail"], 4, 7.5, "amy")
    assert settings.memory_bytes == 256 * 1024 * 1024
    assert (settings.source, settings.imports, settings.allow, settings.http_allow) == (
        tmp_path,
        ["a", "b", "c"],
        ["d", "e"],
        ["10.0.0.0/8"],
    )
    assert settings.connections == {"shop": "postgresql://shop@localhost/shop", "api": "https://api"}
    assert settings.listen_url == URL + "y"


@pytest.mark.parametrize(("given", "found"), [(None, []), ([], []), (["a"], ["a"]), (["a,b", " c  d,"], ["a", "b", "c", "d"])])
def test_names_are_separated_by_commas_or_spaces(given, found):
    assert words(given) == found


def test_the_environment_counts_where_no_flag_is_given(halfstep, start_worker):
    start_worker("--slots", "3", HALFSTEP_SLOTS="5", HALFSTEP_QUEUES="etl,mail", HALFSTEP_NAME="amy")
    (amy,) = halfstep("workers", "--json").json
    assert (amy["name"], amy["slots"], sorted(amy["queues"])) == ("amy", 3, ["etl", "mail"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(number, halfstep, start_worker, reports, tmp_path):
    os.mkfifo(tmp_path / "gate")
    worker = start_worker("--grace", f"{NEVER}")
    halfstep("enqueue", "bash", json.dumps({"command": f"echo begun; read -r word < {tmp_path / 'gate'}"}))
    wait_until(lambda: halfstep("logs", "1").out == "begun\n", what="the body's first line")
    worker.send_signal(number)
    wait_until(lambda: reports.workers()[0]["state"] == "draining" or "Draining" in (tmp_path / "worker.log").read_text())
    halfstep("enqueue", "bash", '{"command": "true"}')
    (tmp_path / "gate").write_text("go on\n")
    assert worker.wait(timeout=PATIENCE) == 0
    assert [task["state"] for task in halfstep("tasks", "--json").json] == ["ready", "succeeded"]


def test_the_second_signal_stops_what_runs_and_hands_it_back(halfstep, start_worker, tmp_path):
    worker = start_worker("--grace", f"{NEVER}")
    halfstep("enqueue", "bash", json.dumps({"command": "echo begun; exec cat /dev/zero > /dev/null"}))
    wait_until(lambda: halfstep("logs", "1").out == "begun\n", what="the body's first line")
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Draining" in (tmp_path / "worker.log").read_text(), what="the drain")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=PATIENCE) == 0
    task = halfstep("show", "1", "--json").json
    assert (task["state"], task["failures"]) == ("ready", 0)
