"""`halfstep up`: workers come for a task and go after it, and nothing is left when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from embedded.observation import postmaster
from end_to_end.conftest import Up, command, descendants, environment, is_alive, run_halfstep
from halfstep.database import Database
from halfstep.migrate import NEWEST, check_schema
from halfstep.producer import enqueue
from halfstep.reports import Reports
from waiting import PATIENCE, wait_until


def enqueue_bash(up: Up, command: str) -> int:
    database = Database(up.url)
    try:
        return enqueue(database, "bash", {"command": command})
    finally:
        database.close()


def state_of(up: Up, task: int) -> str:
    database = Database(up.url)
    try:
        return Reports(database).states([task])[task]
    finally:
        database.close()


def test_a_worker_comes_for_a_task_and_leaves_when_nothing_is_left(start_up: Callable[..., Up]) -> None:
    up = start_up()
    assert (up.folder / "url").stat().st_mode & 0o777 == 0o600
    up.await_status(lambda status: status["workers"] == 0, "no worker")
    task = enqueue_bash(up, "echo hello")
    up.await_status(lambda status: status["workers"] == 1, "a worker")
    wait_until(lambda: state_of(up, task) == "succeeded", what="the task's end")
    up.await_status(lambda status: status["workers"] + status["draining"] == 0, "no worker again")
    up.signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE) == 0
    assert not (up.folder / "url").exists()


def test_whoever_reads_the_url_as_soon_as_it_is_there_finds_a_schema(data_folder: Path) -> None:
    with subprocess.Popen(
        command("up", "--data", str(data_folder), "--json"), env=environment(), stdout=subprocess.DEVNULL
    ) as up:
        wait_until(lambda: (data_folder / "url").exists() or up.poll() is not None, seconds=PATIENCE, what="the URL")
        with closing(Database((data_folder / "url").read_text().strip())) as database:
            assert check_schema(database).version == NEWEST
        up.terminate()
        assert up.wait(timeout=PATIENCE) == 0


def test_it_ends_by_itself_when_idle_if_told_so(data_folder: Path) -> None:
    done = run_halfstep("up", "--data", str(data_folder), "--exit-when-idle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("no workers\nStopped.\n")


def test_a_signal_lets_the_body_stop_and_leaves_nothing_running(start_up: Callable[..., Up]) -> None:
    up = start_up("--workers", "1")
    enqueue_bash(up, "sleep 86")
    up.await_status(lambda status: status["running"] == 1, "the body to run")
    ours = descendants(up.process.pid)
    assert len(ours) >= 3
    up.signal(signal.SIGTERM)
    wait_until(lambda: up.events[-1]["event"] == "leaving", what="the drain")
    up.signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE) == 0
    assert [pid for pid in ours if is_alive(pid)] == []


def test_workers_and_server_end_when_up_is_killed(start_up: Callable[..., Up]) -> None:
    up = start_up("--min", "1", "--workers", "1")
    up.await_status(lambda status: status["workers"] == 1, "a worker")
    task = enqueue_bash(up, "true")
    wait_until(lambda: state_of(up, task) == "succeeded", what="the task's end")
    ours = descendants(up.process.pid)
    up.process.kill()
    up.process.wait(timeout=PATIENCE)
    wait_until(lambda: not any(map(is_alive, ours)), what="the end of all that it had started")


def test_a_server_that_died_is_started_again_and_tasks_go_on(start_up: Callable[..., Up]) -> None:
    up = start_up("--min", "1", "--workers", "1")
    before = up.url
    up.await_status(lambda status: status["workers"] == 1, "a worker")
    first = enqueue_bash(up, "true")
    wait_until(lambda: state_of(up, first) == "succeeded", what="the task's end")
    os.kill(postmaster(up.folder), signal.SIGKILL)
    wait_until(lambda: "database_restarted" in {event["event"] for event in up.events}, what="the server's return")
    assert up.url == before
    second = enqueue_bash(up, "true")
    wait_until(lambda: state_of(up, second) == "succeeded", what="the end of a task after the server's return")
    assert state_of(up, first) == "succeeded"


def test_workers_that_never_come_up_end_it_with_their_own_words(data_folder: Path) -> None:
    done = run_halfstep("up", "--data", str(data_folder), "--min", "2", "--workers", "2", "--import", "no_such_module")
    assert done.returncode != 0
    assert "No module named 'no_such_module'" in done.stderr
    assert "Traceback" not in done.stderr


def test_bounds_that_cannot_be_are_refused(data_folder: Path) -> None:
    done = run_halfstep("up", "--data", str(data_folder), "--min", "3", "--workers", "2")
    assert done.returncode == 2
    assert "--workers must be at least 1 and --min between 0 and that" in done.stderr
    assert not data_folder.exists()


def test_an_enqueue_on_this_machine_knows_what_the_workers_know(start_up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shop.py").write_text("from halfstep import task\n@task\ndef total(): return 4\n")
    up = start_up("--source", str(tmp_path / "code"))
    up.await_status(lambda status: status["workers"] == 0, "no worker")
    home = {"XDG_DATA_HOME": str(tmp_path)}
    (tmp_path / "halfstep").symlink_to(up.folder)
    refused = run_halfstep("enqueue", "python", '{"function": "shop:totl"}', **home)
    assert refused.returncode == 2
    assert refused.stderr.startswith("halfstep: Function 'shop:totl' is not registered with @task")
    assert run_halfstep("enqueue", "python", '{"function": "shop:total"}', "--wait", **home).returncode == 0
    up.signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE) == 0
    assert not (up.folder / "code.json").exists()
