"""What the demo finds in a file, and which files it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from halfstep.errors import InvalidSettings
from halfstep_cli.demo.analysis import analyse
from halfstep_cli.demo.files import module_name, standard_library, users_files

CODE = '''"""Documented."""

class Till:
    """So is this."""

    async def open(self, key):
        if key and self.closed or key is None:
            return [n for n in key if n]

def count(): ...
'''


def test_functions_classes_complexity_and_docstrings_are_counted(tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text(CODE)
    found = analyse(str(tmp_path / "till.py"), "till")
    assert found == {
        "module": "till",
        "lines": 10,
        "error": None,
        "functions": 2,
        "classes": 1,
        "complexity": 2 + 1 + 2 + 1,
        "documented": 2,
        "documentable": 4,
    }


ODD = [b"x = (\n", b"x = '\0'\n", b"# coding: klingon\n", b"\xff\xfe\n", b"x = " + b"(" * 300 + b"\n"]


@pytest.mark.parametrize("content", ODD)
def test_a_file_that_does_not_parse_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.py").write_bytes(content)
    found = analyse(str(tmp_path / "odd.py"), "odd")
    assert found["lines"] == 1
    assert found["error"]
    assert "\0" not in str(found["error"])


def test_a_file_that_is_gone_is_a_finding(tmp_path: Path) -> None:
    assert "FileNotFoundError" in str(analyse(str(tmp_path / "gone.py"), "gone")["error"])


def test_the_standard_library_is_there_without_its_tests() -> None:
    names = {module_name(file) for file in standard_library().files}
    assert {"json", "json.decoder", "ast"} <= names
    assert not any(name.startswith(("test.", "unittest.test.")) or "site-packages" in name for name in names)


def test_hidden_and_installed_files_are_left_out(tmp_path: Path) -> None:
    for name in ("mine.py", ".venv/lib/theirs.py", "node_modules/odd.py", "tests/test_mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [str(file) for file in users_files(tmp_path).files] == ["mine.py", "tests/test_mine.py"]


def test_a_name_that_is_not_utf8_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "fine.py").write_text("")
    (tmp_path / "od\udcffd.py").write_text("")
    found = users_files(tmp_path)
    assert [str(file) for file in found.files] == ["fine.py"]
    assert found.skipped == 1


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="does not exist"):
        users_files(tmp_path / "nowhere")
