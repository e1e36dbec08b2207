"""What people type for a task, made into values: args as JSON, labels as pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from halfstep.errors import InvalidTask

EXAMPLE = '{"command": "echo hello"}'


def read_args(text: str) -> dict[str, Any]:
    """A JSON object from the word itself, from a file (`@name`) or from stdin (`-`). Raises InvalidTask."""
    return parse_args(_source(text))


def parse_args(text: str) -> dict[str, Any]:
    """A JSON object. Raises InvalidTask, with the place where the text stops being JSON."""
    try:
        args = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise InvalidTask(f"The args are not JSON: {error}; they look like {EXAMPLE}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidTask(f"The args are not JSON that can be kept: {error}.") from None
    if not isinstance(args, dict):
        raise InvalidTask(f"The args must be a JSON object, not {_word(args)}; they look like {EXAMPLE}.")
    return args


def read_labels(pairs: Sequence[str] | None) -> dict[str, str]:
    """`key=value` pairs. Raises InvalidTask."""
    labels = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidTask(f"A label looks like key=value, not '{pair}'.")
        labels[key] = value
    return labels


def _source(text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    except OSError as error:
        raise InvalidTask(f"The file {text[1:]} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidTask("The args are not UTF-8 text.") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _word(value: object) -> str:
    words = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")
