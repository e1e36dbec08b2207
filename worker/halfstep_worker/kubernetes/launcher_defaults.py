"""What a launcher lays under the pods of all tasks: read from the clusters file, and checked, so that no task fails for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep.visible import visible_line
from halfstep_worker.kubernetes.amounts import UNBOUNDED
from halfstep_worker.kubernetes.fragment import as_pod
from halfstep_worker.kubernetes.labels import is_key, is_label_name, is_label_value, is_object_name
from halfstep_worker.kubernetes.merge import merge
from halfstep_worker.kubernetes.more_memory import MoreMemory, check_memory, read_more_memory
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.request import ARGUMENTS
from halfstep_worker.kubernetes.reserved import VARIABLES
from halfstep_worker.kubernetes.shapes import check_shapes
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.kubernetes.yamlfile import check_keys
from halfstep_worker.operators.arguments import with_defaults

KEYS: dict[str, type | tuple[type, ...]] = {
    "labels": dict,
    "annotations": dict,
    "env": dict,
    "resources": dict,
    "node_selector": dict,
    "tolerations": list,
    "image_pull_secrets": list,
    "service_account": str,
    "priority_class": str,
    "runtime_class": str,
    "on_oom": dict,
}
"""Arguments of a task's pod that a launcher can have defaults for."""
_ONE = ("serviceAccountName", "priorityClassName", "runtimeClassName")
_SHOWN = 300
_ANNOTATION_BYTES = 200_000
"""Kubernetes takes 262,144 of a pod, and some are the task's and ours."""
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NOT_TAKEN = "would have every pod refused by Kubernetes; mend it."
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")


def read_defaults(where: str, given: dict[str, Any]) -> tuple[Pod, MoreMemory | None]:
    """Part of a manifest, and how memory grows. `given` has no nulls. InvalidSettings says what is wrong; `where`: for people."""
    if not given:
        return {}, None
    check_keys(where, given, KEYS)
    try:
        check_shapes(given)
        pod = as_pod(with_defaults(ARGUMENTS, given))
        more = read_more_memory(given["on_oom"]) if "on_oom" in given else None
        resources = inside(_main(pod), "resources")
        if more is not None and inside(resources, "limits").get("memory"):
            check_memory(more, resources)
    except InvalidTask as error:
        raise InvalidSettings(f"What stands in {where} can't be used: {error}") from None
    ours = next((name for name in given.get("env", {}) if name.startswith(VARIABLES)), None)
    if ours is not None:
        raise InvalidSettings(f"The variable {ours} in {where} is no default for all pods; put it under 'env' in 'pods' itself.")
    for problem in _problems(given):
        raise InvalidSettings(f"{visible_line(problem)[:_SHOWN]} in {where} {_NOT_TAKEN}")
    return pod, more


def check_task_labels(where: str, names: tuple[str, ...]) -> None:
    """InvalidSettings unless each can be the name of a label."""
    for name in names:
        if not is_label_name(name):
            raise InvalidSettings(
                f"'{name}' under 'task_labels' in {where} can't be the name of a pod's label: "
                "it needs 1 to 63 letters, digits, dots, dashes or underscores, the first and last a letter or digit."
            )


def _problems(given: dict[str, Any]) -> Iterator[str]:
    """What an API server refuses: of a task that is the task's own trouble, here it would be everybody's."""
    for kind in ("labels", "annotations", "node_selector"):
        yield from (f"The key '{key}' under '{kind}'" for key in given.get(kind, {}) if not is_key(key))
    for kind in ("labels", "node_selector"):
        yield from (f"The value '{value}' under '{kind}'" for value in given.get(kind, {}).values() if not is_label_value(value))
    for kind in ("service_account", "priority_class", "runtime_class"):
        if not is_object_name(given.get(kind, "x")):
            yield f"The name '{given[kind]}' under '{kind}'"
    for name in given.get("image_pull_secrets", ()):
        if not is_object_name(name):
            yield f"The name '{name}' under 'image_pull_secrets'"
    for name, value in given.get("env", {}).items():
        if not (name.isascii() and name.isprintable()) or "\0" in value:
            yield f"The variable '{name}' under 'env'"
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.get("annotations", {}).items()) > _ANNOTATION_BYTES:
        yield f"More than {_ANNOTATION_BYTES} bytes under 'annotations'"
    for toleration in given.get("tolerations", ()):
        yield from _of_toleration(toleration)
    yield from _of_resources(given.get("resources", {}))


def _of_toleration(toleration: Pod) -> Iterator[str]:
    unknown = [key for key in toleration if key not in _TOLERATION]
    operator, effect = toleration.get("operator") or "Equal", toleration.get("effect") or ""
    seconds = toleration.get("tolerationSeconds")
    if unknown:
        yield f"The key '{unknown[0]}' of a toleration"
    elif not all(isinstance(toleration.get(key, ""), str | None) for key in ("key", "value", "operator", "effect")):
        yield "A toleration whose key or value is not a string"
    elif operator not in ("Equal", "Exists", "Lt", "Gt") or effect not in _EFFECTS:
        yield f"A toleration with the operator {operator!r} and the effect {effect!r}"
    elif operator != "Exists" and not toleration.get("key"):
        yield "A toleration without a key whose operator is not Exists"
    elif operator == "Exists" and toleration.get("value"):
        yield "A toleration with a value whose operator is Exists"
    elif toleration.get("key") and not is_key(toleration["key"]):
        yield f"The key '{toleration['key']}' in a toleration"
    elif operator in ("Lt", "Gt") and not _WHOLE.fullmatch(toleration.get("value") or ""):
        yield "A toleration with a value that is no whole number"
    elif operator == "Equal" and not is_label_value(toleration.get("value") or ""):
        yield f"The value '{toleration['value']}' in a toleration"
    elif seconds is not None and (type(seconds) is not int or abs(seconds) >= 2**63 or effect != "NoExecute"):
        yield "A toleration with 'tolerationSeconds' that are no whole number, or without the effect NoExecute"


