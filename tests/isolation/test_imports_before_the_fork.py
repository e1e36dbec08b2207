"""What modules under `imports` leave: no child inherits what no fork survives, and everything else is imported once for all."""

from __future__ import annotations

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from halfstep.outcomes import Failed, Succeeded
from halfstep_worker.children import Unstarted, processes
from isolation.importing import LEAVE, NUMBERS, SHARED, Case
from worker.children_support import Work, at_work, is_alive  # noqa: TID251

LOADER = "halfstep_worker.operators:load"


class Lines(socketserver.StreamRequestHandler):
    """Gives back each line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class Numbers(BaseHTTPRequestHandler):
    """Answers with the number in the path, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path) - 1))
        self.end_headers()
        self.wfile.write(self.path[1:].encode())

    def log_message(self, *_: object) -> None: ...


class Echo(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """Ports of servers of this process."""
    with ExitStack() as stack:
        ports = {}
        for name, kind, handler in (("lines", socketserver.ThreadingTCPServer, Lines), ("http", ThreadingHTTPServer, Numbers)):
            server = stack.enter_context(kind(("127.0.0.1", 0), handler))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports[name] = str(server.server_address[1])
        calls = grpc.server(ThreadPoolExecutor(4), handlers=[Echo()])
        ports["grpc"] = str(calls.add_insecure_port("127.0.0.1:0"))
        calls.start()
        stack.callback(calls.stop, 0)
        yield ports


@dataclass
class Bay:
    """A source folder, and pools of two children that run its modules with the real operators."""

    source: Path

    def write(self, name: str, text: str) -> None:
        (self.source / f"{name}.py").write_text(text)

    @contextmanager
    def at_work(self, *imports: str, slots: int = 2) -> Iterator[Work]:
        settings = {"source": str(self.source), "imports": list(imports)}
        with at_work(loader=LOADER, loader_settings=settings, slots=slots) as work:
            yield work


@pytest.fixture
def bay(tmp_path) -> Bay:
    (tmp_path / "source").mkdir()
    return Bay(tmp_path / "source")


def run(work: Work, function: str, *args: object) -> list[object]:
    """What two children return who call it at once, each several times."""
    calls = [(child, args or (n,)) for n in NUMBERS for child in (0, 1)] if not args else [(0, args)]
    return _again(work, function, calls)


def _again(work: Work, function: str, calls: list[tuple[int, tuple[object, ...]]]) -> list[object]:
    """As a worker does with what comes back: a body that leaves a thread or a process gets its child replaced."""
    keys = [(function, len(work.events), n) for n in range(len(calls))]
    for key, (child, given) in zip(keys, calls, strict=True):
        work.until(lambda child=child: len(work.pool.children) > child and work.pool.children[child].open, seconds=60)
        work.send(key, "python", to=child, function=function, args=list(given), timeout=60)
    work.until(lambda: set(keys) <= work.outcomes.keys(), seconds=60)
    found = [work.outcomes[key] for key in keys]
    back = [n for n, outcome in enumerate(found) if isinstance(outcome, Unstarted)]
    for n, outcome in zip(back, _again(work, function, [calls[n] for n in back]) if back else [], strict=True):
        found[n] = outcome
    return found


def where(work: Work, module: str) -> list[list[int]]:
    """For each child: in which process it was imported, and which the child is."""
    return [json.loads(outcome.result) for outcome in _again(work, f"{module}:where", [(0, ()), (1, ())])]


def text_of(case: Case, servers: dict[str, str], request: pytest.FixtureRequest, place: Path) -> dict[str, str]:
    used = "{database}" in case.text or "{engine}" in case.text
    database = request.getfixturevalue("database_url") if used else ""
    engine = database.replace("postgresql:", "postgresql+psycopg2:")
    return servers | {"database": database, "engine": engine, "place": str(place)}


EXPECTED = [Succeeded(str(n)) for n in NUMBERS for _ in (0, 1)]


@pytest.mark.parametrize("name", LEAVE)
def test_a_module_that_leaves_what_no_fork_survives_is_imported_in_each_child(name, bay, servers, request, tmp_path, capfd):
    case = LEAVE[name]
    names = text_of(case, servers, request, tmp_path)
    bay.write("leaves", case.module(**names))
    bay.write("shared", SHARED["nothing at all"].module())
    with bay.at_work("shared", "leaves") as work:
        assert run(work, "leaves:use") == EXPECTED
        assert all(imported == child for imported, child in where(work, "leaves"))
        (first, one), (second, other) = where(work, "shared")
        assert first == second not in (one, other)
    said = capfd.readouterr().err
    assert said.count("is imported in each child instead of once for all") == 1
    assert "Module 'leaves' is imported in each child instead of once for all: 'leaves' leaves what no fork survives: " in said
    left = case.left
    for key, value in names.items():
        left = left.replace("{" + key + "}", value)
    assert re.search(left, said), said
    assert "make that in a function, when it is first needed" in said


@pytest.mark.parametrize("name", SHARED)
def test_an_innocent_module_is_imported_once_before_the_fork(name, bay, servers, request, tmp_path, capfd):
    case = SHARED[name]
    bay.write("innocent", case.module(**text_of(case, servers, request, tmp_path)))
    with bay.at_work("innocent") as work:
        assert run(work, "innocent:use") == EXPECTED
        (first, one), (second, other) = where(work, "innocent")
        assert first == second not in (one, other)
    assert "is imported in each child" not in capfd.readouterr().err


def test_the_module_that_is_at_fault_is_named_and_what_it_imports_is_shared(bay, capfd):
    (bay.source / "shop").mkdir()
    bay.write("shop/__init__", "")
    bay.write("shop/jobs", "import calendar\nfrom shop import tools, db\n" + SHARED["nothing at all"].module())
    bay.write("shop/tools", "import os\nIMPORTED_IN = os.getpid()\n")
    bay.write("shop/db", "import shop.tools, socket\nclass Engine: end = socket.create_server(('127.0.0.1', 0))\n")
    with bay.at_work("shop.tools", "shop.jobs") as work:
        assert run(work, "shop.jobs:use") == EXPECTED
        assert all(imported == child for imported, child in where(work, "shop.jobs"))
    assert "Module 'shop.jobs' is imported in each child instead of once for all: 'shop.db' leaves " in capfd.readouterr().err


def test_several_modules_are_each_named(bay, servers, tmp_path, capfd):
    for name, kind in (("one", "a daemon thread"), ("two", "nothing at all"), ("three", "a socket that listens")):
        bay.write(name, (LEAVE | SHARED)[kind].module())
    with bay.at_work("one", "two", "three") as work:
        for name in ("one", "two", "three"):
            assert run(work, f"{name}:use") == EXPECTED
        assert len({imported for imported, _ in where(work, "two")}) == 1
    assert re.findall(r"Module '(\w+)' is imported in each child", capfd.readouterr().err) == ["one", "three"]


INSTALLED = """
import os, queue, threading
IMPORTED_IN = os.getpid()
wishes = queue.Queue()

class Cook:
    name = "cook"
    def __init__(self):
        self.made_in = os.getpid()
        threading.Thread(target=self.serve, daemon=True).start()
    def serve(self):
        while True:
            n, answer = wishes.get()
            answer.put(n)
    def check(self, args): ...
    def run(self, args):
        answer = queue.Queue()
        wishes.put((args["n"], answer))
        return [answer.get(timeout=10), self.made_in == os.getpid()]
"""


def test_an_installed_operator_that_starts_a_thread_is_made_in_each_child(bay, tmp_path, monkeypatch, capfd):
    site = tmp_path / "site"
    (site / "kitchen-1.0.dist-info").mkdir(parents=True)
    (site / "kitchen-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: kitchen\nVersion: 1.0\n")
    (site / "kitchen-1.0.dist-info" / "entry_points.txt").write_text("[halfstep.operators]\ncook = kitchen_late:Cook\n")
    (site / "kitchen_late.py").write_text(INSTALLED)
    monkeypatch.syspath_prepend(site)
    with bay.at_work() as work:
        for n in NUMBERS:
            for child in (0, 1):
                work.send((n, child), "cook", to=child, n=n)
        work.until(lambda: len(work.outcomes) == 2 * len(NUMBERS), seconds=60)
        assert {json.loads(outcome.result)[1] for outcome in work.outcomes.values()} == {True}
        assert [json.loads(work.outcomes[n, child].result)[0] for n in NUMBERS for child in (0, 1)] == [
            n for n in NUMBERS for _ in (0, 1)
        ]
    assert "Operator 'cook' is imported in each child instead of once for all: it leaves" in capfd.readouterr().err


POLLUTES = """
import os, signal, subprocess, threading
os.environ["LEFT"] = "1"
os.environ.pop("PATH")
os.chdir("/")
os.umask(0o077)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
signal.setitimer(signal.ITIMER_REAL, 1000)
os.dup2(os.open("/dev/null", os.O_RDWR), 200, inheritable=True)
program = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
open({path!r}, "a").write(f"{{program.pid}}\\n")
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
FIRST = """
import os, signal
from halfstep.registry import task
FOUND = [os.environ.get("LEFT"), "PATH" in os.environ, os.getcwd() == "/", os.umask(0o22), int(signal.getsignal(signal.SIGCHLD)),
    sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))), signal.getitimer(signal.ITIMER_REAL)[0],
    os.path.exists("/proc/self/fd/200"), [name for name in os.environ if name.startswith("HALFSTEP")]]
