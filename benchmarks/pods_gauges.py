"""What bars of pods are measured with: a process as /proc shows it, the API server's own counters, a watch that keeps time."""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from benchmarks.pods_ground import Ground, pause
from halfstep.errors import HalfstepError
from halfstep_worker.kubernetes.connection import Connection, Request, load_configuration

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, as /proc shows it."""

    pid: int

    @property
    def memory_kib(self) -> int:
        """Resident."""
        return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())[0])

    @property
    def threads(self) -> int:
        """How many it has."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def share_of_a_core(self, seconds: float) -> float:
        """1.0: it kept one core busy for all of the next `seconds`."""
        before, begun = self._busy(), time.monotonic()
        pause(seconds)
        return (self._busy() - before) / (time.monotonic() - begun)

    def _busy(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def asked(here: Ground, label: str) -> float:
    """How many requests with that label the API server has answered since its start."""
    kubeconfig = str(here.cluster.kubeconfig)
    connection = Connection(lambda: load_configuration(kubeconfig=kubeconfig, context=None))
    answer = connection.call(Request("GET", "/metrics"), seconds=30).body.decode()
    lines = [line for line in answer.splitlines() if line.startswith("apiserver_request_total{") and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


class Sightings:
    """When a pod of each task was first seen, on time.monotonic(), by a watch that has nothing to do with the launcher's."""

    def __init__(self, here: Ground) -> None:
        self.moments: dict[int, float] = {}
        self.changed = threading.Condition()
        self._namespace = here.namespace
        self._core = here.cluster.core
        listed: Any = self._core.list_namespaced_pod(here.namespace)
        self._version = listed.metadata.resource_version
        self._stopped = False
        threading.Thread(target=self._run, daemon=True).start()

    def wait_for(self, id: int, seconds: float = 10.0) -> float:
        """When it was seen. HalfstepError if that takes longer."""
        with self.changed:
            if not self.changed.wait_for(lambda: id in self.moments, timeout=seconds):
                raise HalfstepError(f"Waited {seconds:.0f} s for the pod of task {id}.")
        return self.moments[id]

    def close(self) -> None:
        """The thread ends with its stream; it is a daemon."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            with suppress(ApiException, HTTPError):
                self._follow()

    def _follow(self) -> None:
        # The watch looks up in the function's documentation what to make of an event; as this has none, it stays plain JSON,
        # which takes so little time that seeing pods is not slower than making them.
        def pods(**options: Any) -> Any:
            return self._core.list_namespaced_pod(self._namespace, **options)

        watch: Any = Watch()  # type: ignore[no-untyped-call, unused-ignore]
        for event in watch.stream(pods, resource_version=self._version, timeout_seconds=60):
            meta = event["object"]["metadata"]
            self._version = meta["resourceVersion"]
            with self.changed:
                self.moments.setdefault(int(meta["labels"]["halfstep.io/task"]), time.monotonic())
                self.changed.notify_all()
