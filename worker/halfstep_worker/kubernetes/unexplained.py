"""Pods with this installation's label that no flight of ours explains: garbage perhaps, or another launcher's, or strangers.

SQL is asked about those alone that have a launcher's name; the others carry our labels because somebody has put them there.
A stranger is never judged and never deleted. It is named in the log, once, and in `halfstep pods --strangers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from halfstep.events import emit
from halfstep.pods import Doubt, Stranger, Strangers
from halfstep.visible import visible_line
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.identity import attempt_of, is_held, is_marked, is_of_an_older_launcher, name_of, uid_of
from halfstep_worker.kubernetes.names import KEEP
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import meta
from halfstep_worker.kubernetes.values import PodSeen

MOST_BARE = 200
"""So many pods without our label are asked about at a time."""
MOST_TOLD = 200
"""So many strangers stand in SQL."""
MOST_NAMED = 10
"""So many are named in the log at a time; of the others it says how many they are."""
MOST_REMEMBERED = 10_000
"""So many that are not there any more are known to have been named."""
TELL_SECONDS = 5.0
AGAIN_SECONDS = 600.0
"""After so long without a change SQL is told that they are still there."""
NAME_BYTES = 300

NO_NAME = "Its name is not one that launchers give: it is a copy of a pod, or somebody has put our labels on it."
WHYS = {
    "foreign": "It has the name of an attempt's pod, but it is not the one that a launcher made for that attempt.",
    "unknown": "It has the name of an attempt's pod, but this database knows no such attempt, and no launcher made it.",
}


class Unexplained:
    """By namespace and name, as a watch tells them."""

    def __init__(self, cluster: str, installation: str) -> None:
        self._cluster = cluster
        self._installation = installation
        self._seen: dict[tuple[str, str], PodSeen] = {}
        self._keys: dict[str, tuple[str, str]] = {}  # by uid
        self._bare: dict[str, PodSeen] = {}  # by uid
        self._asked: dict[str, PodSeen] = {}  # those of them that SQL was asked about last
        self._whys: dict[str, str] = {}  # strangers, by uid
        self._named: dict[str, None] = {}
        self._namespaces: set[str] = set()
        self._changed = False
        self._tell_at = 0.0
        self._told_at = 0.0

    def see(self, event: PodSeen) -> None:
        """It is there."""
        uid, key = uid_of(event.pod), (event.namespace, name_of(event.pod))
        if not uid:
            return  # it is no object
        before = self._seen.get(key)
        if before is not None and uid_of(before.pod) != uid:
            self._forget(uid_of(before.pod))
        self._seen[key], self._keys[uid] = event, key
        if attempt_of(event.pod) is None:
            self._call_stranger(uid, NO_NAME)

    def see_bare(self, events: Iterable[PodSeen]) -> None:
        """They have a launcher's name and our finalizer, but not our label. They are asked about once."""
        for event in events:
            if len(self._bare) < MOST_BARE:
                self._bare[uid_of(event.pod)] = event

    def gone(self, namespace: str, name: str) -> None:
        """It is not there any more, or not ours to look at."""
        if (seen := self._seen.pop((namespace, name), None)) is not None:
            self._forget(uid_of(seen.pod))

    def _forget(self, uid: str) -> None:
        self._keys.pop(uid, None)
        self._changed = self._whys.pop(uid, None) is not None or self._changed

    def named(self, namespace: str, name: str) -> PodSeen | None:
        """The pod of that name."""
        return self._seen.get((namespace, name))

    def bare(self, uid: str) -> PodSeen | None:
        """The pod of that uid, if it had no label of ours when it was seen; by now it may be otherwise."""
        return self._asked.pop(uid, None)

    def with_uid(self, uid: str) -> PodSeen | None:
        """The pod of that uid."""
        key = self._keys.get(uid)
        return None if key is None else self._seen.get(key)

    # -- what they are

    def doubts(self) -> list[Doubt]:
        """About which SQL is to be asked: not strangers, nor what was left on purpose (so labelled, without our finalizer)."""
        unasked = [self._seen[key] for uid, key in self._keys.items() if uid not in self._whys]
        there = [self._doubt(seen) for seen in unasked if not _is_left(seen)]
        if self._bare:
            self._asked, self._bare = self._bare, {}
            there += [self._doubt(seen)._replace(twin=False) for seen in self._asked.values()]
        return there

    def _doubt(self, seen: PodSeen) -> Doubt:
        pod, installation = seen.pod, self._installation
        marked = is_marked(pod, installation)
        return Doubt(
            attempt_of(pod) or "", uid_of(pod), seen.namespace,
            marked=marked, older=is_of_an_older_launcher(pod, installation), twin=marked and is_held(pod),
        )  # fmt: skip

    def call_strangers(self, words: Mapping[str, str]) -> None:
        """What SQL says, by uid: `foreign` or `unknown`."""
        for uid, word in words.items():
            if uid in self._keys:
                self._call_stranger(uid, WHYS[word])

    def _call_stranger(self, uid: str, why: str) -> None:
        if uid not in self._whys:
            self._whys[uid] = why
            self._changed = True

    # -- what is told of them

    def listed(self, namespace: str) -> None:
        """All that is in the namespace has been told."""
        if namespace not in self._namespaces:
            self._namespaces.add(namespace)
            self._changed = True

    def report(self, now: float) -> Strangers | None:
        """For SQL, where something has changed; None: nothing to say now. The log gets those that it does not know yet."""
        due = self._changed or (bool(self._whys) and now - self._told_at > AGAIN_SECONDS)
        if not due or not self._namespaces or now < self._tell_at:
            return None
        self._changed, self._tell_at, self._told_at = False, now + TELL_SECONDS, now
        self._name([uid for uid in self._whys if uid not in self._named])
        told = [self._stranger(uid) for uid in islice(self._whys, MOST_TOLD)]
        return Strangers(self._cluster, sorted(self._namespaces), told)

    def _stranger(self, uid: str) -> Stranger:
        seen = self._seen[self._keys[uid]]
        return Stranger(seen.namespace, plain(name_of(seen.pod), NAME_BYTES), uid, self._whys[uid])

    def _name(self, strange: list[str]) -> None:
        """Once, also those that come and go. Of the oldest nobody remembers that they were named."""
        for one in map(self._stranger, strange[:MOST_NAMED]):
            emit("pod.stranger", namespace=one.namespace, name=visible_line(one.name), why=one.why)
        if strange[MOST_NAMED:]:
            emit("pod.strangers", count=len(strange) - MOST_NAMED)
        self._named |= dict.fromkeys(strange)
        for uid in list(islice(self._named, max(0, len(self._named) - MOST_REMEMBERED - len(self._whys)))):
            del self._named[uid]


def _is_left(seen: PodSeen) -> bool:
    return inside(meta(seen.pod), "labels").get(KEEP) == "true" and not is_held(seen.pod)
