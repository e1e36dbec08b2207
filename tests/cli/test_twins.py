"""Launchers of two databases with one id, on one cluster: none takes the other's pods. The cluster is a fake one."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from halfstep.database import Database
from halfstep.installation import settle
from halfstep_worker.kubernetes.identity import mark
from halfstep_worker.kubernetes.names import ATTEMPT, FINALIZER, INSTALLATION, MADE
from kubernetes_fake import FakeCluster
from waiting import PATIENCE


@pytest.fixture
def fake():
    with closing(FakeCluster()) as made:
        yield made


@pytest.fixture
def clusters(fake, tmp_path):
    """A clusters file that leads there."""
    file = tmp_path / "clusters.yaml"
    file.write_text(json.dumps({"default": {"kubeconfig": fake.kubeconfig(tmp_path), "namespace": "jobs"}}))
    return str(file)


def test_a_launcher_that_meets_pods_of_its_id_that_it_never_asked_for_leaves_and_touches_none(
    fake, clusters, database, start_worker, tmp_path
):
    attempt = "00000000-0000-4000-8000-000000000007"
    installation = settle(database)
    labels = {INSTALLATION: installation, ATTEMPT: attempt}
    marks = {"labels": labels, "annotations": {MADE: mark(installation, attempt)}, "finalizers": [FINALIZER]}
    fake.store.create("jobs", "pods", {"metadata": {"name": f"hs-{attempt}", **marks}, "status": {"phase": "Running"}})
    launcher = start_worker("--placement", "pod", "--clusters", clusters)
    assert launcher.wait(timeout=2 * PATIENCE) == 0
    said = (tmp_path / "worker.log").read_text()
    assert f"1 pods have this installation's id and were never asked for by this database (hs-{attempt})" in said
    assert {call.verb for call in fake.requests} <= {"list", "watch"}
    assert fake.store.get("jobs", "pods", f"hs-{attempt}")["metadata"]["finalizers"] == [FINALIZER]


def test_a_launcher_of_a_restored_copy_does_not_begin(fake, clusters, server, halfstep_process_at):
    original = server.make_database()
    with closing(Database(server.url(original))) as database:
        settle(database)
    copy = server.make_database(template=original)
    said = halfstep_process_at(server.url(copy), "worker", "--placement", "pod", "--clusters", clusters)
    assert said.code == 6
    assert "For a copy: halfstep renew-id" in said.err
    assert fake.requests == []
    for name in (copy, original):
        server.drop(name)
