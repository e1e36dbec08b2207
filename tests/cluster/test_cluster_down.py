"""A cluster of our own leaves nothing behind, also when its starter was killed. It is a second one: the tests' own stays up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.harness.paths import group_of
from cluster.harness.requirements import missing_packages, unfit
from cluster.traces import Process, family, furniture, left_of
from waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

TESTS = Path(__file__).parents[1]


class SecondCluster:
    """Its commands, as another process runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {"HALFSTEP_CLUSTER_FOLDER": str(folder), "PYTHONPATH": str(TESTS)}
        self.group = group_of(folder)
        self.before = furniture(self.group)

    def start(self, verb: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "cluster.harness", verb], env=self.env, cwd=TESTS)

    def run(self, verb: str) -> None:
        assert self.start(verb).wait(timeout=200) == 0

    def start_and_kill_the_starter_when(self, log: str) -> None:
        starter = self.start("up")
        wait_until((self.folder / "logs" / log).exists, seconds=120, what=f"the start of what writes {log}")
        starter.kill()
        starter.wait()

    def kubectl(self, *words: str) -> str:
        command = [self.folder / "enter", "kubectl", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    @property
    def holder(self) -> int:
        return int(json.loads((self.folder / "holder.json").read_text())["pid"])

    def wait_until_nothing_is_left_of(self, members: set[Process]) -> None:
        left: set[str] = set()

        def gone() -> bool:
            left.clear()
            left.update(left_of(members) | (furniture(self.group) - self.before))
            return not left

        try:
            wait_until(gone)
        except AssertionError:
            assert not left  # says what is


@pytest.fixture
def second(tmp_path: Path) -> Iterator[SecondCluster]:
    """Not started."""
    if reason := unfit() or ", ".join(missing_packages()):
        pytest.skip(f"No cluster of our own can be started here: {reason}.")
    cluster = SecondCluster(tmp_path / "cluster")
    yield cluster
    cluster.run("down")


def test_down_leaves_no_process_namespace_mount_link_or_control_group(second: SecondCluster) -> None:
    second.run("up")
    second.kubectl("run", "sleeper", "--image=localhost/tools:1", "--image-pull-policy=Never", "--", "sleep", "1000")
    second.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=30s")
    members = family(second.holder)
    assert len(members) > 12
    second.run("down")
    second.wait_until_nothing_is_left_of(members)


def test_down_cleans_up_after_a_starter_that_was_killed(second: SecondCluster) -> None:
    second.start_and_kill_the_starter_when("kube-apiserver.log")
    members = family(second.holder)
    assert len(members) > 3
    second.run("down")
    second.wait_until_nothing_is_left_of(members)


def test_a_second_start_finds_the_first_and_finishes_what_it_left(second: SecondCluster) -> None:
    second.start_and_kill_the_starter_when("kubelet.log")
    holder = second.holder
    second.run("up")
    assert second.holder == holder
    assert "coredns" in second.kubectl("get", "pods", "--namespace=kube-system")