def _is_resource(name: str) -> bool:
    """One of Kubernetes' own, which have no domain; or a device, which has one."""
    return is_key(name) if "/" in name else name in UNBOUNDED or (name.startswith("hugepages-") and is_label_name(name))


def _of_resources(resources: Pod) -> Iterator[str]:
    for kind, amounts in resources.items():
        yield from (f"The resource '{name}' under '{kind}'" for name in amounts if not _is_resource(name))
        yield from (f"The amount of '{name}' under '{kind}'" for name, amount in amounts.items() if quantity(amount) is None)
    for name, amount in (inside(resources, "requests") | inside(resources, "limits")).items():
        if name not in UNBOUNDED and "/" in name and (quantity(amount) or Decimal(0)) % 1:
            yield f"A part of a '{name}'"
    for name, request in inside(resources, "requests").items():
        if name not in UNBOUNDED and quantity(request) != quantity(inside(resources, "limits").get(name)):
            yield f"A request of '{name}' without the same limit"
        limit = inside(resources, "limits").get(name)
        if limit is not None and (quantity(request) or 0) > (quantity(limit) or 0):
            yield f"A request of '{name}' above its limit"


# -- laid under what a task asks for


def lay_under(asked: Pod, under: Mapping[str, Any], *, token_is_said: bool) -> Pod:
    """The pod with the launcher's defaults where its task says nothing. A null or an empty text of the task's says nothing.

    token_is_said: the task says itself whether its account's token is to be mounted.
    """
    if not under:
        return asked
    spec = {key: value for key, value in asked["spec"].items() if not (key in _ONE and value == "")}
    below = {key: value for key, value in under.get("spec", {}).items() if key != "containers"}
    if "serviceAccountName" in below and "serviceAccountName" not in spec and not token_is_said:
        spec["automountServiceAccountToken"] = below["serviceAccountName"] != "default"
    laid = merge(below, spec)
    if isinstance(spec.get("tolerations"), list) and below.get("tolerations"):
        laid["tolerations"] = [*below["tolerations"], *(item for item in spec["tolerations"] if item not in below["tolerations"])]
    laid["containers"] = [_with(_main(under), item) if item["name"] == MAIN else item for item in laid["containers"]]
    metadata = merge(under.get("metadata", {}), asked["metadata"])
    return asked | {"metadata": metadata, "spec": laid}


def with_resources(asked: Pod, under: Mapping[str, Any]) -> Pod:
    """The pod with the default resources only: what a policy has to measure."""
    resources = inside(_main(under), "resources")
    if not resources:
        return asked
    containers = asked["spec"]["containers"]
    sized = [_sized(resources, item) if item["name"] == MAIN else item for item in containers]
    return asked | {"spec": asked["spec"] | {"containers": sized}}


def default_env(under: Mapping[str, Any]) -> Pod:
    """The variables alone, as part of a spec: they go before those that other operators' pods have by themselves."""
    env = _main(under).get("env")
    return {"containers": [{"name": MAIN, "env": env}]} if env else {}


def raised_by_defaults(bounds: Mapping[str, Decimal], under: Mapping[str, Any]) -> dict[str, Decimal]:
    """A policy's bounds by resource, raised to what the launcher gives by itself: tasks may ask for that, too."""
    found = dict(bounds)
    resources = inside(_main(under), "resources") if bounds else {}
    amounts = inside(resources, "requests") | inside(resources, "limits")
    for name, amount in amounts.items():
        if name in bounds or name not in UNBOUNDED:
            found[name] = max(found.get(name, Decimal(0)), quantity(amount) or Decimal(0))
    return found


def _with(under: Pod, main: Pod) -> Pod:
    sized = _sized(inside(under, "resources"), main)
    return merge({key: value for key, value in under.items() if key != "resources"}, sized)


def _sized(defaults: Pod, main: Pod) -> Pod:
    """By key. A default that contradicts the task's own word gives way: a request to the task's limit, a limit to its request."""
    own = inside(main, "resources")
    found = merge({}, merge(defaults, own))  # all of it new, as it is changed below
    if not found:
        return main
    requests, limits = inside(found, "requests"), inside(found, "limits")
    for name in requests.keys() & limits.keys():
        if _number(requests[name]) > _number(limits[name]):
            if name not in inside(own, "requests"):
                requests[name] = limits[name]
            elif name not in inside(own, "limits"):
                limits[name] = requests[name]
    return main | {"resources": found}


def _number(amount: Any) -> Decimal:
    return quantity(amount) or Decimal(0)


def _main(pod: Mapping[str, Any]) -> Pod:
    return next((item for item in listed(pod.get("spec"), "containers") if item.get("name") == MAIN), {})