@task
def found(): return FOUND
"""


def test_nothing_of_an_import_that_was_undone_is_left_in_the_zygote(bay, tmp_path):
    bay.write("first", FIRST)
    bay.write("pollutes", POLLUTES.format(path=str(tmp_path / "pids")))
    before = [None, True, os.getcwd() == "/", 0o22, 0, [], 0.0, False, []]
    with bay.at_work("first", "pollutes") as work:
        found = work.run("python", function="first:found")
        assert json.loads(found.result) == before, found
        work.until(lambda: (tmp_path / "pids").read_text().count("\n") == 4)  # twice in the zygote, and once in each child
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
        assert [is_alive(pid) for pid in pids] == [False, False, True, True]


def test_a_module_that_fails_in_the_child_fails_its_own_functions_until_it_can_be_imported(bay, tmp_path):
    (tmp_path / "up").touch()
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    bay.write("needs", f"{text}open({str(tmp_path / 'up')!r})\n" + SHARED["nothing at all"].module())
    bay.write("other", SHARED["nothing at all"].module())
    with bay.at_work("needs", "other", slots=1) as work:
        assert run(work, "needs:use", 1) == [Succeeded("1")]
        (tmp_path / "up").unlink()
        work.pool.children[0].kill()
        work.until(lambda: work.pool.started == 2 and work.pool.children[0].pid)
        assert run(work, "other:use", 2) == [Succeeded("2")]
        (failed,) = run(work, "needs:use", 3)
        assert failed.error.startswith("Module 'needs' could not be imported: FileNotFoundError: ")
        assert (failed.reason, failed.final) == ("exception", False)
        (tmp_path / "up").touch()
        assert run(work, "needs:use", 4) == [Succeeded("4")]


def test_a_reload_looks_anew_at_what_imports_leave(bay, capfd):
    bay.write("shared", SHARED["nothing at all"].module())
    with bay.at_work("shared") as work:
        for kind, said in (("a daemon thread", True), ("nothing at all", False), ("an eventfd", True)):
            old = {child.pid for child in work.pool.children}
            bay.write("shared", (LEAVE | SHARED)[kind].module() + f"\nKIND = {kind!r}\n@task\ndef kind(): return KIND\n")
            work.pool.reload()
            work.until(lambda old=old: not old & {child.pid for child in work.pool.children}, seconds=30)
            work.until(lambda: len(work.pool.children) == 2 and all(child.pid for child in work.pool.children), seconds=30)
            assert work.run("python", function="shared:kind") == Succeeded(json.dumps(kind))
            assert all((imported == child) == said for imported, child in where(work, "shared"))
            assert ("is imported in each child" in capfd.readouterr().err) == said


@pytest.mark.parametrize("starts", [1, 2])
def test_a_pool_that_stops_while_its_zygote_starts_over_leaves_nothing(bay, tmp_path, starts):
    def children() -> set[int]:
        return {one.pid for one in processes.snapshot().values() if one.parent == os.getpid() and not one.ended}

    before, pids = children(), tmp_path / "pids"
    bay.write("shared", SHARED["nothing at all"].module())
    with bay.at_work("shared") as work:
        bay.write("shared", POLLUTES.format(path=str(pids)))
        work.pool.reload()
        work.until(lambda: pids.exists() and pids.read_text().count("\n") == starts, seconds=30)
    assert not [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)]
    assert children() <= before


def test_a_child_whose_imports_hang_is_ended():
    code = """
