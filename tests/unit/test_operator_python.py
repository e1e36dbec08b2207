"""Operator `python`: what it may call, and what it refuses."""

from __future__ import annotations

import sys

import pytest

from halfstep import registry
from halfstep.errors import HalfstepError, InvalidTask, Missing
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


BROKEN = {
    "divides": (
        "import math\n\nx = 1 / 0\n",
        OperatorFailed,
        r"ZeroDivisionError: division by zero (divides.py, line 3: x = 1 / 0).",
    ),
    "leaves": ("raise SystemExit(3)\n", OperatorFailed, "SystemExit: 3 (leaves.py, line 1: raise SystemExit(3))."),
    "half": ("def f(:\n", Missing, "SyntaxError: invalid syntax (half.py, line 1)."),
    "early": (
        "import none_yet\n",
        Missing,
        "ModuleNotFoundError: No module named 'none_yet' (early.py, line 1: import none_yet).",
    ),
    "older": ("from json import none_yet\n", Missing, "ImportError: cannot import name 'none_yet' from 'json' "),
    "deep": ("import etl.inner\n", OperatorFailed, "KeyError: 'x' (etl/inner.py, line 1: {}['x'])."),
    "silent": ("raise RuntimeError\n", OperatorFailed, "RuntimeError (silent.py, line 1: raise RuntimeError)."),
}


@pytest.mark.parametrize("module", BROKEN)
def test_a_module_that_can_not_be_imported_says_why_for_its_own_functions_only(run, source, module, capsys):
    text, kind, sentence = BROKEN[module]
    (source / f"{module}.py").write_text(text)
    (source / "etl" / "inner.py").write_text("{}['x']\n")
    for _ in range(2):
        with pytest.raises(HalfstepError) as caught:
            run(f"{module}:f")
        assert type(caught.value) is kind
        assert str(caught.value).startswith(f"Module '{module}' could not be imported: {sentence}")
    assert "Traceback" in capsys.readouterr().err or module == "half"
    assert run("etl.jobs:double", 4) == 8


def test_nothing_of_a_module_that_failed_half_way_is_called(run, source):
    (source / "halfway.py").write_text("from halfstep.registry import task\n@task\ndef f(): return NAME\n1 / 0\nNAME = 1\n")
    for _ in range(2):
        with pytest.raises(OperatorFailed, match="Module 'halfway' could not be imported: ZeroDivisionError"):
            run("halfway:f")


def test_a_module_that_is_mended_runs_in_the_same_process(run, source):
    (source / "mended.py").write_text("from halfstep.registry import task\n@task\ndef f(): return 1\nimport none_yet\n")
    with pytest.raises(Missing):
        run("mended:f")
    (source / "none_yet.py").write_text("")
    (source / "mended.py").write_text("import none_yet\nfrom halfstep.registry import task\n\n@task\ndef f(): return 'mended'\n")
    assert run("mended:f") == "mended"


MISSING = ["nothing", "no_such_module:f", "etl.none:f", "etl.jobs:unregistered", "statlib_x.none:f", "statlib_x.core:none"]


@pytest.mark.parametrize("function", MISSING)
def test_what_a_deploy_may_bring_is_missing(run, function):
    with pytest.raises(Missing, match=r"is not registered with @task|There is no public function|there is no module"):
        run(function)


@pytest.mark.parametrize("function", ["os:system", "subprocess.run", "statlib_x.core:_private", "statlib_x.core:getcwd"])
def test_what_no_deploy_can_bring_is_refused_for_good(run, function):
    with pytest.raises(InvalidTask) as caught:
        run(function)
    assert not isinstance(caught.value, Missing)


def test_a_module_that_comes_later_is_found(run, source):
    with pytest.raises(Missing):
        run("late:f")
    (source / "late.py").write_text("from halfstep.registry import task\n@task\ndef f(): return 'here'\n")
    assert run("late:f") == "here"


FAULTY = """
from halfstep.registry import task
@task
async def asleep(): ...
@task(que=1)
def misspelt(): ...
@task(name="twice")
def one(): return 1
@task(name="twice")
def two(): return 2
@task
def sound(): return "sound"
"""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("function", "fault"), [("asleep", "is async"), ("misspelt", "no option 'que'"), ("twice", "Two functions are registered")]
)
def test_a_function_that_can_not_be_a_task_leaves_the_others_of_its_module_alone(run, source, function, fault):
    (source / "faulty.py").write_text(FAULTY)
    assert run("faulty:sound") == "sound"
    with pytest.raises(InvalidTask, match=fault) as caught:
        run(function if function == "twice" else f"faulty:{function}")
    assert not isinstance(caught.value, Missing)
