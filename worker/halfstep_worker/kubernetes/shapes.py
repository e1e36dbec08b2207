"""What the arguments of a pod look like inside: the shapes of lists and objects, checked before anything is built."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.more_memory import read_more_memory
from halfstep_worker.kubernetes.names import MAIN, is_ours
from halfstep_worker.operators.arguments import check_strings, word_for

POD_SECURITY = frozenset(
    {
        "appArmorProfile", "fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsNonRoot", "runAsUser", "seLinuxChangePolicy",
        "seLinuxOptions", "seccompProfile", "supplementalGroups", "supplementalGroupsPolicy", "sysctls", "windowsOptions",
    }
)  # fmt: skip
"""Keys of `security_context` that a pod has; those below are a container's alone."""
CONTAINER_SECURITY = frozenset(
    {"allowPrivilegeEscalation", "capabilities", "privileged", "procMount", "readOnlyRootFilesystem"}
)  # fmt: skip
CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
"""As tasks may name one; the SQL function says so, too."""
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DEEPEST = 60
MOST_DIGITS = 30
"""Of a whole number. Kubernetes has none that is longer."""
_QUANTITIES = ("requests", "limits")
_REFERENCE = ("name", "key", "env", "path")


def check_shapes(given: dict[str, Any]) -> None:
    """InvalidTask if a list or object among the arguments holds what it can't. Arguments that are null are left out."""
    check_plain("args", given)
    for name, value in given.items():
        if value is not None and name in _SHAPES:
            _SHAPES[name](name, value)


