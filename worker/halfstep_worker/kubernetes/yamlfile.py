"""Configuration in YAML: a mapping of known keys, each of a known type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from halfstep.errors import InvalidSettings


def read_mapping(file: Path, what: str) -> dict[str, Any]:
    """The mapping in a file; `what` is what errors call the file. InvalidSettings: it can't be read, or is none."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InvalidSettings(f"The {what} {file} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = error.problem if isinstance(error, _TwiceError) else "is no YAML"
        raise InvalidSettings(f"The {what} {file} {problem}{f' (line {mark.line + 1})' if mark else ''}.") from None
    if not isinstance(content, dict | None):
        raise InvalidSettings(f"The {what} {file} must hold lines `key: value`.")
    return {str(key): value for key, value in (content or {}).items()}


class _TwiceError(yaml.MarkedYAMLError):
    """A key stands twice in one mapping; YAML's own readers take the last one."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:str" and key.value in seen:
                raise _TwiceError(problem=f"has the key '{key.value}' twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def check_keys(where: str, values: Mapping[str, Any], known: Mapping[str, type | tuple[type, ...]]) -> None:
    """InvalidSettings for a key that is not known, or whose value has another type; null is as if left out."""
    for key, value in values.items():
        if key not in known:
            raise InvalidSettings(f"{where} has no key '{key}'; known: {', '.join(known)}.")
        if value is not None and (not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool)):
            raise InvalidSettings(f"'{key}' in {where} must be {_word(known[key])}, not {value!r}.")


def strings(where: str, key: str, values: Any) -> tuple[str, ...]:
    """A list of strings. InvalidSettings: something else is in it."""
    for value in values or ():
        if not isinstance(value, str):
            raise InvalidSettings(f"'{key}' in {where} must be a list of strings, not with {value!r}.")
    return tuple(values or ())


def string_map(where: str, key: str, values: Any) -> dict[str, str]:
    """A mapping of strings. InvalidSettings: something else is in it."""
    for name, value in (values or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidSettings(f"'{name}' under '{key}' in {where} must be a string, not {value!r}; put it into quotes.")
    return dict(values or {})


def _word(kinds: type | tuple[type, ...]) -> str:
    words = {str: "a string", bool: "true or false", list: "a list", dict: "a mapping", int: "a number", float: "a number"}
    first = kinds[0] if isinstance(kinds, tuple) else kinds
    return words[first]
