"""Operator `python`: what it may call, and what it refuses."""

from __future__ import annotations

import sys

import pytest

from halfstep import registry
from halfstep.errors import InvalidTask
from halfstep_worker.operators import OperatorFailed, load

JOBS = """
import json, os
from os import getcwd
from halfstep.errors import InvalidTask
from halfstep.registry import task

@task
def double(x, *, times=2):
    return x * times

@task(name="report")
def make_report():
    return "made"

@task
def enqueues_badly():
    raise InvalidTask("The args are no object.")

def unregistered():
    return "no"
"""

LIBRARY = """
import os, functools
from os import getcwd
from subprocess import check_output

class Tools:
    @staticmethod
    def build(x): return ["built", x]
    @staticmethod
    def _hidden(): ...

@functools.lru_cache
def cached(x): return x
def mean(values): return sum(values) / len(values)
def _private(): ...
async def later(): ...
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source folder with a module of tasks, and a library that is installed elsewhere."""
    folder, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    (folder / "etl").mkdir(parents=True)
    (folder / "etl" / "jobs.py").write_text(JOBS)
    (folder / "broken.py").write_text("1 / 0\n")
    (elsewhere / "statlib_x").mkdir(parents=True)
    (elsewhere / "statlib_x" / "__init__.py").write_text("")
    (elsewhere / "statlib_x" / "core.py").write_text(LIBRARY)
    (elsewhere / "statlib_x" / "_inner.py").write_text("def f(): ...\n")
    (elsewhere / "statlib_xy.py").write_text("def f(): ...\n")
    (elsewhere / "outside.py").write_text("print('ran')\nfrom halfstep.registry import task\n@task\ndef f(): ...\n")
    (folder / "linked.py").symlink_to(elsewhere / "outside.py")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, known = set(sys.modules), dict(registry.registered)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]
    registry.registered.clear()
    registry.registered.update(known)


@pytest.fixture
def run(source):
    operators = load({"source": str(source), "allow": ["statlib_x"]})
    return lambda function, *args, **kwargs: operators.run("python", {"function": function, "args": list(args), "kwargs": kwargs})


def test_a_registered_function_is_found_in_the_source_folder(run):
    assert run("etl.jobs:double", 4) == 8
    assert run("etl.jobs:double", "ab", times=3) == "ababab"


def test_a_dotted_name_is_the_same_function(run):
    assert run("etl.jobs.double", 4) == 8


def test_a_task_under_another_name_is_called_by_it_once_its_module_is_imported(source):
    operators = load({"source": str(source), "imports": ["etl.jobs"]})
    assert operators.run("python", {"function": "report"}) == "made"


def test_the_source_folder_comes_first_on_the_path(source):
    load({"source": str(source)})
    assert sys.path[0] == str(source)


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("statlib_x.core:mean", 2.0),
        ("statlib_x.core.mean", 2.0),
        ("statlib_x.core:Tools.build", ["built", [1, 3]]),
    ],
)
def test_public_functions_of_an_allowed_package_may_be_called(run, function, result):
    assert run(function, [1, 3]) == result


def test_a_decorated_function_of_an_allowed_package_may_be_called(run):
    assert run("statlib_x.core:cached", 3) == 3


@pytest.mark.parametrize(
    "function",
    [
        *("os:system", "os.system", "builtins:eval", "subprocess:check_output", "etl.jobs:unregistered", "etl.jobs:os.system"),
        *(
            "statlib_xy:f",
            "statlib:f",
            "nothing",
            "",
            ":",
            "a:",
            ":b",
            "..",
            "../etl/jobs:double",
            "etl/jobs:double",
            "etl.jobs:",
        ),
        *("linked:f", "etl.jobs:double.__globals__", "no_such_module:f", "etl.none:f"),
    ],
)
def test_anything_else_is_refused(run, function, capsys):
    with pytest.raises(InvalidTask, match=r"is not registered with @task and its package is not allowed|must not be empty"):
        run(function)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name",
    [
        *("core:os.system", "core:getcwd", "core:check_output", "core:_private", "core:Tools._hidden", "core:Tools", "core:none"),
        *("core:mean.__globals__", "core:__builtins__", "core:mean.__call__", "core:functools.partial", "_inner:f"),
    ],
)
def test_what_an_allowed_package_only_imports_or_hides_is_refused(run, name):
    with pytest.raises(InvalidTask, match="There is no public function"):
        run(f"statlib_x.{name}")


def test_a_missing_module_of_an_allowed_package_is_named(run):
    with pytest.raises(InvalidTask, match=r"can't be found: there is no module 'statlib_x.none'"):
        run("statlib_x.none:f")


def test_an_async_function_is_refused(run):
    with pytest.raises(InvalidTask, match=r"is async; call asyncio\.run"):
        run("statlib_x.core:later")


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"other": 2})])
def test_a_wrong_call_is_refused_by_the_functions_name(run, args, kwargs):
    with pytest.raises(InvalidTask, match=r"Function 'etl\.jobs:double' can't be called with these arguments: "):
        run("etl.jobs:double", *args, **kwargs)


def test_a_body_that_makes_an_invalid_task_is_no_invalid_task_itself(run):
    with pytest.raises(OperatorFailed, match=r"InvalidTask: The args are no object\."):
        run("etl.jobs:enqueues_badly")


def test_an_error_in_a_users_module_is_raised_as_it_is(run):
    with pytest.raises(ZeroDivisionError):
        run("broken:f")
