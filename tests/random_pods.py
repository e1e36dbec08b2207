"""Pods as no API server should send them: fields missing, of other types, huge or deep. By a seed, so as to be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from pod_builders import finished, never_begun, pending, pod

Json = Any

SOUND = (pod, finished, pending, never_begun)
HUGE = 200_000
DEEP = 60


def odd(luck: random.Random) -> Json:
    """A value that nobody expects there."""
    deep: Json = "x"
    for _ in range(luck.randrange(DEEP)):
        deep = [deep] if luck.random() < 0.5 else {"spec": deep}
    return luck.choice([
        None, True, 0, -1, 2**70, 1e308, float(luck.randrange(10**9)), "", "\0", "\ud800", "\u202e", "null", "2026-13-45T99:99Z",
        "9" * luck.randrange(1, 400), "x" * luck.randrange(HUGE), [], {}, [None], [[]], {"": None}, {"name": []}, deep,
        [{"name": "main", "state": {"terminated": {"exitCode": luck.randrange(-300, 300)}}}] * luck.randrange(50),
    ])  # fmt: skip


def bend(value: Json, luck: random.Random, share: float = 0.04) -> Json:
    """The same with some of its parts replaced, dropped or doubled."""
    if luck.random() < share:
        return odd(luck)
    if isinstance(value, dict):
        kept = {key: bend(item, luck, share) for key, item in value.items() if luck.random() > share}
        return kept | ({str(odd(luck))[:100]: odd(luck)} if luck.random() < share else {})
    if isinstance(value, list):
        return [bend(item, luck, share) for item in value for _ in range(luck.choice([1, 1, 1, 1, 1, 1, 0, 2]))]
    return value


def bent_pod(luck: random.Random, *, installation: str, attempts: Sequence[str]) -> Json:
    """Some carry the labels and the name of an attempt's pod, which is what brings them before a launcher's verdict."""
    made = deepcopy(luck.choice(SOUND)())
    attempt = luck.choice([*attempts, "", "not-an-id", "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"])
    labels = {"halfstep.io/installation": installation, "halfstep.io/attempt": attempt}
    made["metadata"] |= {"name": f"hs-{attempt}", "labels": labels, "uid": luck.choice(["u-1", made["metadata"]["uid"]])}
    return bend(made, luck)
