"""The arguments of a pod as part of a manifest. Checked arguments in, a plain dictionary out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.shapes import CONTAINER_SECURITY, POD_SECURITY
from halfstep_worker.kubernetes.values import Pod

_SPEC = {
    "service_account": "serviceAccountName",
    "node_selector": "nodeSelector",
    "tolerations": "tolerations",
    "affinity": "affinity",
    "priority_class": "priorityClassName",
    "runtime_class": "runtimeClassName",
    "active_deadline_seconds": "activeDeadlineSeconds",
    "grace_seconds": "terminationGracePeriodSeconds",
    "init_containers": "initContainers",
}
_MAIN = {
    "image": "image",
    "image_pull_policy": "imagePullPolicy",
    "command": "command",
    "arguments": "args",
}

_REFERENCE = re.compile(r"\$\(([^$()]{1,253})\)")


def as_pod(given: dict[str, Any]) -> Pod:
    """What the arguments say and nothing else: no defaults, no marks. `given` has a value for every argument."""
    metadata = _filled({key: given[key] for key in ("labels", "annotations")})
    return _filled({"metadata": metadata, "spec": _filled(_spec(given))})


def _spec(given: dict[str, Any]) -> Pod:
    spec = {theirs: given[ours] for ours, theirs in _SPEC.items()}
    spec["imagePullSecrets"] = [{"name": name} for name in given["image_pull_secrets"]]
    spec["securityContext"] = {key: value for key, value in given["security_context"].items() if key in POD_SECURITY}
    spec["volumes"] = [*given["volumes"], *_volumes("secret", given), *_volumes("config_map", given)]
    spec["containers"] = [_main(given), *given["sidecars"]]
    return spec


def _main(given: dict[str, Any]) -> Pod:
    security = {key: value for key, value in given["security_context"].items() if key in CONTAINER_SECURITY}
    return _filled(
        {
            "name": MAIN,
            **{theirs: given[ours] for ours, theirs in _MAIN.items() if ours in given},
            "env": [*variables_of(given["env"]), *_variables("secret", given), *_variables("config_map", given)],
            "envFrom": [*given["env_from"], *_whole("secret", given), *_whole("config_map", given)],
            "resources": {kind: _texts(quantities) for kind, quantities in given["resources"].items()},
            "volumeMounts": [*given["volume_mounts"], *_mounts("secret", given), *_mounts("config_map", given)],
            "securityContext": security,
        }
    )


def variables_of(values: Mapping[str, str]) -> list[Pod]:
    """As a container's `env` has them: a list in which a value can be made of variables that stand before it, as `$(NAME)`.

    An object has no order, and PostgreSQL keeps none; so what is named by others goes before them. In a circle nobody does.
    """
    waits = {name: _named_in(value) & values.keys() - {name} for name, value in values.items()}
    users: dict[str, list[str]] = {name: [] for name in values}
    for name, named in waits.items():
        for other in named:
            users[other].append(name)
    order = [name for name, named in waits.items() if not named]
    for name in order:  # it grows meanwhile
        for user in users[name]:
            waits[user].discard(name)
            if not waits[user]:
                order.append(user)
    return [{"name": name, "value": values[name]} for name in (*order, *(name for name, named in waits.items() if named))]


def _named_in(value: str) -> set[str]:
    """The variables that Kubernetes will look for in a value."""
    return set(_REFERENCE.findall(value.replace("$$", "")))


def _texts(quantities: dict[str, Any]) -> dict[str, str]:
    return {name: str(quantity) for name, quantity in quantities.items()}


def _filled(values: Pod) -> Pod:
    """Without what is empty, so that it takes nothing from a template."""
    return {key: value for key, value in values.items() if value not in (None, {}, [])}


# -- the short forms: "name" or {name, key, env, path}

_KEY_REFERENCE = {"secret": "secretKeyRef", "config_map": "configMapKeyRef"}
_WHOLE_REFERENCE = {"secret": "secretRef", "config_map": "configMapRef"}


def _items(kind: str, given: dict[str, Any]) -> list[Pod]:
    return [{"name": item} if isinstance(item, str) else item for item in given[f"{kind}s"]]


def _variables(kind: str, given: dict[str, Any]) -> list[Pod]:
    """One key each, as a variable."""
    return [
        {"name": item["env"], "valueFrom": {_KEY_REFERENCE[kind]: {"name": item["name"], "key": item["key"]}}}
        for item in _items(kind, given)
        if "env" in item
    ]


def _whole(kind: str, given: dict[str, Any]) -> list[Pod]:
    """All keys, as variables."""
    return [{_WHOLE_REFERENCE[kind]: {"name": item["name"]}} for item in _items(kind, given) if item.keys() == {"name"}]


def _volumes(kind: str, given: dict[str, Any]) -> list[Pod]:
    return [_volume(kind, number, item) for number, item in enumerate(_items(kind, given)) if "path" in item]


def _volume(kind: str, number: int, item: Pod) -> Pod:
    name = {"secret": {"secretName": item["name"]}, "config_map": {"name": item["name"]}}[kind]
    chosen = {"items": [{"key": item["key"], "path": item["key"]}]} if "key" in item else {}
    return {"name": _volume_name(kind, number), {"secret": "secret", "config_map": "configMap"}[kind]: name | chosen}


def _mounts(kind: str, given: dict[str, Any]) -> list[Pod]:
    """A folder of all keys, or one key as one file."""
    return [
        {"name": _volume_name(kind, number), "mountPath": item["path"], "readOnly": True}
        | ({"subPath": item["key"]} if "key" in item else {})
        for number, item in enumerate(_items(kind, given))
        if "path" in item
    ]


def _volume_name(kind: str, number: int) -> str:
    return f"halfstep-{kind.replace('_', '-')}-{number}"
