"""What a trigger's metadata says, checked as the untrusted input that it is: any namespace may point at a scaler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from halfstep.demand import Bounds
from halfstep.errors import InvalidSettings
from halfstep.names import check_queue_name
from halfstep.visible import visible_line
from halfstep_scaler.errors import InvalidReference

OF_KEDA = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile", "caCert", "tlsClientCert", "tlsClientKey"})
"""Keys that KEDA reads itself and passes on."""
KEYS = ("queues", "placement", "cluster", "slots", "podsPerLauncher", "policy", "targetWait", "maxReplicas", "minReplicas")
FROM_ENV = "FromEnv"
PLACEMENTS = ("worker", "pod")
POLICIES = ("backlog", "latency")
MOST_SENTENCES = 5
MOST_SHOWN = 40
"""Characters of a stranger's word."""
MOST_UNKNOWN = 3
UNSEEN = {"queues": "*", "maxReplicas": str(10_000), "targetWait": "1"}
"""What stands for a value that only KEDA can read, from a variable; of other keys the default."""
MOST_QUEUES = 100
MOST_REPLICAS = 10_000
MOST_SLOTS = 20_000
LONGEST_WAIT = 7 * 24 * 3600.0
_CLUSTER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,62})?")


@dataclass(frozen=True, slots=True)
class Target:
    """What one trigger wants scaled. queues None: all of them. bounds.slots: tasks at once, or pods kept, of one replica."""

    queues: frozenset[str] | None
    placement: str
    cluster: str
    bounds: Bounds
    target_wait: float | None = None
    """Seconds that the oldest task may wait (policy latency). None: policy backlog."""


def parse_metadata(metadata: Mapping[str, str]) -> Target:
    """The target. Raises InvalidReference with one sentence for each mistake, whatever the order of the keys."""
    sheet = _Sheet(metadata)
    placement = sheet.choice("placement", PLACEMENTS)
    slots = {"worker": sheet.number("slots", 2, 1, MOST_SLOTS), "pod": sheet.number("podsPerLauncher", 2000, 1, MOST_SLOTS)}
    target = Target(sheet.queues(), placement, sheet.cluster(), sheet.bounds(slots[placement]), sheet.target_wait())
    if mistakes := [*sheet.mistakes, *sheet.unknown()]:
        more = [f"And {len(mistakes) - MOST_SENTENCES} more mistakes."] if len(mistakes) > MOST_SENTENCES else []
        raise InvalidReference(" ".join(mistakes[:MOST_SENTENCES] + more))
    return target


def before_variables(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a ScaledObject, with something in the place of each value that KEDA reads from a variable."""
    unseen = {key: UNSEEN.get(key.removesuffix(FROM_ENV), "") for key in metadata if key.endswith(FROM_ENV)}
    return {**metadata, **unseen}


class _Sheet:
    """The metadata being read. Every reading returns something usable and notes what is wrong in `mistakes`."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self.mistakes: list[str] = []
        self._values: dict[str, str] = {}
        self._unknown: list[str] = []
        for key, value in sorted(metadata.items()):
            self._take(key, value.strip())

    def _take(self, key: str, value: str) -> None:
        # KEDA passes a key that ends in FromEnv as it stands, with the variable's value.
        name = key.removesuffix(FROM_ENV)
        if name in OF_KEDA:
            return
        if name not in KEYS:
            self._unknown.append(key)
        elif name in self._values:
            self.mistakes.append(f"{name} and {name}{FROM_ENV} are both given; leave one out.")
        else:
            self._values[name] = value

    def unknown(self) -> list[str]:
        """One sentence for all keys that nobody reads, if there are such."""
        if not self._unknown:
            return []
        named = ", ".join(map(_shown, self._unknown[:MOST_UNKNOWN]))
        more = f" and {len(self._unknown) - MOST_UNKNOWN} more" if len(self._unknown) > MOST_UNKNOWN else ""
        return [f"There is no metadata key {named}{more}; known are {', '.join(KEYS)}."]

    def queues(self) -> frozenset[str] | None:
        """Names between commas, or * for all."""
        names = frozenset(filter(None, (name.strip() for name in self._values.get("queues", "").split(","))))
        if not names:
            self.mistakes.append('queues is missing; name them ("etl,mail"), or all ("*").')
        if "*" in names:
            if len(names) > 1:
                self.mistakes.append('queues is either "*" or a list of names, not both.')
            return None
        if len(names) > MOST_QUEUES:
            self.mistakes.append(f"queues names {len(names)} queues; {MOST_QUEUES} is the most.")
            return frozenset()
        for name in sorted(names):
            self._check_queue(name)
        return names

    def choice(self, key: str, options: tuple[str, ...]) -> str:
        """One of the words; the first is the default."""
        value = self._values.get(key) or options[0]
        if value not in options:
            self.mistakes.append(f"{key} is {' or '.join(options)}, not {_shown(value)}.")
            return options[0]
        return value

    def number(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number."""
        text = self._values.get(key) or str(default)
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not least <= value <= most:
            self.mistakes.append(f"{key} is a whole number from {least} to {most}, not {_shown(text)}.")
            return default
        return value

    def cluster(self) -> str:
        """As the queue knows it: "" is the default one."""
        value = self._values.get("cluster", "")
        if not _CLUSTER.fullmatch(value):
            self.mistakes.append(f"cluster is the name of a cluster (1 to 63 letters, digits, . - _), not {_shown(value)}.")
        return "" if value == "default" else value

    def bounds(self, slots: int) -> Bounds:
        """Numbers of replicas."""
        most = self.number("maxReplicas", 100, 1, MOST_REPLICAS)
        least = self.number("minReplicas", 0, 0, MOST_REPLICAS)
        if least > most:
            self.mistakes.append(f"minReplicas ({least}) is over maxReplicas ({most}).")
        return Bounds(slots, least, most)

    def target_wait(self) -> float | None:
        """Seconds, for policy latency only."""
        if self.choice("policy", POLICIES) == "backlog":
            return None
        text = self._values.get("targetWait", "")
        value = _seconds(text)
        if value is None:
            self.mistakes.append(
                f"policy latency needs targetWait, in seconds over 0 and up to {LONGEST_WAIT:.0f}, not {_shown(text)}."
            )
        return value or 1.0

    def _check_queue(self, name: str) -> None:
        try:
            check_queue_name(name)
        except InvalidSettings:
            self.mistakes.append(f"{_shown(name)} is no name of a queue.")


def _seconds(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() and "_" not in text else 0.0  # as other languages read numbers
    except ValueError:
        return None
    return value if isfinite(value) and 0 < value <= LONGEST_WAIT else None


def _shown(value: str) -> str:
    """In quotes, its invisible characters as escapes, cut."""
    seen = visible_line(value[: MOST_SHOWN + 1])
    return f"'{seen if len(seen) <= MOST_SHOWN else seen[:MOST_SHOWN] + '…'}'"
