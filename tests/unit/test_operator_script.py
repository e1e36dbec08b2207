"""Operator `script`: files of the source folder, and of nowhere else. (.sql files: test_operator_sql.py)"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from halfstep.errors import InvalidTask, Missing
from halfstep_worker.operators import OperatorFailed, load


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (tmp_path / "secret.py").write_text("print('ran')\n")
    return folder


@pytest.fixture
def run(source):
    operators = load({"source": str(source), "result_bytes": 1000})
    return lambda path, **more: operators.run("script", {"path": path, **more})


def test_a_python_script_gets_its_parameters_as_arguments(run, source):
    (source / "report.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))\n")
    parameters = {"day": "2026-01-31", "top": 5, "all": True, "tags": ["a", "b"], "none": None}
    expected = ["--day", "2026-01-31", "--top", "5", "--all", "true", "--tags", '["a", "b"]', "--none", "null"]
    assert run("report.py", parameters=parameters) == expected
    assert run("report.py", parameters=["x", 1]) == ["x", "1"]
    assert run("report.py") == []


def test_the_parameters_also_stand_in_the_environment_as_json(run, source):
    (source / "report.sh").write_text('echo "$HALFSTEP_PARAMETERS"\n')
    assert run("report.sh", parameters={"n": 1}) == {"n": 1}
    assert run("report.sh", parameters=[1]) == [1]


def test_a_shell_script_gets_its_parameters_as_arguments(run, source):
    (source / "report.sh").write_text('echo "[\\"$1\\", \\"$2\\"]"\n')
    assert run("report.sh", parameters={"day": "a b"}) == ["--day", "a b"]


def test_scripts_run_in_the_source_folder_and_import_from_it(run, source):
    (source / "shared.py").write_text("NAME = 'shared'\n")
    (source / "deep").mkdir()
    (source / "deep" / "report.py").write_text("import os, json, shared; print(json.dumps([os.getcwd(), shared.NAME]))\n")
    assert run("deep/report.py") == [str(source.resolve()), "shared"]


@pytest.mark.parametrize(
    ("last_line", "result"),
    [
        ('{"rows": 3}', {"rows": 3}),
        ("[1, 2]", [1, 2]),
        ("{broken", {"exit_code": 0}),
        ("[" * 900, {"exit_code": 0}),
        ("5", {"exit_code": 0}),
        ("done", {"exit_code": 0}),
        ("", {"exit_code": 0}),
    ],
)
def test_the_result_is_the_last_line_if_that_is_json(run, source, last_line, result):
    (source / "report.sh").write_text(f"echo first\necho '{last_line}'\n")
    assert run("report.sh") == result


def test_a_result_over_the_limit_is_an_error(run, source):
    (source / "report.py").write_text("print(list(range(1000)))\n")
    with pytest.raises(OperatorFailed, match="The result is larger than 1000 bytes: print less") as caught:
        run("report.py")
    assert caught.value.reason == "result"


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("a.py", "raise SystemExit(3)", "python exited with code 3."),
        ("a.py", "raise ValueError('no\\nway')", "python exited with code 1; its last line on stderr: ValueError: no … way"),
        ("a.py", "import sys; sys.exit('enough')", "python exited with code 1; its last line on stderr: enough"),
        ("a.py", "if:", "python exited with code 1; its last line on stderr: SyntaxError: invalid syntax"),
        ("a.sh", "exit 4", "bash exited with code 4."),
        ("a.sh", "echo why; exit 4", "bash exited with code 4; its last line on stdout: why"),
    ],
)
def test_a_script_that_fails_says_its_exit_code(run, source, file, text, sentence):
    (source / file).write_text(text)
    with pytest.raises(OperatorFailed) as caught:
        run(file)
    assert str(caught.value) == sentence


@pytest.mark.skipif(shutil.which("Rscript") is not None, reason="R is installed")
def test_without_r_an_r_script_says_what_is_missing(run, source):
    (source / "a.R").write_text("cat('x')\n")
    with pytest.raises(OperatorFailed, match=r"Rscript is not installed on this worker"):
        run("a.R")


def test_an_r_script_is_run_by_rscript(source, tmp_path, monkeypatch):
    stub = '#!/bin/bash\necho "[\\"$(basename "$1")\\", \\"$2\\", \\"$3\\"]"\n'
    # Written by another process: one that has just forked in another thread would have it open, and it could not be run.
    subprocess.run(["sh", "-c", 'cat > "$0" && chmod 755 "$0"', str(tmp_path / "Rscript")], input=stub.encode(), check=True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (source / "a.R").write_text("cat('x')\n")
    operators = load({"source": str(source)})
    assert operators.run("script", {"path": "a.R", "parameters": {"n": 2}}) == ["a.R", "--n", "2"]


@pytest.mark.parametrize(
    "path", ["../secret.py", "x/../../secret.py", "/etc/passwd.py", "link.py", "folder/secret.py", "chain.py"]
)
def test_no_path_leads_out_of_the_source_folder(run, source, tmp_path, path, capfd):
    (source / "link.py").symlink_to(tmp_path / "secret.py")
    (source / "folder").symlink_to(tmp_path)
    (source / "chain.py").symlink_to("link.py")
    with pytest.raises(InvalidTask, match="source folder"):
        run(path)
    assert capfd.readouterr().out == ""


def test_a_link_inside_the_source_folder_is_followed(run, source):
    (source / "real.sh").write_text("echo '[1]'\n")
    (source / "link.sh").symlink_to("real.sh")
    assert run("link.sh") == [1]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("none.py", "There is no file 'none.py' in the source folder."),
        ("dir.py", "There is no file 'dir.py' in the source folder."),
        ("loop.py", "Path 'loop.py' can't be resolved|There is no file 'loop.py'"),
        (f"{'x' * 300}.py", "can't be resolved|There is no file"),
    ],
)
def test_what_is_no_file_is_refused(run, source, path, sentence):
    (source / "dir.py").mkdir()
    (source / "loop.py").symlink_to("loop.py")
    with pytest.raises(InvalidTask, match=sentence):
        run(path)


@pytest.mark.parametrize("path", ["none.py", "none.sql", "dir.py", "no/such/folder/a.sh", "dangling.py"])
def test_a_script_that_a_deploy_may_bring_is_missing(run, source, path):
    (source / "dir.py").mkdir()
    (source / "dangling.py").symlink_to("not_yet.py")
    with pytest.raises(Missing, match=f"There is no file '{path}' in the source folder"):
        run(path)


def test_a_script_that_comes_later_is_run(run, source):
    with pytest.raises(Missing):
        run("late.sh")
    (source / "late.sh").write_text("echo '[1]'\n")
    assert run("late.sh") == [1]


@pytest.mark.parametrize("path", ["../secret.py", "/etc/passwd.py", "link.py"])
def test_a_script_outside_of_the_folder_is_refused_for_good(run, source, tmp_path, path):
    (source / "link.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(InvalidTask) as caught:
        run(path)
    assert not isinstance(caught.value, Missing)


def test_without_a_source_folder_the_sentence_says_how_to_get_one():
    with pytest.raises(InvalidTask, match="this worker has no source folder; start it with --source DIR"):
        load({}).run("script", {"path": "a.py"})


def test_an_sql_script_without_a_connection_is_refused(run, source):
    (source / "a.sql").write_text("SELECT 1\n")
    with pytest.raises(InvalidTask, match=r"Script 'a.sql' names no connection; give the argument 'connection', or let the file"):
        run("a.sql")


def test_an_sql_script_that_is_no_text_is_refused(run, source):
    (source / "a.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(InvalidTask, match=r"Script 'a\.sql' is not UTF-8 text"):
        run("a.sql", connection="c")
