"""Launchers as real processes, and a watch of the tests' own that counts every pod object there ever was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from cluster.kube import Cluster


class LauncherProcess:
    """`halfstep worker --placement pod`."""

    def __init__(
        self, url: str, clusters: Path, log: Path, name: str, *, policy: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        words = ["worker", "--placement", "pod", "--clusters", str(clusters), "--name", name]
        words += ["--policy", str(policy)] if policy else []
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "halfstep_cli.main", *words],
                env=os.environ
                | {"HALFSTEP_DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)}
                | dict(environment or {}),
                stdout=out,
                stderr=out,
            )

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self, *, seconds: float = 30) -> int:
        """Drain, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


class Witness:
    """Counts the pod objects of a namespace by attempt, from a watch that has nothing to do with the launcher's."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.uids: dict[str, set[str]] = {}
        self.names: dict[str, set[str]] = {}
        """The uids of the objects by their names, labels or not."""
        self._cluster, self._namespace = cluster, namespace
        self._version = cluster.core.list_namespaced_pod(namespace).metadata.resource_version
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        """A stream that breaks goes on where it was, so that no pod is missed."""
        while not self._stopped.is_set():
            with suppress(ApiException, HTTPError):
                self._follow()
            self._stopped.wait(0.05)

    def _follow(self) -> None:
        stream = Watch().stream(
            self._cluster.core.list_namespaced_pod, self._namespace, resource_version=self._version, timeout_seconds=60
        )  # fmt: skip
        for event in stream:
            meta: Any = event["object"].metadata
            self._version = meta.resource_version
            self.names.setdefault(meta.name, set()).add(meta.uid)
            attempt = (meta.labels or {}).get("halfstep.io/attempt")
            if attempt:
                self.uids.setdefault(attempt, set()).add(meta.uid)

    def pods_by_attempt(self) -> Counter[int]:
        """How many attempts had how many pods."""
        return Counter(len(uids) for uids in self.uids.values())

    def stop(self) -> None:
        """The thread ends with its stream; it is a daemon."""
        self._stopped.set()
