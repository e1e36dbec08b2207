"""The node of a fake cluster: it runs nothing, and says of every pod what the test wants said, as a kubelet would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from halfstep_worker.kubernetes.reading import OVER, phase
from kubernetes_fake import FakeCluster
from kubernetes_store import Expired
from pod_builders import finished, never_begun

CASE = "example.com/case"
"""Annotation: which of the scripts a pod follows."""
Edit = Callable[[dict[str, Any]], None]


def saying(there: dict[str, Any]) -> Edit:
    """The pod's status becomes that of this one."""
    return lambda pod: pod.update(status=there["status"])


class Node(threading.Thread):
    """Pods end at once, well, without a word; or after the script that is named in their annotation."""

    def __init__(self, fake: FakeCluster, *, namespace: str) -> None:
        super().__init__(name="node", daemon=True)
        self.scripts: dict[str, list[Edit]] = {}
        self._fake, self._namespace = fake, namespace
        self._ending = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        version = 0
        while not self._ending.is_set():
            with suppress(Expired):
                for event in self._fake.store.events(self._namespace, version, "", ends=time.monotonic() + 1.0):
                    version = int(event["object"]["metadata"]["resourceVersion"])
                    self._see(event["type"], event["object"])

    def stop(self) -> None:
        """Returns when it does nothing any more."""
        self._ending.set()
        self._fake.store.end_watches()
        self.join()

    def _see(self, kind: str, pod: dict[str, Any]) -> None:
        about = pod["metadata"]
        script = self.scripts.get((about.get("annotations") or {}).get(CASE, ""), [saying(finished())])
        if kind == "ADDED":
            self._play(about["name"], [lambda pod: pod["spec"].update(nodeName="node1"), *script])
        elif kind == "MODIFIED" and about.get("deletionTimestamp") and phase(pod) not in OVER:
            self._play(about["name"], [saying(never_begun() if phase(pod) == "Pending" else finished(143))])

    def _play(self, name: str, script: list[Edit]) -> None:
        for edit in script:
            with suppress(KeyError):
                self._fake.store.change(name, edit, namespace=self._namespace)
