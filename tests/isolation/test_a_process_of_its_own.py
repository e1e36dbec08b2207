"""Bodies that get a new process, bodies of another user, and bodies that kill what they come from. Real workers."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.errors import InvalidSettings
from halfstep.producer import enqueue
from halfstep_worker.accounts import account_of
from worker_fixtures import TASKS

JOBS = """
import os, signal, threading
from pathlib import Path
from halfstep import current, task

ran = []

def note():
    ran.append(current().task_id)
    return [os.getpid(), len(ran)]

@task
def shared():
    return note()

@task(isolation="fresh")
def alone():
    return note()

@task(isolation="stale")
def wrong():
    return note()

@task
def kills_the_zygote():
    os.kill(os.getppid(), signal.SIGKILL)
    threading.Event().wait()

@task
def kills_the_zygote_after_a_while():
    threading.Event().wait(0.5)
    os.kill(os.getppid(), signal.SIGKILL)
    threading.Event().wait()

@task
def who():
    return [os.getuid(), os.getgid(), os.environ["HOME"], os.getgroups()]

@task
def reads(path):
    return Path(path).read_text()

@task
def strikes(pid):
    os.kill(pid, signal.SIGSTOP)

@task
def keeps(again):
    kept = current()
    kept.log("while it runs")
    threading.Thread(target=lambda: (again.append(kept), threading.Event().wait()), daemon=True).start()
"""


@pytest.fixture
def source() -> Iterator[Path]:
    """A folder that everybody can read: what lies above pytest's own is closed to others whenever anybody's run starts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        (folder / "jobs.py").write_text(TASKS)
        yield folder


@pytest.fixture
def jobs(source: Path) -> Path:
    """The source folder, with these functions."""
    (source / "isolated.py").write_text(JOBS)
    return source


@pytest.fixture
def give(database: Database) -> Callable[..., int]:
    """Enqueues a call of one of these functions; the task's id."""

    def enqueue_call(function: str, *args: Any, **options: Any) -> int:
        return enqueue(database, "python", {"function": f"isolated:{function}", "args": list(args)}, **options)

    return enqueue_call


@pytest.fixture
def run(give: Callable[..., int], ended: Callable[[int], Any]) -> Callable[..., Any]:
    """Has a function run; its task when it has ended."""
    return lambda function, *args, **options: ended(give(function, *args, **options))


@pytest.mark.usefixtures("jobs")
def test_a_function_that_wants_a_process_of_its_own_gets_a_new_one_each_time_and_leaves_none_to_others(
    start_worker: Any, give: Any, ended: Any
) -> None:
    start_worker(slots=2)
    ids = [(name, give(name)) for name in ("shared", "alone", "shared", "alone", "alone", "shared") * 2]
    done = [(name, ended(id)) for name, id in ids]
    assert {(task["state"], task["attempt"]) for _, task in done} == {("succeeded", 1)}
    alone = [task["result"] for name, task in done if name == "alone"]
    others = {task["result"][0] for name, task in done if name == "shared"}
    assert [count for _, count in alone] == [1] * 6, "a body ran before it in its process"
    assert len({pid for pid, _ in alone}) == 6
    assert not others & {pid for pid, _ in alone}, "a body ran after it in its process"


@pytest.mark.usefixtures("jobs")
def test_a_worker_can_give_each_body_a_process_of_its_own(start_worker: Any, give: Any, ended: Any) -> None:
    start_worker(slots=2, isolation="fresh")
    done = [ended(id) for id in [give("shared") for _ in range(12)]]
    assert [task["result"][1] for task in done] == [1] * 12
    assert len({task["result"][0] for task in done}) == 12


@pytest.mark.usefixtures("jobs")
def test_a_process_serves_as_many_bodies_as_it_is_told(start_worker: Any, give: Any, ended: Any) -> None:
    start_worker(slots=1, child_tasks=3)
    done = [ended(id) for id in [give("shared") for _ in range(9)]]
    assert sorted(task["result"][1] for task in done) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.usefixtures("jobs")
def test_an_isolation_that_there_is_not_is_told_when_the_function_is_called(start_worker: Any, run: Any) -> None:
    start_worker()
    task = run("wrong")
    assert (task["state"], task["reason"]) == ("failed", "invalid")
    assert "'shared' or 'fresh'" in task["error"]


@pytest.mark.usefixtures("jobs")
def test_a_body_that_keeps_killing_the_process_that_others_come_from_fails_and_a_neighbour_does_not(
    start_worker: Any, call: Any, give: Any, ended: Any, jobs: Path
) -> None:
    start_worker(slots=2)
    neighbour = call("touch_and_wait", str(jobs / "begun"), 1.0)
    task = ended(give("kills_the_zygote", max_attempts=1))
    assert (task["state"], task["reason"]) == ("failed", "crash")
    assert "Each of 3 times" in task["error"]
    assert ended(neighbour)["state"] == "succeeded"


@pytest.mark.usefixtures("jobs")
def test_a_body_that_is_lost_with_the_one_that_kills_is_not_put_beside_it_again(
    start_worker: Any, call: Any, give: Any, ended: Any, jobs: Path
) -> None:
    killers = [give("kills_the_zygote_after_a_while", max_attempts=1) for _ in range(2)]
    neighbours = [call("touch_and_wait", str(jobs / "begun"), 1.0, max_attempts=1) for _ in range(2)]
    start_worker(slots=4)
    assert {ended(task)["state"] for task in neighbours} == {"succeeded"}
    assert {(ended(task)["state"], ended(task)["reason"]) for task in killers} == {("failed", "crash")}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
class TestAnotherUser:
    """Bodies run as nobody, the worker as root."""

    @pytest.fixture
    def nobody(self, start_worker: Any, jobs: Path) -> Any:
        return start_worker(run_as="nobody")

    def test_bodies_and_programs_are_that_user_with_its_home_and_groups(
        self, nobody: Any, run: Any, database: Database, ended: Any
    ) -> None:
        account = pwd.getpwnam("nobody")
        told = run("who")
        assert told["error"] is None
        uid, gid, home, groups = told["result"]
        assert (uid, gid, home) == (account.pw_uid, account.pw_gid, account.pw_dir)
        assert groups == [account.pw_gid]
        assert ended(enqueue(database, "bash", {"command": "id -u"}))["result"]["last_line"] == str(account.pw_uid)

    def test_they_can_neither_read_nor_stop_the_worker_and_the_process_that_they_come_from(self, nobody: Any, run: Any) -> None:
        for file in ("environ", "mem", "maps"):
            assert "Permission" in run("reads", f"/proc/{nobody.process.pid}/{file}", max_attempts=1)["error"]
        assert "PermissionError" in run("strikes", nobody.process.pid, max_attempts=1)["error"]


def test_who_bodies_run_as_is_refused_where_it_can_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(InvalidSettings, match="no user 'nosuchuser'"):
        account_of("nosuchuser")
    with pytest.raises(InvalidSettings, match="root can reach all"):
        account_of("0")
    assert (account_of("54321").user, account_of("54321").group) == (54321, 54321)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InvalidSettings, match="Only root"):
        account_of("nobody")
