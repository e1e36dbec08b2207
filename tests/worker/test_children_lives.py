"""Zygotes and children come and go; what they may see of the worker is nothing."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from halfstep.outcomes import Lost, Succeeded
from halfstep_worker.children import LoadFailed, Unstarted, allowed_environment, processes
from waiting import wait_until
from worker.children_support import at_work, is_alive  # noqa: TID251

WORKER = """
import json, os, sys
from worker.children_support import at_work
from halfstep.shield import shield
shield()
with at_work() as work:
    for operator, args in json.loads(sys.argv[1].replace("WORKER", str(os.getpid()))):
        print(json.dumps(str(work.run(operator, **args))), flush=True)
"""
SECRET = "postgresql://me:hunter2@here/db"


def start_worker(*tasks: tuple[str, dict[str, object]], **environment: str) -> subprocess.Popen[str]:
    """A worker process of its own that runs these tasks and prints a line for each."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, json.dumps(tasks)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def zygote_of(work) -> int:
    """The pid of the zygote that forked the first child."""
    return processes.snapshot()[work.pool.children[0].pid].parent


def test_the_environment_keeps_what_is_the_users_and_no_secret():
    given = {"PATH": "/bin", "HALFSTEP_DATABASE_URL": "x", "HALFSTEP_CONNECTION_A": "y", "PGPASSWORD": "z", "PGHOST": "h"}
    assert allowed_environment(given) == {"PATH": "/bin", "PGHOST": "h"}
    with at_work(environment=given | allowed_environment(given)) as work:
        assert set(json.loads(work.run("environment").result)) >= {"PATH", "PGHOST"}


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "fd/0"])
def test_a_child_can_not_read_the_worker_neither_as_its_user_nor_as_another(file):
    users = {os.getuid(), 65534 if os.getuid() == 0 else os.getuid()}
    tasks = [("read_as", {"path": f"/proc/WORKER/{file}", "user": user}) for user in users]
    with start_worker(*tasks, HALFSTEP_DATABASE_URL=SECRET) as worker:
        seen = [worker.stdout.readline() for _ in users]
        worker.kill()
    assert all("PermissionError" in text for text in seen), seen


def test_children_inherit_no_secret_of_the_worker():
    with start_worker(("environment", {}), ("read_file", {"path": "/proc/self/environ"}), HALFSTEP_DATABASE_URL=SECRET) as worker:
        text = worker.stdout.readline() + worker.stdout.readline()
        worker.kill()
    assert "PATH" in text
    assert "hunter2" not in text


def test_everything_dies_with_a_killed_worker(tmp_path):
    ready = tmp_path / "ready"
    with start_worker(("stubborn", {"ready": str(ready)})) as worker:
        pids = wait_until(lambda: ready.exists() and len(ready.read_text().split()) == 3 and ready.read_text().split(), what="it")
        zygote = processes.snapshot()[int(pids[0])].parent
        worker.kill()
    wait_until(lambda: not any(is_alive(int(pid)) for pid in [*pids, zygote]), what="the end of all")


def test_a_child_has_its_own_descriptors_and_none_of_the_workers():
    with at_work() as work:
        kinds = json.loads(work.run("descriptors").result)
    assert [kind for kind in kinds if not kind.startswith("/proc/")] == [*["/dev/null"] * 2, "/memfd", *["pipe"] * 5, "socket"]
    assert {kind.rpartition("/")[2] for kind in kinds if kind.startswith("/proc/")} == {
        "children",
        "oom_score_adj",
        "statm",
        "timers",
        "status",
    }


def test_two_hundred_children_leave_no_descriptor_and_no_process_behind():
    with at_work(recycle_after=1, slots=2) as work:
        zygote = zygote_of(work)

        def settled() -> tuple[int, int]:
            work.until(lambda: len(work.pool.children) == 2 and all(child.pid and child.open for child in work.pool.children))
            if os.getuid() == 0:  # to others of its user they are closed
                wait_until(lambda: len(os.listdir(f"/proc/{zygote}/fd")) == 7, what="the zygote's own seven descriptors")
            gc.collect()
            return len(os.listdir("/proc/self/fd")), len(processes.descendants(zygote, processes.snapshot()))

        descriptors, descendants = settled()
        for _ in range(200):
            assert work.run("echo") == Succeeded("{}")
        # What earlier tests left to the collector may go meanwhile, and who was replaced last is reaped a moment later.
        wait_until(lambda: settled()[0] <= descriptors and settled()[1] == descendants, what="the end of all that was replaced")


