"""What a task asks of its pod: the arguments of operator `pod`, and of the key `pod` in the args of other operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.flight import QUEUE_SECONDS
from halfstep_worker.kubernetes.fragment import as_pod
from halfstep_worker.kubernetes.more_memory import MoreMemory, check_memory, memory_of, read_more_memory
from halfstep_worker.kubernetes.reserved import reserved
from halfstep_worker.kubernetes.shapes import check_shapes
from halfstep_worker.kubernetes.template import check_template, read_template
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults, word_for

SETTINGS_KEY = "pod"
"""The key in the args of another operator that holds the settings of its pod, where it is placed in one."""
STARTUP_SECONDS = 600.0
_COMMON = (
    Argument("image", (str,)),
    Argument("image_pull_policy", (str,)),
    Argument("image_pull_secrets", (list,), default=[]),
    Argument("env", (dict,), default={}),
    Argument("env_from", (list,), default=[]),
    Argument("config_maps", (list,), default=[]),
    Argument("secrets", (list,), default=[]),
    Argument("resources", (dict,), default={}),
    Argument("volumes", (list,), default=[]),
    Argument("volume_mounts", (list,), default=[]),
    Argument("init_containers", (list,), default=[]),
    Argument("sidecars", (list,), default=[]),
    Argument("service_account", (str,)),
    Argument("security_context", (dict,), default={}),
    Argument("node_selector", (dict,), default={}),
    Argument("tolerations", (list,), default=[]),
    Argument("affinity", (dict,), default={}),
    Argument("priority_class", (str,)),
    Argument("runtime_class", (str,)),
    Argument("active_deadline_seconds", (int,)),
    Argument("labels", (dict,), default={}),
    Argument("annotations", (dict,), default={}),
    Argument("cluster", (str,)),
    Argument("namespace", (str,)),
    Argument("on_finish", (str,), default="delete"),
    Argument("grace_seconds", (int,)),
    Argument("startup_timeout", (float,), default=STARTUP_SECONDS),
    Argument("on_oom", (dict,)),
    Argument("queue_timeout", (float,), default=QUEUE_SECONDS),
    Argument("template", (str, dict)),
)
ARGUMENTS = (_COMMON[0], Argument("command", (list,)), Argument("arguments", (list,)), *_COMMON[1:])
"""Of operator `pod`."""
SETTINGS = (*_COMMON, Argument("connections", (list,), default=[]))
"""Of the key `pod` in the args of another operator, which decides itself what runs."""
_SHORT_FORMS: dict[str, Any] = {"secrets": [], "config_maps": []}
"""Left out where names are checked: the volumes made of them are ours."""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What one task asks for. Times are seconds."""

    cluster: str | None = None
    """The configured cluster it names; None: the one it was enqueued for."""
    namespace: str | None = None
    """None: the cluster's namespace for tasks."""
    on_finish: str = "delete"
    """`delete`, `keep` or `keep_on_failure`: what becomes of the pod after its verdict."""
    startup_timeout: float = STARTUP_SECONDS
    """How long the main container may take to start, once no scheduling gate holds the pod."""
    queue_timeout: float = QUEUE_SECONDS
    """How long a quota, a webhook and scheduling gates may hold the pod before that."""
    on_oom: MoreMemory | None = None
    """How its memory grows after it ran out; None: as the launcher's defaults say."""
    connections: Sequence[str] = ()
    """Named connections that another operator's pod needs beside the one in its argument `connection`."""
    wanted: Pod = field(default_factory=dict)
    """What the arguments say, as part of a manifest."""
    template: Pod = field(default_factory=dict)
    """The manifest under it; empty if there is none."""


def check_pod(args: dict[str, Any]) -> None:
    """InvalidTask if the args of operator `pod` can never work. A template in a file is read later, by the launcher."""
    check_arguments("pod", ARGUMENTS, args)
    _check(args)
    if not args.get("image") and not args.get("template"):
        raise InvalidTask("Operator 'pod' needs the argument 'image', or a 'template' that names one.")


def split_pod_settings(args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The args of an operator that is placed in a pod, without their key `pod`; and the settings that stand under it."""
    if not isinstance(args, dict) or args.get(SETTINGS_KEY) is None:
        settings: dict[str, Any] = {}
    else:
        settings = args[SETTINGS_KEY]
    rest = {key: value for key, value in args.items() if key != SETTINGS_KEY} if isinstance(args, dict) else args
    return rest, settings


def check_settings(settings: dict[str, Any]) -> None:
    """InvalidTask if the settings of another operator's pod can never work."""
    if not isinstance(settings, dict):
        raise InvalidTask(f"The settings under 'pod' must be an object, not {word_for(settings)}.")
    for name in ("command", "arguments"):
        if name in settings:
            raise InvalidTask(f"The settings under 'pod' have no '{name}': what runs is the task's operator.")
    check_arguments("pod", SETTINGS, settings)
    _check(settings)


def read_pod(args: dict[str, Any], *, source: Path | None = None) -> PodRequest:
    """The request in the args of operator `pod`. `source`: the source folder, resolved. InvalidTask as in `check_pod`."""
    check_pod(args)
    return _request(with_defaults(ARGUMENTS, args), source)


def read_settings(settings: dict[str, Any], *, source: Path | None = None) -> PodRequest:
    """The request in the settings of another operator's pod. InvalidTask as in `check_settings`."""
    check_settings(settings)
    return _request(with_defaults(SETTINGS, settings), source)


def _check(given: dict[str, Any]) -> None:
    check_shapes(given)
    if given.get("template") is not None:
        check_template(given["template"])
    if given.get("on_oom") is not None and any(memory_of(given.get("resources") or {})):
        check_memory(read_more_memory(given["on_oom"]), given["resources"])


def _request(given: dict[str, Any], source: Path | None) -> PodRequest:
    for refusal in reserved(as_pod(given | _SHORT_FORMS)["spec"]):
        raise InvalidTask(refusal)
    return PodRequest(
        cluster=given["cluster"],
        namespace=given["namespace"],
        on_finish=given["on_finish"],
        startup_timeout=float(given["startup_timeout"]),
        on_oom=None if given["on_oom"] is None else read_more_memory(given["on_oom"]),
        queue_timeout=float(given["queue_timeout"]),
        connections=tuple(given.get("connections", ())),
        wanted=as_pod(given),
        template={} if given["template"] is None else read_template(given["template"], source),
    )
