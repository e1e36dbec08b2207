"""What a launcher puts into the pods of one cluster beside what their tasks ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from halfstep_worker.kubernetes.more_memory import MoreMemory


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of a Kubernetes Secret, by name. The launcher never reads it."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class PodDefaults:
    """The launcher's own part. From `image` to `source_volume` it is the runtime's, and not for pods of operator `pod`."""

    namespace: str = "halfstep-tasks"
    """Where pods are made that name no namespace."""
    image: str | None = None
    """The runtime's image. None: such tasks must name one."""
    image_pull_policy: str | None = None
    """Of the runtime's image."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets for pulling the runtime's image."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables, such as HALFSTEP_IMPORT and HALFSTEP_ALLOW. No secrets: whoever may read pods can read them."""
    connections: Mapping[str, SecretKey] = field(default_factory=dict)
    """Where the URL of each named connection stands."""
    source: str | None = None
    """The source folder in the pod."""
    source_volume: Mapping[str, Any] = field(default_factory=dict)
    """The volume mounted there, without its name; empty: the folder is in the image."""
    under: Mapping[str, Any] = field(default_factory=dict)
    """Laid under what each task asks for: part of a manifest (launcher_defaults.py)."""
    on_oom: MoreMemory | None = None
    """How memory grows in pods whose tasks say nothing of that."""
    task_labels: tuple[str, ...] = ()
    """The labels of tasks that their pods get, too."""