def test_a_child_is_replaced_after_its_share_of_tasks():
    with at_work(recycle_after=3) as work:
        pids = [work.run("pid").result for _ in range(7)]
    assert len(set(pids)) == 3
    assert len(set(pids[:3])) == 1


def test_a_fat_idle_child_is_replaced():
    with at_work(idle_bytes=1, sample_seconds=0.05) as work:
        first = work.pool.children[0]
        work.until(lambda: work.pool.children and work.pool.children[0] is not first)
        assert work.run("echo").result == "{}"


def test_reload_brings_new_code_while_an_old_body_finishes(tmp_path):
    os.mkfifo(tmp_path / "go")
    code = tmp_path / "reloaded.py"
    code.write_text("VERSION = 'old'")
    with at_work(slots=2, loader_settings={"path": str(tmp_path)}) as work:
        work.send("long", "wait_for_file", path=str(tmp_path / "go"))
        work.until(lambda: work.pool.children[0].current)
        old = zygote_of(work)
        work.send("queued", "version")
        code.write_text("VERSION = 'newer'")
        work.pool.reload()
        assert isinstance(work.ends("queued")[0], Unstarted)
        work.until(lambda: len([child for child in work.pool.children if child.open]) == 1)
        assert work.run("version") == Succeeded('"newer"')
        assert len(work.pool.children) == 2
        (tmp_path / "go").write_text("done")
        assert work.ends("long") == [Succeeded('"done"')]
        work.until(lambda: not is_alive(old))
        work.until(lambda: all(child.open and child.pid for child in work.pool.children) and len(work.pool.children) == 2)
        assert work.run("version") == Succeeded('"newer"')


def test_a_reload_that_fails_is_told_and_the_old_code_goes_on(tmp_path):
    code = tmp_path / "reloaded.py"
    code.write_text("VERSION = 'good'")
    with at_work(loader_settings={"path": str(tmp_path)}) as work:
        code.write_text("VERSION = broken!")
        work.pool.reload()
        work.until(lambda: any(isinstance(event, LoadFailed) and "SyntaxError" in event.error for event in work.events))
        assert work.run("version") == Succeeded('"good"')


def test_a_killed_zygote_is_replaced_and_its_running_bodies_are_lost_through_no_fault_of_theirs():
    with at_work() as work:
        work.send("running", "wait")
        work.send("queued", "echo")
        work.until(lambda: work.pool.children[0].current)
        pid, zygote = work.pool.children[0].pid, zygote_of(work)
        os.kill(zygote, signal.SIGKILL)
        running, queued = work.ends("running", "queued")
        assert running == Lost("zygote", "The process that the bodies' processes come from was killed, and the body with it.")
        assert queued == Unstarted("queued")
        assert not is_alive(pid)
        work.until(lambda: work.pool.children)
        assert work.run("echo") == Succeeded("{}")


def test_a_stuck_import_does_not_hold_up_the_stop(tmp_path):
    (tmp_path / "reloaded.py").write_text("VERSION = 'good'")
    with at_work(loader_settings={"path": str(tmp_path)}) as work:
        (tmp_path / "reloaded.py").write_text("import signal\nwhile True: signal.pause()")
        work.pool.reload()
        assert work.run("version") == Succeeded('"good"')


def test_core_files_are_off_and_the_kernel_would_take_a_body_first():
    with at_work() as work:
        assert "Max core file size        0" in work.run("read_file", path="/proc/self/limits").result
        scores = work.run("read_file", path="/proc/self/oom_score_adj").result
    assert int(json.loads(scores)) > int(Path("/proc/self/oom_score_adj").read_text())


def test_the_thread_that_started_the_pool_may_end():
    with ThreadPoolExecutor(1) as threads:
        working = at_work()
        work = threads.submit(working.__enter__).result()
    zygote = zygote_of(work)
    assert work.run("echo") == Succeeded("{}")
    assert is_alive(zygote)
    working.__exit__(None, None, None)
    assert not is_alive(zygote)
