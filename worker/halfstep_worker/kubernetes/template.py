"""The template of a pod: a whole manifest, as an object, as YAML or JSON text, or as a file of the source folder."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.shapes import DEEPEST, check_plain
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.operators.arguments import word_for
from halfstep_worker.operators.source import check_relative, locate

LARGEST_JSON, LARGEST_YAML = 64 * 1024, 16 * 1024
"""Bytes of a template's text. The launcher's loop reads it: so much YAML takes some 100 ms, so much JSON one."""
_TOO_DEEP = f"it is nested deeper than {DEEPEST} levels"
_PARTS = ("apiVersion", "kind", "metadata", "spec")
_LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes", "imagePullSecrets")


def check_template(template: str | dict[str, Any]) -> None:
    """InvalidTask if it can't be a pod's manifest. Of a file, only the path is checked: it lies with the launcher."""
    if _is_file(template):
        check_relative(template["file"])  # type: ignore[index]
    else:
        read_template(template, None)


def read_template(template: str | dict[str, Any], source: Path | None) -> Pod:
    """The manifest; don't change it, it may be shared. `source` is the source folder. InvalidTask: it is none."""
    if isinstance(template, dict) and not _is_file(template):
        return _checked(template)
    return _parsed(_text_of(template["file"], source) if isinstance(template, dict) else template)


def _is_file(template: str | dict[str, Any]) -> bool:
    return isinstance(template, dict) and template.keys() == {"file"} and isinstance(template["file"], str)


def _text_of(path: str, source: Path | None) -> str:
    try:
        with locate(source and source.resolve(), path).open("rb") as stream:
            return stream.read(LARGEST_JSON + 1).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidTask(f"Template {path!r} is not UTF-8 text.") from None
    except OSError as error:
        raise InvalidTask(f"Template {path!r} can't be read: {error.strerror}.") from None


@lru_cache(maxsize=64)
def _parsed(text: str) -> Pod:
    return _checked(_from_json(text) if text.lstrip()[:1] == "{" else _from_yaml(text))


def _from_json(text: str) -> object:
    _check_size(text, LARGEST_JSON)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _from_yaml(text)  # YAML has braces too


def _check_size(text: str, limit: int) -> None:
    if len(text.encode(errors="replace")) > limit:
        raise InvalidTask(
            f"The template of a pod must not be larger than {LARGEST_YAML // 1024} KiB, or {LARGEST_JSON // 1024} KiB as JSON."
        )


def _from_yaml(text: str) -> object:
    _check_size(text, LARGEST_YAML)
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # besides its own errors, PyYAML lets out many kinds: `!!int ''` is an IndexError
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "it can't be read"
        raise InvalidTask(f"The template of a pod is neither YAML nor JSON{place}: {problem}.") from None


class _Loader(yaml.SafeLoader):
    """Without aliases, of which a few lines can unfold to gigabytes. Not the C loader: deep nesting kills its process."""

    depth = 0

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Looked at this early because each level makes every later character slower."""
        if self.flow_level > DEEPEST:
            raise self._refusal(_TOO_DEEP)
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Of any style."""
        if self.check_event(yaml.AliasEvent):
            raise self._refusal("aliases (*name) are not taken")
        if self.depth > DEEPEST:
            raise self._refusal(_TOO_DEEP)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refusal(self, problem: str) -> yaml.YAMLError:
        return yaml.composer.ComposerError(None, None, problem, self.get_mark())


def _checked(manifest: object) -> Pod:
    check_plain("template", manifest)
    if not isinstance(manifest, dict):
        raise InvalidTask(f"The template of a pod must be an object, not {word_for(manifest)}.")
    unknown = [key for key in manifest if key not in (*_PARTS, "status")]
    if unknown:
        raise InvalidTask(f"The template of a pod has no key '{unknown[0]}'; known: {', '.join(_PARTS)}.")
    if manifest.get("kind", "Pod") != "Pod":
        raise InvalidTask(f"The template of a pod must be of the kind Pod, not {manifest['kind']}.")
    for part in ("metadata", "spec"):
        _check_object(part, manifest.get(part))
    for part in ("labels", "annotations"):
        _check_object(part, (manifest.get("metadata") or {}).get(part))
    for name in _LISTS:
        _check_named(name, (manifest.get("spec") or {}).get(name))
    return manifest


def _check_object(what: str, value: object) -> None:
    if not isinstance(value, dict | None):
        raise InvalidTask(f"'{what}' in the template of a pod must be an object, not {word_for(value)}.")


def _check_named(name: str, items: object) -> None:
    if not isinstance(items, list | None):
        raise InvalidTask(f"'{name}' in the template of a pod must be a list, not {word_for(items)}.")
    for item in items or []:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise InvalidTask(f"Each item of '{name}' in the template of a pod must be an object with a name.")
    names = [item["name"] for item in items or []]
    if len(set(names)) < len(names):
        raise InvalidTask(f"Two items of '{name}' in the template of a pod have the same name.")