import signal
from halfstep_worker.children import imports
class Hangs:
    def arrive(self):
        while True: signal.pause()
imports.ARRIVE_SECONDS = 1
imports.arrive(Hangs())
"""
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60)
    assert ran.returncode == -signal.SIGALRM


def test_a_look_at_what_an_import_left_takes_no_more_than_some_milliseconds():
    code = """
import time
import halfstep_worker.operators
from halfstep_worker.children.leftovers import Watch
def look():
    began = time.process_time()
    assert Watch().left() == ""
    return time.process_time() - began
print(min(look() for _ in range(20)))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert float(ran.stdout) < 0.005


MISSING = [
    ("python", {"function": "none_yet:use"}, "Function 'none_yet:use' is not registered"),
    ("python", {"function": "innocent:none_yet"}, "Function 'innocent:none_yet' is not registered"),
    ("script", {"path": "none_yet.py"}, "There is no file 'none_yet.py' in the source folder."),
    ("bash", {"command": "true", "cwd": "none_yet"}, "There is no folder 'none_yet' in the source folder."),
]


@pytest.mark.parametrize(("operator", "args", "sentence"), MISSING)
def test_what_is_missing_after_a_deploy_is_no_final_failure_and_says_so(bay, operator, args, sentence):
    bay.write("innocent", SHARED["nothing at all"].module())
    with bay.at_work("innocent") as work:
        outcome = work.run(operator, **args)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.final) == ("invalid", False)
    assert outcome.error.startswith(sentence)
    assert outcome.error.endswith("A deploy may bring it, so it is tried again while attempts are left.")
