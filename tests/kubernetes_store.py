"""The objects of the fake API server: versions, finalizers, pages and watch events, as the real one has them."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"


class Conflict(Exception):
    """409."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Invalid(Exception):
    """422."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Expired(Exception):
    """410."""


def status(code: int, reason: str, message: str, causes: tuple[tuple[str, str], ...] = ()) -> Json:
    """A Status object."""
    told = [{"field": field, "message": text} for field, text in causes]
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": {"causes": told},
    }  # fmt: skip


class PodStore:
    """Thread-safe. Tests change pods by `put`, `change` and `remove`; the fake server by the rest.

    A watch tells what the real one's does: an object that leaves the selector is DELETED there, as it was before, with the
    new version; one that enters it is ADDED.
    """

    def __init__(self) -> None:
        self.version = 100
        self._oldest = 0
        self._ended = 0
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._events: list[tuple[int, str, str, Json, Json | None]] = []
        self._said: list[Json] = []
        self._before: dict[tuple[str, str], Json] = {}
        self._pages: dict[str, tuple[list[Json], int]] = {}
        self._changed = threading.Condition()

    # -- what tests do

    def put(self, name: str, *, namespace: str = "jobs", **more: Any) -> Json:
        """A pod appears. more: labels, or top-level fields such as spec and status."""
        labels = more.pop("labels", {"halfstep.io/installation": "i"})
        return self.create(namespace, "pods", {"metadata": {"name": name, "labels": labels}} | more)

    def change(self, name: str, edit: Callable[[Json], None], *, namespace: str = "jobs") -> None:
        """The pod changes."""
        with self._changed:
            edit(self._objects[namespace, "pods", name])
            self._tell("MODIFIED", namespace, self._objects[namespace, "pods", name])

    def remove(self, name: str, *, namespace: str = "jobs") -> None:
        """The pod is gone, whatever its finalizers."""
        with self._changed:
            self._tell("DELETED", namespace, self._objects.pop((namespace, "pods", name)))

    def say(self, name: str, reason: str, message: str, *, type: str = "Warning", at: str = NOW, namespace: str = "jobs") -> None:
        """An event about the pod, as a kubelet, a scheduler or a controller records it."""
        with self._changed:
            pod = self._objects[namespace, "pods", name]
            about = {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]}
            event = {"type": type, "reason": reason, "message": message, "involvedObject": about}
            self._said.append(event | {"firstTimestamp": at, "lastTimestamp": at, "count": 1})

    def say_of_pods(self, kind: Any, thing: Any, *, namespace: str = "jobs") -> None:
        """All watches of the namespace that select are told that, whatever it is; the store knows nothing of it."""
        with self._changed:
            self.version += 1
            if isinstance(thing, dict) and isinstance(thing.get("metadata"), dict):
                thing["metadata"]["resourceVersion"] = str(self.version)
            self._events.append((self.version, "SAID", namespace, {"type": kind, "object": thing}, None))
            self._changed.notify_all()

    def bookmark(self) -> None:
        """All watches get one."""
        with self._changed:
            self._tell("BOOKMARK", "", {"kind": "Pod", "metadata": {}})

    def expire(self) -> None:
        """What happened so far can't be watched any more, and lists that are being paged through end in 410."""
        with self._changed:
            self._oldest = self.version
            self._pages.clear()

    def end_watches(self) -> None:
        """The open watches end, as they do every minute or so."""
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """At the end of the test."""
        self.end_watches()

    # -- what the server does

    def create(self, namespace: str, kind: str, given: Json) -> Json:
        """201, or Conflict."""
        with self._changed:
            made = copy.deepcopy(given)
            name = made["metadata"]["name"]
            if (namespace, kind, name) in self._objects:
                raise Conflict("AlreadyExists", f'{kind} "{name}" already exists')
            made["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": namespace, "creationTimestamp": NOW}
            self._objects[namespace, kind, name] = made
            self._tell("ADDED" if kind == "pods" else "OTHER", namespace, made)
            return copy.deepcopy(made)

    def get(self, namespace: str, kind: str, name: str) -> Json:
        """200, or KeyError."""
        with self._changed:
            if (namespace, kind, name) not in self._objects:
                raise KeyError(name)
            return copy.deepcopy(self._objects[namespace, kind, name])

    def delete(self, namespace: str, name: str, options: Json) -> Json:
        """A pod with finalizers stays, with a deletionTimestamp."""
        with self._changed:
            pod = self._pod(namespace, name, (options.get("preconditions") or {}).get("uid"))
            if pod["metadata"].get("finalizers"):
                grace = options.get("gracePeriodSeconds")
                known = {"deletionTimestamp": NOW, "deletionGracePeriodSeconds": 30 if grace is None else grace}
                pod["metadata"] |= known
                self._tell("MODIFIED", namespace, pod)
            else:
                self.remove(name, namespace=namespace)
            return copy.deepcopy(pod)

    def patch(self, namespace: str, name: str, given: Json) -> Json:
        """A strategic merge patch of metadata and of plain fields of the spec.

        Null takes a label or annotation away, finalizers are added to those there.
        """
        with self._changed:
            about = given["metadata"]
            pod = self._pod(namespace, name, None)
            mine = pod["metadata"]
            if about.get("uid", mine["uid"]) != mine["uid"]:
                raise Invalid("metadata.uid", "field is immutable")
            before = mine.get("finalizers") or []
            gone = about.get("$deleteFromPrimitiveList/finalizers") or []
            pod.setdefault("spec", {}).update(given.get("spec") or {})
            if "finalizers" in about and about["finalizers"] is None:
                gone = before
            added = [word for word in about.get("finalizers") or [] if word not in before]
            if added and mine.get("deletionTimestamp"):
                raise Invalid("metadata.finalizers", "Forbidden: no new finalizers can be added if the object is being deleted")
            for key in ("labels", "annotations"):
                merged = {**(mine.get(key) or {}), **(about.get(key) or {})}
                mine[key] = {word: value for word, value in merged.items() if value is not None}
            mine["finalizers"] = [word for word in before if word not in gone] + added
            if mine.get("deletionTimestamp") and not mine["finalizers"]:
                self.remove(name, namespace=namespace)
            else:
                self._tell("MODIFIED", namespace, pod)
            return copy.deepcopy(pod)

    def page(self, namespace: str, query: dict[str, str]) -> Json:
        """One page of the list as it was at the first page; Expired if nobody knows any more."""
        with self._changed:
            token = query.get("continue")
            if token and token not in self._pages:
                raise Expired
            selected = query.get("labelSelector", "")
            rest, version = self._pages.pop(token) if token else (self._matching(namespace, selected), self.version)
            limit = int(query.get("limit") or 10**9)
            about: Json = {"resourceVersion": str(version)}
            if rest[limit:]:
                about["continue"] = str(uuid.uuid4())
                self._pages[about["continue"]] = rest[limit:], version
            return {"kind": "PodList", "metadata": about, "items": rest[:limit]}

    def said(self, query: dict[str, str]) -> list[Json]:
        """The events that a field selector of a uid finds."""
        uid = query["fieldSelector"].removeprefix("involvedObject.uid=")
        with self._changed:
            return [event for event in self._said if event["involvedObject"]["uid"] == uid][: int(query["limit"])]

    def check(self, version: int) -> int:
        """The version, if a watch can begin there; else Expired."""
        if version < self._oldest:
            raise Expired
        return version

    def events(self, namespace: str, version: int, selector: str, *, ends: float) -> Iterator[Json]:
        """Watch events after `version`; Expired when the test ends the watches."""
        with self._changed:
            ended, at = self._ended, 0
        while time.monotonic() < ends:
            with self._changed:
                if self._ended != ended:
                    raise Expired
                if at == len(self._events):
                    self._changed.wait(max(0.0, min(1.0, ends - time.monotonic())))
                fresh, at = self._events[at:], len(self._events)
            for number, kind, where, thing, before in fresh:
                if kind == "SAID":
                    if number > version and where == namespace and selector:
                        yield thing
                    continue
                if number <= version or (kind != "BOOKMARK" and (where != namespace or kind == "OTHER")):
                    continue
                if (told := _as_selected(kind, thing, before, selector)) is not None:
                    yield told

    def _pod(self, namespace: str, name: str, uid: str | None) -> Json:
        pod = self._objects.get((namespace, "pods", name))
        if pod is None:
            raise KeyError(name)
        if uid and uid != pod["metadata"]["uid"]:
            raise Conflict("Conflict", f"Precondition failed: UID in precondition: {uid}, UID in object meta: other")
        return pod

    def _matching(self, namespace: str, selector: str) -> list[Json]:
        here = [thing for (where, kind, _), thing in self._objects.items() if (where, kind) == (namespace, "pods")]
        return [copy.deepcopy(pod) for pod in here if _has(pod, selector)]

    def _tell(self, kind: str, namespace: str, thing: Json) -> None:
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        told, key = copy.deepcopy(thing), (namespace, str(thing["metadata"].get("uid")))
        self._events.append((self.version, kind, namespace, told, self._before.get(key)))
        self._before[key] = told
        self._changed.notify_all()


def _as_selected(kind: str, thing: Json, before: Json | None, selector: str) -> Json | None:
    """The event as a watch with that selector tells it; None: it tells nothing."""
    if kind == "BOOKMARK" or not selector:
        return {"type": kind, "object": thing}
    is_in, was_in = _has(thing, selector), before is not None and _has(before, selector)
    if kind != "MODIFIED" or is_in == was_in:
        return {"type": kind, "object": thing} if is_in else None
    if is_in:
        return {"type": "ADDED", "object": thing}
    assert before is not None
    about = before["metadata"] | {"resourceVersion": thing["metadata"]["resourceVersion"]}
    return {"type": "DELETED", "object": before | {"metadata": about}}


def _has(pod: Json, selector: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, _, value in (part.partition("=") for part in selector.split(",") if part))
