"""What happens to the pods of one cluster and namespace: one list, one watch, one thread, however many pods there are."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from halfstep.events import emit
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.streams import Stream
from halfstep_worker.kubernetes.throttle import backed_off
from halfstep_worker.kubernetes.values import Listed, Pod, PodGone, PodSeen, WatchEvent
from halfstep_worker.progress import Part

STALE = (400, 404, 410, 504)
"""Answers to a watch that doubt its version (410: too old; 504: from the future, the server was restored): list again."""
LASTED_SECONDS = 5.0
"""A list and watch that held so long before it broke begins the back-off afresh."""
TURN_SECONDS = 240.0
"""Longer than a silent stream with its slack, and one page of a list."""
TOLD_AFTER = 3
"""Failures in a row after which the log says so: single ones are everyday."""


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Seconds. A stream lasts from `shortest` to `longest`, by chance, so that watches do not end together."""

    shortest: float = 60.0
    longest: float = 90.0
    slack: float = 5.0
    """So long after a stream's end without a byte it counts as broken: the server, or something between, is frozen."""
    mute: float = 300.0
    """After so long without a list, a whole stream without a single word means a new one."""
    retry_first: float = 0.1
    retry_cap: float = 30.0


class PodWatch(threading.Thread):
    """Keeps what `trim` leaves of each pod, and tells every change through `tell`, from its own thread only.

    selector: of labels. trim: a pod in, what is to be remembered out (with metadata.name); it may change its argument. What is
    told must not be changed: it is the same object that the watch keeps. If `tell` or `trim` raises, everything is listed again.
    """

    def __init__(
        self, api: ClusterApi, *, namespace: str, selector: str, trim: Callable[[Pod], Pod],
        tell: Callable[[WatchEvent], None], times: WatchTimes | None = None, part: Part | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name=f"watch {api.name}/{namespace}", daemon=True)
        self._api, self._namespace, self._selector = api, namespace, selector
        self._trim, self._tell = trim, tell
        self._times = times or WatchTimes()
        self._part = part or Part(self.name, bound=TURN_SECONDS)
        self._pods: dict[str, Pod] = {}  # written by this thread only
        self._version: str | None = None
        self._stream: Stream | None = None
        self._failures = 0
        self._heard = False
        self._began = 0.0
        self._ending = threading.Event()
        self._doubt = threading.Event()
        self.last_heard = time.monotonic()
        """When the server last told anything, bookmarks included. Monotonic."""
        self.list_began = 0.0
        """When the list that `Listed` speaks of was asked for: a pod created later may be missing in it. Monotonic."""
        self.trouble: str | None = None
        """Why nothing is heard at the moment."""
        self.restarts: Counter[str] = Counter()
        """Streams that ended, by reason: ended, stale, error, away."""

    @property
    def namespace(self) -> str:
        """What it watches."""
        return self._namespace

    def pod(self, name: str) -> Pod | None:
        """The pod as last seen. From any thread."""
        return self._pods.get(name)

    def __len__(self) -> int:
        return len(self._pods)

    def request_relist(self) -> None:
        """Something does not add up: list everything again soon. From any thread; many requests make one list."""
        self._doubt.set()
        self._close_stream()

    def stop(self) -> None:
        """Returns when the thread has ended: at once, or at the end of a list or connect that is under way. Twice is fine."""
        self._ending.set()
        self._close_stream()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        """Lists and watches until `stop`."""
        try:
            while not self._ending.is_set():
                pause = self._turn()
                if pause > 0:
                    self._part.rests()
                    self._ending.wait(pause)
        except BaseException as error:
            self._part.fell(error)
            emit("part.fell", part=self.name, error=error)
            raise

    def _turn(self) -> float:
        self._part.turned()
        self._heard = False
        self._began = time.monotonic()
        knew = False
        try:
            if self._version is None or self._doubt.is_set():
                self._list()
            knew = True
            self._follow()
        except ApiError as error:
            return self._failed(error, "away" if not error.status else "stale" if knew and self._version is None else "error")
        except Exception as error:  # a bug in the launcher, or an answer that is no pod: never the end of the watch
            self._version = None
            return self._failed(ApiError(f"{type(error).__name__}: {error}"), "error")
        return self._ended(time.monotonic() - self._began)

    def _ended(self, lasted: float) -> float:
        """The server ended the stream. If it had nothing to say, not even a bookmark, there may be nothing; or its pods are no
        longer the ones of our version (it hangs, or was restored from a copy), which no error would ever tell.
        """
        self.trouble = None
        self.restarts["ended"] += 1
        whole = lasted >= self._times.shortest
        if whole and not self._heard and time.monotonic() - self.list_began >= self._times.mute:
            self._version = None
        if not whole and not self._heard:
            return self._pause()
        self._failures = 0
        return 0.0

    def _list(self) -> None:
        self._doubt.clear()
        self._version = None
        self.list_began = time.monotonic()
        names: set[str] = set()
        page = self._api.list_pods(self._namespace, selector=self._selector)
        while True:
            names.update(self._see(pod) for pod in page.pods)
            self.last_heard = time.monotonic()
            self._part.turned()
            if not page.more or self._ending.is_set():
                break
            page = self._api.list_pods(self._namespace, selector=self._selector, page=page.more)
        if page.more:
            return
        for name in self._pods.keys() - names:
            self._forget(name, self._pods[name])
        self._tell(Listed(self._api.name, self._namespace, frozenset(names), self.list_began))
        self._version = page.version
        self.trouble = None

    def _follow(self) -> None:
        if self._version is None or self._ending.is_set():
            return
        seconds = random.uniform(self._times.shortest, self._times.longest)
        stream = self._open(self._version, seconds)
        self._stream = stream
        try:
            if not self._ending.is_set() and not self._doubt.is_set():  # set before the stream could be closed
                for event in stream.events():
                    self._note(event)
        finally:
            self._stream = None
            stream.release()

    def _open(self, version: str, seconds: float) -> Stream:
        try:
            return self._api.watch_pods(
                self._namespace, selector=self._selector, version=version, seconds=seconds, silence=seconds + self._times.slack
            )
        except ApiError as error:
            if error.status in STALE:
                self._version = None
            raise

    def _note(self, event: dict[str, Any]) -> None:
        kind, thing = event["type"], event["object"]
        if kind == "ERROR":
            self._version = None
            raise ApiError(f"The watch ended: {thing.get('message')}", status=int(thing.get("code") or 500))
        version = thing["metadata"]["resourceVersion"]
        if kind == "DELETED":
            last = _lean(self._trim(thing))
            self._forget(str(last["metadata"].get("name") or ""), last)
        elif kind != "BOOKMARK":
            self._see(thing)
        self._version = version
        self.last_heard = time.monotonic()
        self._part.turned()
        self._heard = True
        self.trouble = None

    def _see(self, pod: Pod) -> str:
        kept: Pod = _lean(self._trim(pod))
        name = str(kept["metadata"].get("name") or "")
        if not name:
            return name  # it is no pod
        self._pods[name] = kept
        self._tell(PodSeen(self._api.name, self._namespace, kept))
        return name

    def _forget(self, name: str, last: Pod) -> None:
        self._tell(PodGone(self._api.name, self._namespace, last))
        self._pods.pop(name, None)

    def _failed(self, error: ApiError, reason: str) -> float:
        self.restarts[reason] += 1
        self.trouble = str(error)
        if time.monotonic() - self._began >= LASTED_SECONDS:
            self._failures = 0
        pause = max(self._pause(), error.retry_after or 0.0)
        if self._failures == TOLD_AFTER:
            emit("cluster.away", cluster=self._api.name, error=error)
        return pause

    def _pause(self) -> float:
        self._failures += 1
        times = self._times
        return backed_off(self._failures, first=times.retry_first, cap=times.retry_cap, luck=random.random())

    def _close_stream(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.close()


def _lean(value: Any) -> Any:
    """The same value with shared keys: each event brings its own copies of them, which is most of a trimmed pod."""
    if isinstance(value, dict):
        return {sys.intern(key): _lean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_lean(item) for item in value]
    return value
