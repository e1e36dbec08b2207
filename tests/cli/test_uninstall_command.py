"""uninstall: shows first, does it on `--yes`, and never while somebody works. The cluster is a fake one on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing

import pytest

from halfstep.pods import PodBook, PodRow
from halfstep_worker.kubernetes.names import FINALIZER, INSTALLATION
from kubernetes_fake import FakeCluster, Says


@pytest.fixture
def fake():
    with closing(FakeCluster()) as made:
        yield made


@pytest.fixture
def clusters(fake, tmp_path):
    """A clusters file that leads there."""
    file = tmp_path / "clusters.yaml"
    file.write_text(
        json.dumps({"default": {"kubeconfig": fake.kubeconfig(tmp_path), "namespace": "jobs", "namespaces": ["more"]}})
    )
    return str(file)


@pytest.fixture
def put(fake, database):
    """A pod of this installation appears: `put(name, phase, held=True)`."""
    mine = {INSTALLATION: PodBook(database).installation()}

    def put(name, phase="Running", *, held=True, **more):
        made = fake.store.put(name, labels=mine, status={"phase": phase}, **more)
        if held:
            fake.store.change(name, lambda pod: pod["metadata"].update(finalizers=[FINALIZER, "other/one"]), **more)
        return made

    return put


@pytest.fixture(autouse=True)
def nothing_is_remembered(database):
    """Databases are used again, and other tests leave rows of pods."""
    database.execute("DELETE FROM halfstep.pod")


def finalizers(fake, name, namespace="jobs"):
    return fake.store.get(namespace, "pods", name)["metadata"].get("finalizers")


def remember(database, *, cluster="", namespace="jobs"):
    """A pod as SQL remembers it."""
    attempt = "00000000-0000-4000-8000-000000000001"
    PodBook(database).write([PodRow(attempt, 1, 1, cluster, namespace, "hs-1", "uid")])


def test_without_a_yes_it_only_tells_what_it_would_do(halfstep, fake, clusters, put):
    put("hs-1")
    put("hs-2", "Succeeded", namespace="more")
    said = halfstep("uninstall", "--clusters", clusters, "--drop-schema")
    assert said.code == 1
    assert [line.split() for line in said.out.splitlines()] == [
        ["CLUSTER", "NAMESPACE", "PODS", "HELD", "RUNNING"],
        ["default", "jobs", "1", "1", "1"],
        ["default", "more", "1", "1", "0"],
    ]
    assert said.err.splitlines() == [
        "- take the finalizer off 2 pods",
        "- leave 1 pod to run on; nobody will write down how that ends (see --delete-pods)",
        "- drop the schema halfstep, with 0 tasks that have not ended and all history, for good",
        "Nothing was done; add --yes to do it.",
    ]
    assert {call.verb for call in fake.requests} == {"list"}


def test_it_takes_our_finalizer_off_our_pods_and_touches_nothing_else(halfstep, fake, clusters, put):
    put("hs-1")
    fake.store.put("hs-theirs", labels={INSTALLATION: "another"})
    fake.store.change("hs-theirs", lambda pod: pod["metadata"].update(finalizers=[FINALIZER]))
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert (said.code, said.err.splitlines()[-1]) == (0, "Took the finalizer off 1 pod.")
    assert finalizers(fake, "hs-1") == ["other/one"]
    assert finalizers(fake, "hs-theirs") == [FINALIZER]
    assert fake.calls("delete") == []


def test_it_deletes_pods_if_told_so_kept_ones_too(halfstep, fake, clusters, put):
    put("hs-1")
    put("hs-kept", "Failed", held=False)
    said = halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes", "--json")
    (jobs, more) = said.json["places"]
    assert (said.code, said.json["done"], jobs["released"], jobs["deleted"], more["pods"]) == (0, True, 1, 2, 0)
    with pytest.raises(KeyError):
        fake.store.get("jobs", "pods", "hs-kept")
    assert fake.store.get("jobs", "pods", "hs-1")["metadata"]["deletionTimestamp"]


def test_a_second_time_there_is_nothing_to_do(halfstep, clusters, put):
    put("hs-1")
    halfstep("uninstall", "--clusters", clusters, "--yes")
    said = halfstep("uninstall", "--clusters", clusters)
    assert (said.code, said.err.splitlines()[-1]) == (0, "There was nothing to let go of.")


def test_it_refuses_while_somebody_works_unless_forced(halfstep, fake, clusters, put, worker):
    put("hs-1")
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("halfstep: Still at work: ")
    assert FINALIZER in finalizers(fake, "hs-1")
    assert halfstep("uninstall", "--clusters", clusters, "--yes", "--force").code == 0
    assert FINALIZER not in finalizers(fake, "hs-1")


def test_a_worker_that_has_been_silent_for_long_does_not_count(halfstep, clusters, put, worker, database):
    put("hs-1")
    database.execute("UPDATE halfstep.lease SET renewed_at = renewed_at - interval '5 minutes'")
    assert halfstep("uninstall", "--clusters", clusters, "--yes").code == 0


def test_namespaces_that_only_the_database_remembers_are_looked_at_too(halfstep, fake, clusters, put, database):
    remember(database, namespace="former")
    put("hs-1", namespace="former")
    assert halfstep("uninstall", "--clusters", clusters, "--yes").code == 0
    assert finalizers(fake, "hs-1", "former") == ["other/one"]


def test_one_namespace_that_refuses_does_not_hold_up_the_others(halfstep, fake, clusters, put):
    put("hs-1", namespace="more")
    fake.meet("list", Says(403, "pods is forbidden"))
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert said.code == 1
    assert "Not seen: default/jobs: Listing pods in namespace 'jobs' failed with status 403" in said.err
    assert finalizers(fake, "hs-1", "more") == ["other/one"]


@pytest.mark.alters_schema
def test_the_schema_stays_while_pods_may_be_held_somewhere(halfstep, fake, clusters, put, database):
    remember(database, cluster="gone")
    words = ("uninstall", "--clusters", clusters, "--drop-schema", "--yes")
    said = halfstep(*words)
    assert (said.code, said.err.splitlines()[-1].partition(":")[2][:50]) == (
        1,
        " The schema is not dropped while pods may be held:",
    )
    assert halfstep("tasks").code == 0
    said = halfstep(*words, "--force")
    assert (said.code, said.err.splitlines()[-1]) == (0, "Dropped the schema.")
    assert halfstep("tasks").code == 4


@pytest.mark.alters_schema
def test_a_cluster_that_fails_at_the_last_moment_keeps_the_schema(halfstep, fake, clusters, put):
    put("hs-1")
    fake.meet("patch", Says(500, "not now"))
    said = halfstep("uninstall", "--clusters", clusters, "--drop-schema", "--yes")
    assert said.code == 1
    assert "The schema is not dropped while pods may be held: default/jobs: Releasing pod hs-1 failed" in said.err
    assert halfstep("tasks").code == 0


@pytest.mark.alters_schema
def test_where_there_never_was_a_pod_no_cluster_is_needed(halfstep):
    said = halfstep("uninstall", "--drop-schema", "--yes")
    assert said.code == 0, said.err
    assert halfstep("tasks").code == 4


def test_a_cluster_that_is_not_in_the_file_is_bad_input(halfstep, clusters):
    said = halfstep("uninstall", "--clusters", clusters, "--cluster", "eu")
    assert (said.code, said.err) == (2, "halfstep: There is no cluster 'eu' in the configuration; known: default.\n")


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, [FINALIZER, "other/one"]), ("y", 0, ["other/one"])])
def test_on_a_terminal_it_asks(answer, code, left, fake, clusters, put, database_url, command_line, plain_environment):
    put("hs-1")
    ours, theirs = os.openpty()
    os.write(ours, f"{answer}\n".encode())
    words = command_line("uninstall", "--clusters", clusters)
    done = subprocess.run(
        words, env=plain_environment(HALFSTEP_DATABASE_URL=database_url), stdin=theirs, stdout=theirs, stderr=theirs, timeout=60
    )
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, seen
    assert "Do it? [y/N]" in seen
    assert finalizers(fake, "hs-1") == left
