"""What the demo's tasks do: read one Python file and say what is in it. Imported by workers."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from halfstep import task

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_BRANCHES = (ast.If, ast.IfExp, ast.ExceptHandler, ast.Assert, ast.match_case, *_LOOPS)

Facts = dict[str, str | int | None]


@task(timeout=60)
def analyse(path: str, module: str) -> Facts:
    """Counts of one file: lines, functions, classes, complexity, documented and documentable definitions; error: why it has none.

    A file that can't be read or parsed is a finding, not a failure. Complexity is the number of functions plus the number of
    branches in them, that is the sum of their cyclomatic complexities. Source: T. McCabe, A Complexity Measure, 1976.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        return {"module": module, "lines": 0, "error": f"{type(error).__name__}: {error}"}
    lines = text.count(b"\n")
    try:
        return {"module": module, "lines": lines, "error": None, **_counts(_parsed(text))}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"module": module, "lines": lines, "error": f"{type(error).__name__}: {error}".replace("\0", "\\0")}


def _parsed(text: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its syntax, which is not what we were asked
        return ast.parse(text)


def _counts(tree: ast.Module) -> dict[str, int]:
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    definitions = [tree, *functions, *classes]
    return {
        "functions": len(functions),
        "classes": len(classes),
        "complexity": len(functions) + sum(map(_branches, nodes)),
        "documented": sum(ast.get_docstring(node, clean=False) is not None for node in definitions),
        "documentable": len(definitions),
    }


def _branches(node: ast.AST) -> int:
    """How many more ways through the code there are because of this node."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, _BRANCHES))
