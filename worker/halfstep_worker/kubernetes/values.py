"""What passes between the parts of a launcher. Plain values; pods are dictionaries as the API's JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose pod it is."""

    installation: str
    attempt_id: str
    task_id: int
    attempt: int
    queue: str
    operator: str
    function: str | None = None
    """Of operator `python`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the task's, those that its pod gets."""


# -- what a create call can come to


@dataclass(frozen=True, slots=True)
class Created:
    """The API server has the pod: it was made now, or it was there (409 AlreadyExists of our own name).

    beside: what the create of the ConfigMap that it reads came to, if that is not there.
    """

    uid: str
    existed: bool = False
    beside: Refused | TryLater | Unavailable | Taken | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It can never be made like this (400, 403 of a policy, 413, 422). `message` is a sentence for people."""

    message: str
    reason: str = "refused"
    """`quota`: more than the quota allows in all."""


@dataclass(frozen=True, slots=True)
class TryLater:
    """Not now (429, quota 403 or 409, 5xx, connection refused): nothing was made, or we can't know.

    unknown: the request may have been taken (time-out, lost reply); the pod may exist.
    held: `quota` or `webhook`, where that is what it waits for; `queue_timeout` ends such a wait.
    """

    message: str
    delay: float
    unknown: bool = False
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing is made there for us now, whatever is asked for: our access is refused, the namespace is away.

    No fault of the task's. unknown: something of it was made already.
    """

    message: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """Another object has the name. `message` is a sentence for people, `found` the object."""

    message: str
    found: Pod


CreateOutcome = Created | Refused | TryLater | Unavailable | Taken


# -- what a watch says


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod as it is now. `cluster` and `namespace` say where."""

    cluster: str
    namespace: str
    pod: Pod


@dataclass(frozen=True, slots=True)
class PodGone:
    """The object does not exist any more. `pod` is the last that was seen of it."""

    cluster: str
    namespace: str
    pod: Pod


@dataclass(frozen=True, slots=True)
class Listed:
    """A full list has just been delivered: whatever was there when it `began` (monotonic) and is not in `names` is gone."""

    cluster: str
    namespace: str
    names: frozenset[str] = field(default_factory=frozenset)
    began: float = field(default=0.0, compare=False)


WatchEvent = PodSeen | PodGone | Listed