def check_plain(what: str, value: object, depth: int = 0) -> None:
    """InvalidTask unless `value` is made of JSON values, with names that are strings, and not nested beyond all reason."""
    if depth > DEEPEST:
        raise InvalidTask(f"The {what} of a pod must not be nested deeper than {DEEPEST} levels.")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                check_plain(what, key, depth + 1)
                raise InvalidTask(f"Key {key!r} in the {what} of a pod must be a string; put it into quotes.")
            check_plain(what, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_plain(what, inner, depth + 1)
    elif isinstance(value, int):  # to be told without being written: Python writes no number of more than 4,300 digits
        if abs(value) >= 10**MOST_DIGITS:
            raise InvalidTask(f"A number in the {what} of a pod has more than {MOST_DIGITS} digits.")
    elif not isinstance(value, str | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidTask(f"{str(value)[:100]} in the {what} of a pod must be a string; put it into quotes.")


def _list_of_strings(name: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise InvalidTask(f"Argument '{name}' of operator 'pod' must be a list of strings, not with {word_for(value)}.")


def _map_of_strings(name: str, values: dict[str, Any]) -> None:
    check_strings("pod", name, values)


def _variables(name: str, values: dict[str, Any]) -> None:
    _map_of_strings(name, values)
    for variable in values:
        if not variable or "=" in variable:
            raise InvalidTask(f"{variable!r} in argument '{name}' of operator 'pod' is no name for a variable.")


def _marks(name: str, values: dict[str, Any]) -> None:
    _map_of_strings(name, values)
    for key in values:
        if is_ours(key):
            domain = key.partition("/")[0]
            raise InvalidTask(f"'{key}' in argument '{name}' of operator 'pod' begins with {domain}/, which is halfstep's own.")


def _objects(name: str, values: list[Any], *, needs: Sequence[str] = ()) -> None:
    for value in values:
        if not isinstance(value, dict):
            raise InvalidTask(f"Argument '{name}' of operator 'pod' must be a list of objects, not with {word_for(value)}.")
        for key in needs:
            if not isinstance(value.get(key), str) or not value[key]:
                raise InvalidTask(f"Each item of argument '{name}' of operator 'pod' needs a '{key}', a string.")


def _containers(name: str, values: list[Any]) -> None:
    _objects(name, values, needs=("name", "image"))
    names = [value["name"] for value in values]
    if MAIN in names:
        raise InvalidTask(f"A container in argument '{name}' of operator 'pod' can't be called '{MAIN}', as the task's own is.")
    if len(set(names)) < len(names):
        raise InvalidTask(f"Two containers in argument '{name}' of operator 'pod' have the same name.")


def _volumes(name: str, values: list[Any]) -> None:
    _objects(name, values, needs=("name",))


def _mounts(name: str, values: list[Any]) -> None:
    _objects(name, values, needs=("name", "mountPath"))


def _resources(name: str, value: dict[str, Any]) -> None:
    for kind, quantities in value.items():
        if kind not in _QUANTITIES or not isinstance(quantities, dict):
            raise InvalidTask(f"Argument '{name}' of operator 'pod' holds the objects 'requests' and 'limits', and nothing else.")
        for key, quantity in quantities.items():
            if type(quantity) not in (str, int, float):
                raise InvalidTask(f"'{key}' in argument '{name}' of operator 'pod' must be a string or a number.")


def _references(name: str, values: list[Any]) -> None:
    """The short forms of `secrets` and `config_maps`: `"name"`, or an object with `name` and perhaps `key`, `env` or `path`."""
    for value in values:
        if isinstance(value, str) and value:
            continue
        if not isinstance(value, dict) or not all(isinstance(value.get(key, ""), str) for key in _REFERENCE):
            raise InvalidTask(f"Each item of argument '{name}' of operator 'pod' must be a name, or an object of strings.")
        _reference(name, value)


def _reference(name: str, value: dict[str, Any]) -> None:
    what = f"item of argument '{name}' of operator 'pod'"
    unknown = [key for key in value if key not in _REFERENCE]
    if unknown:
        raise InvalidTask(f"An {what} has no key '{unknown[0]}'; known: {', '.join(_REFERENCE)}.")
    if not value.get("name"):
        raise InvalidTask(f"Each {what} needs a 'name'.")
    if "env" in value and "path" in value:
        raise InvalidTask(f"An {what} has 'env' or 'path', not both; write two items.")
    if "env" in value and not value.get("key"):
        raise InvalidTask(f"An {what} with 'env' needs the 'key' whose value the variable gets.")
    if "key" in value and not value.get("env") and not value.get("path"):
        raise InvalidTask(f"An {what} with a 'key' needs 'env', the variable, or 'path', the file, that gets its value.")
    if "path" in value and not value["path"].startswith("/"):
        raise InvalidTask(f"The 'path' of an {what} must begin with /.")


def _security(name: str, value: dict[str, Any]) -> None:
    known = POD_SECURITY | CONTAINER_SECURITY
    for key in value:
        if key not in known:
            raise InvalidTask(f"Argument '{name}' of operator 'pod' has no key '{key}'; known: {', '.join(sorted(known))}.")


def _positive(name: str, value: float) -> None:
    if not 0 < value <= 31_536_000:
        raise InvalidTask(f"Argument '{name}' of operator 'pod' must be more than 0 seconds and at most a year.")


def _one_of(*known: str) -> Callable[[str, str], None]:
    def check(name: str, value: str) -> None:
        if value not in known:
            raise InvalidTask(f"Argument '{name}' of operator 'pod' must be one of {', '.join(known)}.")

    return check


def _no_blanks(name: str, value: str) -> None:
    if not value or any(character.isspace() for character in value):
        raise InvalidTask(f"Argument '{name}' of operator 'pod' must be a name without blanks.")


def _namespace(name: str, value: str) -> None:
    if not NAMESPACE.fullmatch(value):
        raise InvalidTask(f"Argument '{name}' of operator 'pod' is no name for a namespace: small letters, digits and - only.")


def _more_memory(name: str, value: dict[str, Any]) -> None:
    read_more_memory(value)


_SHAPES: dict[str, Callable[[str, Any], None]] = {
    "image": _no_blanks,
    "image_pull_policy": _one_of("Always", "IfNotPresent", "Never"),
    "image_pull_secrets": _list_of_strings,
    "command": _list_of_strings,
    "arguments": _list_of_strings,
    "env": _variables,
    "env_from": _objects,
    "resources": _resources,
    "volume_mounts": _mounts,
    "volumes": _volumes,
    "config_maps": _references,
    "secrets": _references,
    "connections": _list_of_strings,
    "init_containers": _containers,
    "sidecars": _containers,
    "security_context": _security,
    "service_account": _no_blanks,
    "priority_class": _no_blanks,
    "runtime_class": _no_blanks,
    "on_oom": _more_memory,
    "node_selector": _map_of_strings,
    "tolerations": _objects,
    "labels": _marks,
    "annotations": _marks,
    "namespace": _namespace,
    "active_deadline_seconds": _positive,
    "grace_seconds": _positive,
    "startup_timeout": _positive,
    "queue_timeout": _positive,
    "on_finish": _one_of("delete", "keep", "keep_on_failure"),
}
