"""How two pod manifests become one. The later one wins; see docs/reference/pod.md for the rules in words."""

from __future__ import annotations

from typing import Any

from halfstep_worker.kubernetes.values import Pod

_MERGED = {"containers": "name", "initContainers": "name", "ephemeralContainers": "name"}
"""Lists whose items are merged with the item of the same name."""
_REPLACED = {"volumes": "name", "env": "name", "imagePullSecrets": "name", "volumeMounts": "mountPath"}
"""Lists whose items replace the item of the same name whole: half of one volume and half of another is none."""


def merge(base: Pod, over: Pod) -> Pod:
    """`base` with `over` laid on it; a new value that shares nothing that is changed later.

    Maps merge, and null takes a key away. Containers of one name merge; volumes, variables, pull secrets and mounts (by
    mountPath) of one name are replaced. Any other list, and any list with an item that lacks its name, is replaced.
    Laying the same manifest on twice changes nothing.
    """
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _laid_on(key, merged.get(key), value)
    return merged


def _laid_on(key: str, base: Any, over: Any) -> Any:
    if isinstance(over, dict):
        return merge(base if isinstance(base, dict) else {}, over)
    if isinstance(over, list):
        return _lists(key, base if isinstance(base, list) else [], over)
    return over


def _lists(key: str, base: list[Any], over: list[Any]) -> list[Any]:
    by = _MERGED.get(key) or _REPLACED.get(key)
    if by is None or not _all_named(by, base) or not _all_named(by, over):
        return [merge({}, item) if isinstance(item, dict) else item for item in over]
    found: dict[str, Pod] = {item[by]: item for item in base}
    for item in over:
        found[item[by]] = merge(found.get(item[by], {}) if key in _MERGED else {}, item)
    return list(found.values())


def _all_named(by: str, items: list[Any]) -> bool:
    return all(isinstance(item, dict) and isinstance(item.get(by), str) for item in items)
