"""A launcher as a real process beside a fake cluster, and tasks whose args are JSON text as only PostgreSQL may have read it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from halfstep.database import Database
from halfstep.reports import Report, Reports
from kubernetes_fake import FakeCluster
from kubernetes_node import CASE, Node
from waiting import wait_until

NAMESPACE = "tasks"
OVER = ("succeeded", "failed", "cancelled")
INNOCENT = '{"image": "x"}'


def marked(case: str, **args: Any) -> str:
    """The args of a pod that follows the script of that name."""
    return json.dumps({"image": "x", "annotations": {CASE: case}} | args)


class Ground:
    """One database, one fake cluster with a node, and the launchers that a test starts there. Close it at the end."""

    def __init__(self, url: str, folder: Path, **pods: Any) -> None:
        """pods: keys under `pods` in the clusters file."""
        self.url, self.folder = url, folder
        self.database = Database(url)
        self.reports = Reports(self.database)
        self.fake = FakeCluster()
        self.node = Node(self.fake, namespace=NAMESPACE)
        self.node.start()
        self.source = folder / "source"
        self.source.mkdir()
        self.log = folder / "launchers.log"
        self._clusters = folder / "clusters.yaml"
        self._clusters.write_text(
            json.dumps(
                {
                    "default": {
                        "kubeconfig": self.fake.kubeconfig(folder),
                        "namespace": NAMESPACE,
                        "pods": {"image": "runtime"} | pods,
                    }
                }
            )
        )
        self.launchers: list[subprocess.Popen[bytes]] = []

    def launch(self, **settings: Any) -> subprocess.Popen[bytes]:
        """One more launcher."""
        given = {"database_url": self.url, "slots": 500, "lease_seconds": 1.5, "renew_seconds": 0.3, "poll_seconds": 0.3}
        given |= {"clusters": str(self._clusters), "name": f"launcher-{len(self.launchers)}", "source": str(self.source)}
        environment = {"HALFSTEP_TEST_SETTINGS": json.dumps(given | settings), "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.log.open("ab") as out:
            command = [sys.executable, str(Path(__file__).parents[1] / "run_launcher.py")]
            self.launchers.append(subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out))
        return self.launchers[-1]

    def enqueue(self, *tasks: tuple[str, str], **options: Any) -> list[int]:
        """(operator, args as JSON text), all in one transaction, so that one claim takes them all.

        The args are written past the door, which refuses some of them: rows of earlier versions may hold what it refuses now.
        """
        told = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in options.items())
        many = ", ".join(f'{{"operator": "{operator}", "placement": "pod", "args": {{}}{told}}}' for operator, _ in tasks)
        with self.database.transaction():
            row = self.database.execute("SELECT halfstep.enqueue_many(CAST(%(tasks)s AS jsonb)) AS ids", {"tasks": f"[{many}]"})[
                0
            ]
            for id, (_, args) in zip(row["ids"], tasks, strict=True):
                sql = "UPDATE halfstep.task SET args = CAST(%(args)s AS jsonb) WHERE id = %(id)s"
                self.database.execute(sql, {"args": args, "id": id})
        return list(row["ids"])

    def state(self, task: int) -> str:
        """Where it is."""
        return self.reports.states([task])[task]

    def ended(self, task: int, *, seconds: float = 30) -> Report:
        """Waits for its end."""
        wait_until(
            lambda: self.state(task) in OVER, seconds=seconds, what=f"the end of task {task}; see {self.log.read_text()[-3000:]}"
        )
        return self.reports.show(task)

    def close(self) -> None:
        """Whatever still runs is killed."""
        for launcher in self.launchers:
            if launcher.poll() is None:
                launcher.send_signal(signal.SIGKILL)
                launcher.wait()
        self.node.stop()
        self.fake.close()
        self.database.close()
