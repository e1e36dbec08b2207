"""What a module does while it is imported is no body's doing: it holds for its functions each time. Real children."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfstep.outcomes import Succeeded
from halfstep_worker.children import allowed_environment
from worker.children_support import Work, at_work  # noqa: TID251

SET_UP = """
import locale, logging, os, signal, socket, sys, threading, time, warnings
from halfstep import task

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="said: %(message)s", force=True)
warnings.filterwarnings("error", category=DeprecationWarning)
sys.path.append("/of/this/module")
sys.setrecursionlimit(3456)
socket.setdefaulttimeout(12)
os.environ["SET_UP"] = "yes"
os.umask(0o027)
os.chdir("/")
signal.signal(signal.SIGUSR1, lambda *_: None)
kept = [bytearray(1) for _ in range(3)]
beat = threading.Event()
threading.Thread(target=beat.wait, daemon=True, name="of-the-module").start()

@task
def look():
    logging.getLogger("x").info("hello")
    mask = os.umask(0); os.umask(mask)
    return [os.getpid(), "/of/this/module" in sys.path, sys.getrecursionlimit(), socket.getdefaulttimeout(),
            os.environ.get("SET_UP"), mask, os.getcwd(), callable(signal.getsignal(signal.SIGUSR1)), warnings.filters[0][0]]
"""
PLAIN = """
import os, signal
from halfstep import task

@task
def look():
    mask = os.umask(0); os.umask(mask)
    return [os.getpid(), os.environ.get("SET_UP"), mask, os.getcwd() == "/", signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL]

@task
def imports_inside():
    import later
    return [os.getpid(), later.level()]
"""
LATER = """
import warnings
warnings.simplefilter("ignore", FutureWarning)
held = [open("/dev/null") for _ in range(100)]
ballast = bytearray(40 * 2**20)
def level():
    return [f[0] for f in warnings.filters if f[2] is FutureWarning and f[0] == "ignore"][:1]
"""


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """One child over a source folder of these modules."""
    for name, text in (("set_up", SET_UP), ("plain", PLAIN), ("later", LATER)):
        (tmp_path / f"{name}.py").write_text(text)
    settings = {"source": str(tmp_path)}
    with at_work(
        loader="halfstep_worker.operators:load", loader_settings=settings, environment=allowed_environment(os.environ),
        memory_bytes=128 * 2**20,
    ) as work:  # fmt: skip
        yield work


def result(work: Work, function: str) -> Any:
    """What the function returns."""
    outcome = work.run("python", function=function)
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.result)


def test_what_a_module_sets_up_holds_for_each_of_its_bodies_and_costs_no_child(work: Work) -> None:
    first, second, third = (result(work, "set_up:look") for _ in range(3))
    assert first == second == third
    assert first[1:] == [True, 3456, 12, "yes", 0o027, "/", True, "error"]


def test_of_what_a_module_does_to_the_process_bodies_of_another_module_see_nothing(work: Work) -> None:
    before = result(work, "plain:look")
    pid = result(work, "set_up:look")[0]
    assert result(work, "plain:look") == before
    assert before[0] == pid, "it was another process"
    assert result(work, "set_up:look")[4] == "yes"


def test_an_import_inside_a_function_is_set_up_too_with_what_memory_and_files_it_takes(work: Work) -> None:
    first, second = result(work, "plain:imports_inside"), result(work, "plain:imports_inside")
    assert first == second
    assert first[1] == ["ignore"]
