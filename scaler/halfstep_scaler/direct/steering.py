"""Which number a Deployment should have: what the work needs, within what its ScaledObject allows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = Mapping[str, Any]

PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED_SCALE_OUT = "autoscaling.keda.sh/paused-scale-out"
PAUSED_SCALE_IN = "autoscaling.keda.sh/paused-scale-in"
OFF = frozenset({"0", "f", "F", "false", "False", "FALSE"})
"""What KEDA reads as "not paused"; any other value pauses."""
OURS = frozenset({"external", "external-push"})
MOST_REPLICAS = 100
"""KEDA's maximum where the ScaledObject names none."""


class Name(NamedTuple):
    """Of a ScaledObject."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse_name(text: str) -> Name:
    """NAMESPACE/NAME, as the settings have checked it."""
    namespace, _, name = text.partition("/")
    return Name(namespace, name)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the work of one ScaledObject needs, by one snapshot. Times are monotonic seconds.

    now: replicas, at this moment; 0 if there is nothing to do. steady: the most of a while, what KEDA is told.
    placement: of its workers, empty if its triggers disagree. triggers: how many ask.
    since: how long all of them have been watched. taken_at: when the database was asked.
    """

    now: int
    steady: int
    placement: str
    triggers: int
    since: float
    taken_at: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What a ScaledObject says. no_raise, no_lower: why its number is not ours to change; empty if it is."""

    uid: str
    deployment: str
    least: int
    most: int
    triggers: int
    no_raise: str = ""
    no_lower: str = ""

    def ceiling(self, wish: Wish) -> int:
        """What is wanted at once; never over the HPA's maximum, or the two would fight."""
        return 0 if self.no_raise else min(wish.now, self.most)

    def floor(self, wish: Wish) -> int:
        """What has to stay. The last one is KEDA's to take."""
        return max(1, self.least, min(max(wish.steady, wish.now), self.most))


def rules_of(found: Json) -> Rules:
    """Reads a ScaledObject as the API server has it."""
    spec, metadata = found["spec"], found["metadata"]
    triggers = spec.get("triggers") or []
    return Rules(
        uid=metadata["uid"],
        deployment=spec["scaleTargetRef"]["name"],
        least=spec.get("minReplicaCount") or 0,
        most=spec.get("maxReplicaCount") or MOST_REPLICAS,
        triggers=len(triggers),
        no_raise=_not_ours(found) or _paused(metadata, PAUSED_SCALE_OUT),
        no_lower=_not_ours(found) or _paused(metadata, PAUSED_SCALE_IN) or _contested(spec),
    )


def _not_ours(found: Json) -> str:
    spec, metadata = found["spec"], found["metadata"]
    target = spec["scaleTargetRef"]
    if metadata.get("deletionTimestamp"):
        return "it is being deleted."
    if target.get("kind", "Deployment") != "Deployment" or not target.get("apiVersion", "apps/v1").startswith("apps/"):
        return f"its target is a {target['kind']}; only Deployments are scaled directly."
    if (spec.get("advanced") or {}).get("scalingModifiers", {}).get("formula"):
        return "scalingModifiers make its number."
    if PAUSED_REPLICAS in (metadata.get("annotations") or {}):
        return f"it is paused (annotation {PAUSED_REPLICAS})."
    return _paused(metadata, PAUSED)


def _paused(metadata: Json, annotation: str) -> str:
    value = (metadata.get("annotations") or {}).get(annotation)
    return "" if value is None or value in OFF else f"it is paused (annotation {annotation})."


def _contested(spec: Json) -> str:
    """Who else could have a say in a lower number."""
    hpa = (spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    policy = ((hpa.get("behavior") or {}).get("scaleDown") or {}).get("selectPolicy")
    if policy != "Disabled":
        return "its HPA would still lower the number itself; set its scaleDown.selectPolicy to Disabled."
    others = {trigger["type"] for trigger in spec.get("triggers") or []} - OURS
    return f"it has other triggers ({', '.join(sorted(others))}), and what they want is not known here." if others else ""
