"""The @task decorator."""

from __future__ import annotations

import functools
import os
import pickle
import runpy
import subprocess
import sys

import pytest

from halfstep import producer, registry
from halfstep.errors import InvalidTask
from halfstep.registry import TaskFunction, registered, task
from waiting import PATIENCE

NAME = f"{__name__}:add"


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(registry, "registered", {})


@pytest.fixture
def sent(monkeypatch):
    calls: list[tuple] = []

    def enqueue(connection, operator, args, **options):
        calls.append((connection, operator, args, options))
        return 42

    monkeypatch.setattr(producer, "enqueue", enqueue)
    return calls


@task(queue="etl", timeout=60)
def add(a, b=1):
    """Adds."""
    return a + b


def plain(x):
    return x


def test_a_task_is_still_a_function():
    assert add(2, b=3) == 5
    assert add.__wrapped__(2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert isinstance(add, TaskFunction)


def test_its_name_is_module_and_qualname():
    assert add.name == NAME
    assert registered[NAME] is add
    assert add.options == {"queue": "etl", "timeout": 60}


def test_enqueue_sends_a_python_task_with_the_options(sent):
    assert add.enqueue(1, b=2, connection="mine") == 42
    call = {"function": NAME, "args": [1], "kwargs": {"b": 2}}
    assert sent == [("mine", "python", call, {"queue": "etl", "timeout": 60})]


def test_without_a_connection_the_producer_opens_its_own(sent):
    add.enqueue(1)
    assert sent[0][0] is None


def test_with_options_changes_one_enqueue_only(sent):
    add.with_options(priority=9, queue="fast").enqueue(1)
    assert sent[0][3] == {"queue": "fast", "timeout": 60, "priority": 9}
    assert add.options == {"queue": "etl", "timeout": 60}


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1,), {"a": 2})])
def test_arguments_that_do_not_fit_are_refused_at_enqueue(sent, args, kwargs):
    with pytest.raises(InvalidTask, match=f"Function '{NAME}' can't be called with these arguments: "):
        add.enqueue(*args, **kwargs)
    assert sent == []


def test_two_functions_of_one_name_are_both_refused():
    first = task(name="report")(plain)
    with pytest.warns(RuntimeWarning, match="Two functions are registered as 'report'"):
        second = task(name="report")(add.__wrapped__)
    for function in (first, second):
        with pytest.raises(InvalidTask, match="Two functions are registered as 'report'"):
            function.enqueue(1)


def test_one_function_registered_twice_is_fine():
    task(name="report")(plain)
    assert task(name="report")(plain).name == "report"


async def asleep() -> None: ...


async def asleep_between():
    yield 1


def nested():
    def inner() -> None: ...

    return inner


FAULTS = [
    (lambda: task(asleep), "Function '.*:asleep' is async; tasks are plain functions"),
    (lambda: task(asleep_between), "is async"),
    (lambda: task(nested()), "Function 'nested.<locals>.inner' is nested, so no worker can find it"),
    (lambda: task(lambda: 1), "is nested"),
    (lambda: task(que="etl")(plain), r"A task has no option 'que'; known: .*queue"),
    (lambda: task(functools.partial(plain, 1)), "is no function with a name; decorate one, or give it a name"),
    (lambda: task(name="five")(5), "What is registered as 'five' is no function with a name"),
    (lambda: task(classmethod(plain)), "is no function with a name"),
    (lambda: task(property(plain)), "is no function with a name"),
]


@pytest.mark.parametrize(("register", "fault"), FAULTS)
def test_what_can_not_be_a_task_is_warned_about_and_refused_when_it_is_used(register, fault, sent):
    with pytest.warns(RuntimeWarning, match=fault) as warned:
        function = register()
    assert warned[0].filename == __file__, "the warning names the line that it is about"
    for use in (function, function.enqueue, function.with_options(priority=1).enqueue):
        with pytest.raises(InvalidTask, match=fault):
            use()
    assert registry.registered[function.name] is function
    assert sent == []


def test_a_partial_with_a_name_is_a_task():
    assert task(name="one")(functools.partial(plain, 1))() == 1


def test_an_unknown_option_of_one_enqueue_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="has no option 'que'"):
        add.with_options(que="etl")


def test_a_programs_own_function_is_named_by_its_file(tmp_path):
    (tmp_path / "jobs.py").write_text("from halfstep.registry import task\n@task\ndef hello(): ...\nprint(hello.name)\n")
    ran = subprocess.run([sys.executable, "jobs.py"], cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert ran.stdout == b"jobs:hello\n", ran.stderr


def test_one_file_as_program_and_as_module_registers_once(tmp_path, monkeypatch):
    (tmp_path / "jobs_twice.py").write_text(
        "from halfstep.registry import task\n@task(name='jobs_twice:hello')\ndef hello(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path(str(tmp_path / "jobs_twice.py"), run_name="__main__")
    runpy.run_path(str(tmp_path / "jobs_twice.py"), run_name="jobs_twice")


def test_a_task_can_be_pickled_by_name(tmp_path, monkeypatch):
    (tmp_path / "jobs_pickled.py").write_text("from halfstep.registry import task\n@task\ndef hello(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import jobs_pickled

    assert pickle.loads(pickle.dumps(jobs_pickled.hello)) is jobs_pickled.hello


def run_python(folder, *words, stdin=""):
    chosen = {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=chosen, input=stdin, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FUNCTION = "from halfstep import task\n@task\ndef hello(): ...\n"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("shop/jobs.py",), "jobs:hello"),
        (("-m", "shop.jobs"), "shop.jobs:hello"),
        (("-m", "shop"), "shop.__main__:hello"),
    ],
    ids=["a file", "a module", "a package"],
)
def test_a_programs_own_function_has_the_name_that_workers_import_it_by(tmp_path, words, name):
    (tmp_path / "shop").mkdir()
    for file in ("__init__.py", "__main__.py", "jobs.py"):
        (tmp_path / "shop" / file).write_text(FUNCTION + "if __name__ == '__main__': print(hello.name)\n")
    assert run_python(tmp_path, *words) == name


@pytest.mark.parametrize("words", [("-c", FUNCTION + "CALL"), ("-",)], ids=["of an argument", "of stdin"])
def test_a_function_of_a_prompt_is_refused_when_it_is_enqueued(tmp_path, words):
    call = "try: hello.enqueue()\nexcept Exception as error: print(type(error).__name__, error)\n"
    said = run_python(tmp_path, *(word.replace("CALL", call) for word in words), stdin=FUNCTION + call)
    assert said == (
        "InvalidTask Function 'hello' is written at a prompt, so no worker can find it; "
        "put it into a file of the workers' source folder."
    )
