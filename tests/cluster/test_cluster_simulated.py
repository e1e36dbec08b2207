"""Simulated pods live and end as real ones do, as far as an observer of the API can tell."""

from __future__ import annotations

import pytest

from cluster.kube import Cluster, create, ending, has_ended, on_simulated_nodes, pod, run_pod, wait_for_pod
from waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("simulated_nodes")]


def test_a_simulated_pod_ends_when_and_how_it_is_told_to(cluster: Cluster, namespace: str) -> None:
    good = on_simulated_nodes(pod("good"), runs_for="100ms")
    bad = on_simulated_nodes(pod("bad"), runs_for="100ms", exit_code=3)
    assert run_pod(cluster, namespace=namespace, pod=good).status.phase == "Succeeded"
    ended = run_pod(cluster, namespace=namespace, pod=bad)
    assert (ended.status.phase, ending(ended).exit_code) == ("Failed", 3)


def test_a_simulated_pod_with_a_finalizer_shows_its_end_and_goes_when_that_is_taken_off(cluster: Cluster, namespace: str) -> None:
    kept = on_simulated_nodes(pod("kept"))
    kept["metadata"]["finalizers"] = ["halfstep.test/kept"]
    create(cluster, namespace=namespace, pod=kept)
    wait_for_pod(cluster, namespace=namespace, name="kept", until=lambda found: found.status.phase == "Running")
    cluster.core.delete_namespaced_pod("kept", namespace)
    ended = wait_for_pod(cluster, namespace=namespace, name="kept", until=has_ended)
    assert ending(ended).exit_code == 143
    assert ended.metadata.deletion_timestamp
    cluster.core.patch_namespaced_pod("kept", namespace, {"metadata": {"finalizers": None}})
    wait_until(lambda: not cluster.core.list_namespaced_pod(namespace).items, what="the end of the object")
