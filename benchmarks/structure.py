"""Facts about the shape of the code: lengths of functions and modules, and waiting by sleep in tests."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("halfstep", "worker", "scaler", "cli")


@dataclass(frozen=True, slots=True)
class Shape:
    """Lengths in lines. longest: the longest function and its place; largest: the longest module."""

    functions: int
    median: float
    longest: tuple[int, str]
    largest: tuple[int, str]
    sleeps: int


def measure(root: Path) -> Shape:
    """The shape of the code below `root`: of the rooms, and of the tests' sleeps."""
    modules = {file: file.read_text() for room in ROOMS for file in sorted((root / room).rglob("*.py"))}
    lengths = [(size, f"{file.relative_to(root)} {name}") for file, text in modules.items() for size, name in functions(text)]
    largest = max((text.count("\n"), str(file.relative_to(root))) for file, text in modules.items())
    sleeps = sum(sleeping(file.read_text()) for file in sorted((root / "tests").rglob("*.py")))
    return Shape(len(lengths), statistics.median(size for size, _ in lengths), max(lengths), largest, sleeps)


def functions(text: str) -> Iterator[tuple[int, str]]:
    """(lines of the body without its docstring, name) of every function in a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield ((body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 1), node.name


def sleeping(text: str) -> int:
    """How many calls there are of a function named `sleep`."""
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return sum(getattr(call, "attr", getattr(call, "id", "")) == "sleep" for call in calls)
