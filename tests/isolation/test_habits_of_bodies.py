"""Habits of ordinary and of sloppy bodies: the next is not touched, and an innocent one keeps its process. Real children."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from halfstep.outcomes import Failed, Retry, Succeeded
from halfstep_worker.children import Unstarted, allowed_environment
from waiting import wait_until
from worker.children_support import Work, at_work  # noqa: TID251

MODULE = """
import os
from halfstep import current, task

def execute(code):
    space = {}
    exec(code, space)
    return [os.getpid(), space.get("r")]

@task
def guilty(code): return execute(code)

@task
def innocent(code): return execute(code)

@task
def maybe(code=""):
    if code: exec(code, {})
    return os.getpid()

@task
def says(size):
    current().log("x" * size)
"""


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """One child with the real operators."""
    with _at_work(tmp_path) as work:
        yield work


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Work]:
    """The same, with a limit of 1 GiB for a body, and so of a quarter for what it may leave."""
    with _at_work(tmp_path, memory_bytes=1 << 30) as work:
        yield work


def _at_work(source: Path, **settings: Any) -> AbstractContextManager[Work]:
    (source / "habits.py").write_text(MODULE)
    return at_work(
        loader="halfstep_worker.operators:load",
        loader_settings={"source": str(source)},
        environment=allowed_environment(os.environ),
        **settings,
    )


def returned(work: Work, function: str, *args: Any) -> Any:
    """What the function returns; it must succeed."""
    outcome = work.run("python", function=f"habits:{function}", args=list(args))
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.result)


LEAVES = {
    "a folder for temporary files": (
        "import os, shutil, tempfile; d = tempfile.mkdtemp(); tempfile.tempdir = d; shutil.rmtree(d)",
        "import tempfile; r = len(tempfile.mkstemp())",
        2,
    ),
    "a limit of csv": ("import csv; csv.field_size_limit(10)", "import csv; r = len(next(csv.reader(['x' * 50]))[0])", 50),
    "a kind of start of multiprocessing": (
        "import multiprocessing as m; m.set_start_method('spawn')",
        "import multiprocessing as m; m.set_start_method('spawn'); r = 1",
        1,
    ),
    "random numbers": ("import random; random.random = lambda: 4", "import random; r = random.random() < 1", True),
    "a function of a module that it was the first to import": (
        "import urllib.request as u; u.urlopen = None",
        "import urllib.request as u; r = callable(u.urlopen)",
        True,
    ),
    "a method of http": (
        "import http.client as h; h.HTTPConnection.putrequest = None",
        "import http.client as h; r = callable(h.HTTPConnection.putrequest)",
        True,
    ),
    "no exit": ("import sys; sys.exit = lambda *a: None", "import sys\ntry: sys.exit(3)\nexcept SystemExit: r = 'left'", "left"),
    "another python": ("import sys; sys.executable = '/bin/false'", "import sys; r = 'python' in sys.executable", True),
    "another pi": ("import math; math.pi = 3", "import math; r = math.pi > 3.1", True),
    "an encoder of json": ("import json; json._default_encoder = None", "import json; r = json.dumps([1])", "[1]"),
    "large stacks": ("import threading; threading.stack_size(1 << 28)", "import threading; r = threading.stack_size()", 0),
    "a rounding": (
        "import ctypes; ctypes.CDLL('libm.so.6').fesetround(0x800)",
        "import ctypes; r = ctypes.CDLL('libm.so.6').fegetround()",
        0,
    ),
    "handlers of a logger that it made": (
        "import logging; logging.getLogger('etl.sub').addHandler(logging.StreamHandler())",
        "import logging; r = len(logging.getLogger('etl.sub').handlers)",
        0,
    ),
    "a precision": ("import decimal; decimal.getcontext().prec = 3", "import decimal; r = decimal.getcontext().prec", 28),
    "a timer of the C library": (
        "import ctypes\nt = ctypes.c_void_p(); c = ctypes.CDLL(None); c.timer_create(0, None, ctypes.byref(t))\n"
        "c.timer_settime(t, 0, (ctypes.c_long * 4)(0, 0, 0, 50_000_000), None)",
        "import select; select.poll().poll(200); r = 1",
        1,
    ),
    "garbage that ends the process": (
        "import os\nclass A:\n    __del__ = lambda s: os._exit(5)\na = A(); a.me = a; del a",
        "import gc; r = gc.collect() >= 0",
        True,
    ),
}


@pytest.mark.parametrize("name", LEAVES)
def test_what_a_body_leaves_in_the_standard_library_does_not_reach_the_next(work: Work, name: str) -> None:
    does, then, expected = LEAVES[name]
    work.run("python", function="habits:guilty", args=[does])
    assert returned(work, "innocent", then)[1] == expected


HABITS = {
    "threads that it joins": (
        "import threading\nts = [threading.Thread(target=abs, args=(1,)) for _ in range(4)]\n"
        "[t.start() for t in ts]\n[t.join() for t in ts]"
    ),
    "a pool of threads": "from concurrent.futures import ThreadPoolExecutor as P\nwith P(8) as p: list(p.map(abs, range(50)))",
    "asyncio": (
        "import asyncio\nasync def f(): await asyncio.gather(*(asyncio.to_thread(abs, 1) for _ in range(5)))\nasyncio.run(f())"
    ),
    "programs": "import subprocess\nsubprocess.run(['sh', '-c', 'echo x | cat'], stdout=subprocess.DEVNULL, check=True)",
    "a pool of processes": "import multiprocessing as m\nwith m.Pool(1) as p: p.map(abs, [1])",
    "shared memory": (
        "from multiprocessing.shared_memory import SharedMemory as S\ns = S(create=True, size=10); s.close(); s.unlink()"
    ),
    "sqlite and files": "import sqlite3\nc = sqlite3.connect(':memory:'); c.execute('select 1')\nopen('/dev/null').read()",
    "logging": "import logging\nlogging.getLogger('app').warning('hello')",
    "a monitor that its library leaves": (
        "import threading\nthreading.Thread(target=threading.Event().wait, name='tqdm_monitor', daemon=True).start()"
    ),
}


@pytest.mark.parametrize("name", HABITS)
def test_ordinary_bodies_keep_their_process(work: Work, name: str) -> None:
    pids = {returned(work, "innocent", HABITS[name])[0] for _ in range(40)}
    assert len(pids) == 1


BRANCHES = {
    "a timer": ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.05)", "import select; select.poll().poll(200); r = 1", 1),
    "a folder": ("import os; os.chdir('/tmp')", "import os; r = os.getcwd() == '/tmp'", False),
    "a mask": ("import os; os.umask(0)", "import os; r = os.umask(0o22)", 0o22),
    "a blocked signal": (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15})",
        "import signal; r = len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))",
        0,
    ),
    "no logging": ("import logging; logging.disable(50)", "import logging; r = logging.getLogger().isEnabledFor(40)", True),
    "another time": ("import time; time.time = lambda: 0", "import time; r = time.time() > 0", True),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_function_that_was_clean_for_long_harms_no_other_by_the_branch_that_it_takes_at_last(work: Work, name: str) -> None:
    does, then, expected = BRANCHES[name]
    if name == "a mask":
        os.umask(0o22)
    for _ in range(40):
        work.run("python", function="habits:maybe")
    work.run("python", function="habits:maybe", args=[does])
    assert returned(work, "innocent", then)[1] == expected


def test_a_function_that_was_clean_for_long_is_looked_at_whole_when_its_bodies_are_twice_as_many(work: Work) -> None:
    os.umask(0o22)
    for n in range(20):
        returned(work, "innocent", "import os; os.umask(0)" if n == 10 else "r = 1")
    assert returned(work, "innocent", "import os; r = os.umask(0o22)")[1] == 0o22


LEAKS = {
    "a thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a process": "import subprocess; subprocess.Popen(['sleep', '60'])",
    "memory": "import habits; habits.kept = bytearray(300 << 20)",
    "descriptors": "import os; [os.dup(0) for _ in range(100)]",
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_function_that_was_clean_for_long_gets_a_new_process_soon_after_it_leaks(bounded: Work, name: str) -> None:
    before = {returned(bounded, "maybe") for _ in range(36)}
    assert len(before) == 1
    returned(bounded, "maybe", LEAKS[name])
    soon = [returned(bounded, "maybe") for _ in range(16 + 1)]
    assert soon[-1] not in before


def test_what_garbage_of_a_body_prints_stands_in_its_own_log(work: Work) -> None:
    code = "class A:\n    __del__ = lambda s: print('mine')\na = A(); a.me = a; del a"
    work.send("guilty", "python", function="habits:guilty", args=[code])
    work.ends("guilty")
    returned(work, "innocent", "import gc; gc.collect()")
    assert work.lines("guilty", "stdout") == ["mine"]


ODD = {
    "the sign of ours": "from halfstep.context import NotAlone; raise NotAlone",
    "a message that can't be shown": "class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E",
    "a name that can't be shown": (
        "class M(type):\n    @property\n    def __name__(cls): raise KeyboardInterrupt\n"
        "class E(Exception, metaclass=M): pass\nraise E"
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_things_that_a_body_raises_are_its_own_failure(work: Work, name: str) -> None:
    outcome = work.run("python", function="habits:guilty", args=[ODD[name]])
    assert isinstance(outcome, Failed)
    assert outcome.reason == "exception"
    assert returned(work, "innocent", "r = 1")[1] == 1


def test_what_a_body_says_of_itself_is_bounded(work: Work) -> None:
    work.send("loud", "python", function="habits:says", args=[40_000_000])
    work.send("next", "python", function="habits:innocent", args=["r = 1"])
    work.ends("loud", "next")
    said = work.lines("loud", "log")
    assert sum(map(len, said)) < 1_100_000
    assert "38951424 characters were left out here" in said[-1]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from halfstep.outcomes import Lost; r = Lost('gone', 'away')", Failed),
        ("from halfstep.outcomes import Retry; r = Retry('again', 0, 'me', False)", Retry),
    ],
)
def test_a_body_can_not_have_itself_run_again_at_once_for_ever(work: Work, tmp_path: Path, code: str, expected: type) -> None:
    (tmp_path / "outcomes.py").write_text(
        f"from halfstep import task\n@task\ndef go():\n    {code.replace('; r =', chr(10) + '    return')}\n"
    )
    outcome = work.run("python", function="outcomes:go")
    assert isinstance(outcome, expected)
    assert not isinstance(outcome, Retry) or outcome.delay >= 1


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000 + "]" * 5000], ids=["digits", "depth"])
def test_args_that_can_not_be_read_are_invalid_for_good(work: Work, value: str) -> None:
    from halfstep_worker.children import TaskMessage

    work.pool.children[0].send(TaskMessage("a", 7, 1, "bash", f'{{"command": {value}}}'))
    (outcome,) = work.ends("a")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.final) == ("invalid", True)


WRITES_ON_SHARED_PAGES = """
import ctypes
for line in open('/proc/self/maps'):
    place, access, *_ = line.split()
    if access.startswith('rw') and access.endswith('s'):
        begin, end = (int(number, 16) for number in place.split('-'))
        ctypes.memset(begin, {value}, end - begin)
"""


@pytest.mark.parametrize("value", [0, 255])
def test_a_child_on_whose_page_a_body_has_written_begins_no_other_however_late_the_worker_looks(
    work: Work, tmp_path: Path, value: int
) -> None:
    """The next start would write over what the worker has to see, and lines would go to the body that is over."""
    work.until(lambda: any(child.open for child in work.pool.children))
    child, began = work.pool.children[0].pid, tmp_path / "began"
    work.send("guilty", "python", function="habits:guilty", args=[WRITES_ON_SHARED_PAGES.format(value=value)])
    work.send("next", "python", function="habits:innocent", args=[f"open({str(began)!r}, 'w').close()"])
    wait_until(lambda: began.exists() or _is_over(child), what="the end of the child, or the start of its next body")
    assert not began.exists()
    work.ends("guilty", "next")
    assert isinstance(work.outcomes["next"], Unstarted)


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
