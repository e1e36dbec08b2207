"""Loading operators: the built-in ones and those of installed packages."""

from __future__ import annotations

import logging
import sys

import pytest

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep_worker.operators import discovery, load

COOK = """
class Cook:
    name = "cook"
    def check(self, args): ...
    def run(self, args): return {"cooked": args}

class Waiter:
    name = "waiter"
    def __init__(self, settings): self.source = settings["source"]
    def check(self, args): ...
    def run(self, args): return self.source

class Nameless:
    def check(self, args): ...
    def run(self, args): ...

class Bash(Cook):
    name = "bash"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution `kitchen` with the given entry points, as pip would lay it out."""
    folder = tmp_path / "site"
    (folder / "kitchen-1.0.dist-info").mkdir(parents=True)
    (folder / "kitchen-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: kitchen\nVersion: 1.0\n")
    (folder / "kitchen_x.py").write_text(COOK)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def install(**points):
        lines = [f"[{discovery.GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
        (folder / "kitchen-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))

    yield install
    sys.modules.pop("kitchen_x", None)


def test_an_installed_operator_runs_beside_the_others(install):
    install(cook="kitchen_x:Cook")
    operators = load({})
    assert operators.names() == ["bash", "cook", "http", "pod", "python", "script", "sql"]
    assert operators.run("cook", {"a": 1}) == {"cooked": {"a": 1}}


def test_an_operator_that_asks_for_the_settings_gets_them(install, tmp_path):
    install(waiter="kitchen_x:Waiter")
    assert load({"source": str(tmp_path)}).run("waiter", {}) == str(tmp_path)


@pytest.mark.parametrize(
    ("point", "value", "sentence"),
    [
        ("cook", "no_such_module:Cook", "could not be loaded: ModuleNotFoundError: No module named 'no_such_module'."),
        ("cook", "kitchen_x:None_", "could not be loaded: AttributeError: "),
        ("waiter", "kitchen_x:Waiter", "could not be loaded: KeyError: 'source'."),
        ("nameless", "kitchen_x:Nameless", "was not loaded: it needs name = 'nameless', check(args) and run(args)."),
        ("chef", "kitchen_x:Cook", "was not loaded: it needs name = 'chef', check(args) and run(args)."),
        ("bash", "kitchen_x:Bash", "was not loaded: there is another operator of that name."),
    ],
)
def test_a_broken_operator_is_named_with_its_package_and_the_others_work(install, point, value, sentence, caplog):
    install(**{point: value})
    with caplog.at_level(logging.WARNING, "halfstep"):
        operators = load({})
    assert operators.problems[point].startswith(f"Operator '{point}' of package 'kitchen' {sentence}")
    assert operators.problems[point] in caplog.text
    assert operators.run("bash", {"command": "true"}) == {"exit_code": 0, "last_line": ""}


def test_a_task_for_a_broken_operator_says_what_is_broken(install):
    install(cook="no_such_module:Cook")
    with pytest.raises(InvalidTask, match="Operator 'cook' of package 'kitchen' could not be loaded"):
        load({}).run("cook", {})


def test_an_unknown_operator_lists_the_known_ones():
    with pytest.raises(InvalidTask) as caught:
        load({}).check("cook", {})
    assert str(caught.value) == "There is no operator 'cook' on this worker; known: bash, http, pod, python, script, sql."


def test_a_missing_source_folder_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match=r"The source folder .*/none does not exist or is no folder\."):
        load({"source": str(tmp_path / "none")})


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(InvalidSettings, match="Module 'no_such_module' could not be imported: ModuleNotFoundError"):
        load({"imports": ["no_such_module"]})


def test_loading_twice_puts_the_source_folder_on_the_path_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    load({"source": str(tmp_path)})
    load({"source": str(tmp_path)})
    assert sys.path.count(str(tmp_path)) == 1
