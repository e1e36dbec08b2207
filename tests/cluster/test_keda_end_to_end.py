"""The demo on a real cluster with real KEDA: from nobody to as many as the work needs, and back, without hurting any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from cluster.full_run import ALL, BODIES, LAUNCHERS, WORKERS, FullRun, watched
from cluster.installation import SYSTEM, TASKS, Installation, installed
from cluster.kube import Cluster, pod
from kustomize import one

pytestmark = pytest.mark.cluster

PODS = ALL - BODIES
PUSHED_SECONDS = 5.0
"""Far more than it takes, and less than KEDA's own polling: who is slower than this was not pushed."""


@pytest.fixture(scope="module")
def here(cluster: Cluster, keda: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation; skipped where KEDA does not run."""
    with installed(cluster, tmp_path_factory.mktemp("overlay")) as here:
        yield here


@pytest.fixture(scope="module")
def run(here: Installation) -> Iterator[FullRun]:
    """All the work, come and gone."""
    with watched(here) as run:
        run.enqueue()
        run.wait_for_the_end()
        yield run


def test_every_task_succeeds_at_its_first_attempt_so_no_busy_worker_was_killed(run: FullRun) -> None:
    ends = run.rows("SELECT placement, state, attempt, count(*) FROM halfstep.history GROUP BY 1, 2, 3 ORDER BY 1")
    assert ends == [("pod", "succeeded", 1, PODS), ("worker", "succeeded", 1, BODIES)]
    assert run.rows("SELECT task_id, outcome, reason, error FROM halfstep.attempt WHERE outcome <> 'succeeded'") == []


def test_workers_come_by_push_grow_with_the_work_and_all_leave(run: FullRun, here: Installation) -> None:
    most = one(here.objects, "ScaledObject", WORKERS)["spec"]["maxReplicaCount"]
    assert run.first_after(WORKERS) < PUSHED_SECONDS
    assert run.first_after(LAUNCHERS) < PUSHED_SECONDS
    assert run.most(WORKERS)[1] == most
    assert run.most(LAUNCHERS)[1] == 1
    for name in (WORKERS, LAUNCHERS):
        changes = [number for _, number in run.replicas.since(run.committed_at, name)]
        assert changes[-1] == 0
        assert changes.count(0) == 1, f"{name} were away while there was work: {changes}"


def test_nobody_is_taken_away_before_the_last_task_has_ended(run: FullRun) -> None:
    ended = dict(run.rows("SELECT placement, extract(epoch FROM max(finished_at))::float8 FROM halfstep.history GROUP BY 1"))
    for name, placement in ((WORKERS, "worker"), (LAUNCHERS, "pod")):
        assert run.replicas.since(run.committed_at, name)[-1][0] > ended[placement] - run.committed_at


def test_all_who_worked_left_in_peace(run: FullRun) -> None:
    worked = "id IN (SELECT worker_id FROM halfstep.history)"
    assert run.rows(f"SELECT name, state FROM halfstep.worker WHERE state <> 'stopped' AND {worked}") == []


def test_no_container_of_a_worker_or_launcher_was_started_twice(run: FullRun) -> None:
    assert run.pod_restarts
    assert set(run.pod_restarts.values()) == {0}


def test_there_were_as_many_pods_of_tasks_as_accepted_attempts_and_none_is_left(run: FullRun, here: Installation) -> None:
    accepted = run.one("SELECT count(*) FROM halfstep.pod WHERE uid IS NOT NULL")
    assert accepted == PODS
    assert run.witness.pods_by_attempt() == Counter({1: accepted})
    assert here.cluster.core.list_namespaced_pod(TASKS).items == []


@pytest.mark.parametrize("namespace", [SYSTEM, TASKS])
def test_restricted_pod_security_is_enforced(namespace: str, here: Installation) -> None:
    found: Any = here.cluster.core.read_namespace(namespace)
    assert found.metadata.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    privileged: Any = pod("privileged", command=["true"], securityContext={"privileged": True})
    with pytest.raises(ApiException, match="violates PodSecurity") as refused:
        here.cluster.core.create_namespaced_pod(namespace, privileged, dry_run="All")
    assert refused.value.status == 403
