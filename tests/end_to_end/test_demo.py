"""`halfstep demo` on a small folder: the report, the workers that came and went, and runs that do not mix."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.conftest import environment, run_halfstep
from halfstep_cli.demo.report import command
from waiting import PATIENCE


@pytest.fixture
def some_files(tmp_path: Path) -> Path:
    package = tmp_path / "files" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A shop."""\n')
    (package / "orders.py").write_text("def place():\n    return 1 if True else 0\n\n\nclass Order:\n    pass\n")
    (package / "it's broken.py").write_text("x = (\n")
    return tmp_path / "files"


def test_the_demo_reports_on_the_files_and_can_run_again(some_files: Path, data_folder: Path) -> None:
    words = ("demo", "--data", str(data_folder), "--files", str(some_files))
    first = run_halfstep(*words)
    assert first.returncode == 0, first.stderr
    assert "3 modules, 8 lines, 1 functions" in first.stdout
    assert "1 could not be parsed" in first.stdout
    assert "Lines as the bash tasks counted them: the same." in first.stdout
    assert re.search(r"Workers: 0 -> [1-9]\d* after .* s -> 0 after .* s", first.stdout)
    (some_files / "shop" / "orders.py").unlink()
    second = run_halfstep(*words)
    assert second.returncode == 0, second.stderr
    assert "2 modules, 2 lines, 0 functions" in second.stdout
    assert "shop.orders" not in second.stdout


def test_its_hint_works_as_it_stands(some_files: Path, data_folder: Path) -> None:
    """Its first command in one terminal, the others in another, though nothing of ours is on the PATH."""
    done = run_halfstep("demo", "--data", str(data_folder), "--files", str(some_files))
    start, *look = [line.strip() for line in done.stdout.partition("To look around")[2].splitlines() if line.startswith("  ")]
    plain = environment(PATH="/usr/bin:/bin")
    with subprocess.Popen(["bash", "-c", f"exec {start} --json"], env=plain, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        up.stdout.readline()
        shown = subprocess.run(["bash", "-ec", "\n".join(look)], env=plain, capture_output=True, text=True, timeout=PATIENCE)
        up.terminate()
        up.communicate(timeout=PATIENCE)
    assert shown.returncode == 0, shown.stderr
    assert "succeeded" in shown.stdout
    assert "demo" in shown.stdout


@pytest.mark.parametrize(
    ("started_as", "path", "shown"),
    [("bin/halfstep", "", "{here}/bin/halfstep"), ("bin/halfstep", "bin", "halfstep"), ("bin/main.py", "bin", None)],
    ids=["by its path", "by its name", "as a module"],
)
def test_the_hint_names_the_command_as_it_can_be_called(
    started_as: str, path: str, shown: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "halfstep").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / path) if path else "/nowhere")
    assert command(started_as) == (shown or f"{sys.executable} -m halfstep_cli.main").format(here=tmp_path)


def test_a_folder_without_python_files_is_refused_in_one_sentence(tmp_path: Path, data_folder: Path) -> None:
    done = run_halfstep("demo", "--data", str(data_folder), "--files", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"halfstep: There are no Python files (*.py) in {tmp_path}; give a folder that has some.\n"
