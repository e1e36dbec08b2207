"""uninstall: shows first, does it on `--yes`, and never while somebody works. The cluster is a fake one on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing

import pytest

from halfstep.pods import PodBook, PodRow
from halfstep_worker.kubernetes.identity import mark
from halfstep_worker.kubernetes.names import ATTEMPT, FINALIZER, INSTALLATION, KEEP, MADE, OPERATOR, QUEUE
from kubernetes_fake import FakeCluster, Says

FIRST, SECOND = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
ONE, TWO = f"hs-{FIRST}", f"hs-{SECOND}"
ANOTHER = "00000000-0000-4000-8000-0000000000aa"


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
    """A pod of this installation appears, as launchers make them: `put(name, phase, held=True)`."""
    installation = PodBook(database).installation()

    def put(name, phase="Running", *, held=True, **more):
        attempt = name.removeprefix("hs-")
        labels = {INSTALLATION: installation, ATTEMPT: attempt}
        made = fake.store.put(name, labels=labels, status={"phase": phase}, **more)
        about = {"annotations": {MADE: mark(installation, attempt), QUEUE: "default", OPERATOR: "pod"}}
        about |= {"finalizers": [FINALIZER, "other/one"]} if held else {}
        fake.store.change(name, lambda pod: pod["metadata"].update(about), **more)
        return made

    return put


@pytest.fixture(autouse=True)
def nothing_is_remembered(database):
    """Databases are used again, and other tests leave rows of pods."""
    database.execute("DELETE FROM halfstep.pod")


def finalizers(fake, name, namespace="jobs"):
    return fake.store.get(namespace, "pods", name)["metadata"].get("finalizers")


def remember(database, *, cluster="", namespace="jobs", uid="uid", attempt="00000000-0000-4000-8000-000000000003", facts=None):
    """A pod as SQL remembers it."""
    PodBook(database).write([PodRow(attempt, 1, 1, cluster, namespace, f"hs-{attempt}", uid, facts)])


def test_without_a_yes_it_only_tells_what_it_would_do(halfstep, fake, clusters, put):
    put(ONE)
    put(TWO, "Succeeded", namespace="more")
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
    put(ONE)
    fake.store.put("hs-theirs", labels={INSTALLATION: "another"})
    fake.store.change("hs-theirs", lambda pod: pod["metadata"].update(finalizers=[FINALIZER]))
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert (said.code, said.err.splitlines()[-1]) == (0, "Took the finalizer off 1 pod.")
    assert finalizers(fake, ONE) == ["other/one"]
    assert finalizers(fake, "hs-theirs") == [FINALIZER]
    assert fake.calls("delete") == []


def test_it_deletes_pods_if_told_so_kept_ones_too(halfstep, fake, clusters, put):
    put(ONE)
    put(TWO, "Failed", held=False)
    said = halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes", "--json")
    (jobs, more) = said.json["places"]
    assert (said.code, said.json["done"], jobs["released"], jobs["deleted"], more["pods"]) == (0, True, 1, 2, 0)
    with pytest.raises(KeyError):
        fake.store.get("jobs", "pods", TWO)
    assert fake.store.get("jobs", "pods", ONE)["metadata"]["deletionTimestamp"]


def test_a_second_time_there_is_nothing_to_do(halfstep, clusters, put):
    put(ONE)
    halfstep("uninstall", "--clusters", clusters, "--yes")
    said = halfstep("uninstall", "--clusters", clusters)
    assert (said.code, said.err.splitlines()[-1]) == (0, "There was nothing to let go of.")


def test_it_refuses_while_somebody_works_unless_forced(halfstep, fake, clusters, put, worker):
    put(ONE)
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("halfstep: Still at work: ")
    assert FINALIZER in finalizers(fake, ONE)
    assert halfstep("uninstall", "--clusters", clusters, "--yes", "--force").code == 0
    assert FINALIZER not in finalizers(fake, ONE)


def test_a_worker_that_has_been_silent_for_long_does_not_count(halfstep, clusters, put, worker, database):
    put(ONE)
    database.execute("UPDATE halfstep.lease SET renewed_at = renewed_at - interval '5 minutes'")
    assert halfstep("uninstall", "--clusters", clusters, "--yes").code == 0


def test_namespaces_that_only_the_database_remembers_are_looked_at_too(halfstep, fake, clusters, put, database):
    remember(database, namespace="former")
    put(ONE, namespace="former")
    assert halfstep("uninstall", "--clusters", clusters, "--yes").code == 0
    assert finalizers(fake, ONE, "former") == ["other/one"]


def test_one_namespace_that_refuses_does_not_hold_up_the_others(halfstep, fake, clusters, put):
    put(ONE, namespace="more")
    fake.meet("list", Says(403, "pods is forbidden"))
    said = halfstep("uninstall", "--clusters", clusters, "--yes")
    assert said.code == 1
    assert "Not seen: default/jobs: Listing pods in namespace 'jobs' failed with status 403" in said.err
    assert finalizers(fake, ONE, "more") == ["other/one"]


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
    put(ONE)
    fake.meet("patch", Says(500, "not now"))
    said = halfstep("uninstall", "--clusters", clusters, "--drop-schema", "--yes")
    assert said.code == 1
    assert f"The schema is not dropped while pods may be held: default/jobs: Releasing pod {ONE} failed" in said.err
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
    put(ONE)
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
    assert finalizers(fake, ONE) == left


# -- whose a pod is


def labels(**changed):
    """Of these labels some are taken off (None), or set."""

    def act(fake, name):
        def edit(pod):
            there = pod["metadata"]["labels"] | {f"halfstep.io/{key}": value for key, value in changed.items()}
            pod["metadata"]["labels"] = {key: value for key, value in there.items() if value is not None}

        fake.store.change(name, edit)

    return act


def annotations(**changed):
    """The same of annotations."""

    def act(fake, name):
        def edit(pod):
            there = pod["metadata"]["annotations"] | {f"halfstep.io/{key}": value for key, value in changed.items()}
            pod["metadata"]["annotations"] = {key: value for key, value in there.items() if value is not None}

        fake.store.change(name, edit)

    return act


def several(*acts):
    """One after the other."""

    def act(fake, name):
        for one in acts:
            one(fake, name)

    return act


def replaced(fake, name):
    """Another pod has its name, with all that it had."""
    about = fake.store.get("jobs", "pods", name)["metadata"]
    fake.store.remove(name)
    fake.store.put(name, labels=about["labels"])
    more = {key: about[key] for key in ("annotations", "finalizers")}
    fake.store.change(name, lambda pod: pod["metadata"].update(more))


BARE = several(labels(installation=None, attempt=None), annotations(made=None, queue=None, operator=None))
OURS = {
    "its installation label is taken off": labels(installation=None),
    "its installation label is emptied": labels(installation=""),
    "its installation label is no uuid": labels(installation="mine"),
    "its installation label is that of another installation": labels(installation=ANOTHER),
    "its attempt label is taken off": labels(attempt=None),
    "its attempt label is that of another pod": labels(attempt=SECOND),
    "its mark is taken off": annotations(made=None),
    "its mark is another's": annotations(made="0" * 32),
    "all our labels and annotations are taken off": BARE,
    "it is labelled to be kept": labels(keep="true"),
}


@pytest.mark.parametrize("edit", OURS.values(), ids=OURS.keys())
def test_a_pod_is_known_by_what_sql_says_of_it_whatever_is_edited(halfstep, fake, clusters, put, database, edit):
    remember(database, attempt=FIRST, uid=put(ONE)["metadata"]["uid"])
    edit(fake, ONE)
    said = halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes", "--json")
    (jobs, _) = said.json["places"]
    assert (said.code, jobs["released"], jobs["deleted"], jobs["strangers"]) == (0, 1, 1, [])
    assert finalizers(fake, ONE) == ["other/one"]
    assert fake.store.get("jobs", "pods", ONE)["metadata"]["deletionTimestamp"]


UNREMEMBERED = {
    "it is as launchers make them": several(),
    "its installation label is taken off": labels(installation=None),
    "its attempt label is taken off": labels(attempt=None),
    "it looks as launchers made them before the mark": annotations(made=None),
    "it was kept": labels(keep="true"),
}


@pytest.mark.parametrize("unacknowledged", [False, True], ids=["forgotten", "never acknowledged"])
@pytest.mark.parametrize("edit", UNREMEMBERED.values(), ids=UNREMEMBERED.keys())
def test_where_sql_knows_no_uid_the_name_and_the_mark_tell(halfstep, fake, clusters, put, database, edit, unacknowledged):
    put(ONE)
    if unacknowledged:
        remember(database, attempt=FIRST, uid=None)
        database.execute("UPDATE halfstep.pod SET marked = NULL")
    edit(fake, ONE)
    assert halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes").code == 0
    assert finalizers(fake, ONE) == ["other/one"]
    assert fake.store.get("jobs", "pods", ONE)["metadata"]["deletionTimestamp"]


def copied(name, **changed):
    """As `kubectl debug --copy-to --keep-labels` does, with the annotations."""

    def act(fake, of):
        about = fake.store.get("jobs", "pods", of)["metadata"]
        fake.store.put(name, labels=about["labels"] | changed)
        more = {"annotations": about["annotations"], "finalizers": about["finalizers"]}
        fake.store.change(name, lambda pod: pod["metadata"].update(more))

    return act


COPIES = {
    "by a name of somebody's": ("debug", "is not one that launchers give"),
    "by a name like an attempt's": (f"{ONE}-debug", "is not one that launchers give"),
    "by the name of an attempt of nobody": (f"hs-{ANOTHER}", "knows no such attempt"),
    "by the name of another attempt, whose pod is gone": (TWO, "not the one that a launcher made"),
}


@pytest.mark.parametrize(("name", "why"), COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_told_and_left_alone(halfstep, fake, clusters, put, database, name, why):
    remember(database, attempt=FIRST, uid=put(ONE)["metadata"]["uid"])
    remember(database, attempt=SECOND, uid="another")
    copied(name)(fake, ONE)
    words = ("uninstall", "--clusters", clusters, "--delete-pods", "--yes")
    said = halfstep(*words)
    assert (said.code, said.err.splitlines()[-1]) == (0, "Took the finalizer off 1 pod, deleted 1 pod.")
    (told,) = [line for line in said.err.splitlines() if line.startswith("Left alone: ")]
    assert told.startswith(f"Left alone: default/jobs/{name}: It")
    assert why in told
    assert told.endswith(" Our finalizer holds it.")
    assert finalizers(fake, name) == [FINALIZER, "other/one"]
    assert "deletionTimestamp" not in fake.store.get("jobs", "pods", name)["metadata"]
    (left,) = halfstep(*words, "--json").json["places"][0]["strangers"]
    assert (left["name"], left["held"]) == (name, True)


STRANGERS = {
    "another pod has its name": (replaced, {}, True),
    "another pod has its name, without our labels": (several(replaced, BARE), {}, False),
    "its name was taken before ours could be made": (several(), {"uid": None, "facts": {"class": "taken"}}, True),
    "it has its name only, and was meant for elsewhere": (several(), {"uid": None, "namespace": "more"}, True),
    "it has our label and no mark, and launchers put one in": (annotations(made=None), {"uid": None}, True),
    "both its label and its mark are another installation's": (
        several(labels(installation=ANOTHER), annotations(made="0" * 32)),
        {},
        True,
    ),
    "it is without a label, and its mark is another installation's": (
        several(labels(installation=None), annotations(made="0" * 32)),
        {},
        True,
    ),
}


@pytest.mark.parametrize(("edit", "known", "told"), STRANGERS.values(), ids=STRANGERS.keys())
def test_what_is_not_ours_by_sql_is_left_alone(halfstep, fake, clusters, put, database, edit, known, told):
    remember(database, **{"attempt": FIRST, "uid": put(ONE)["metadata"]["uid"]} | known)
    edit(fake, ONE)
    said = halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes", "--json")
    (jobs, _) = said.json["places"]
    assert (said.code, jobs["pods"], len(jobs["strangers"])) == (0, 0, int(told))
    assert finalizers(fake, ONE) == [FINALIZER, "other/one"]
    assert {call.verb for call in fake.requests} == {"list"}


def test_pods_that_are_no_concern_of_ours_are_not_told(halfstep, fake, clusters):
    fake.store.put("theirs", labels={})
    fake.store.put(f"hs-{ANOTHER}", labels={})
    fake.store.put(ONE, labels={INSTALLATION: ANOTHER, ATTEMPT: FIRST, KEEP: "true"})
    said = halfstep("uninstall", "--clusters", clusters, "--delete-pods", "--yes")
    assert (said.code, said.err) == (0, "There was nothing to let go of.\n")


def test_many_copies_are_counted(halfstep, fake, clusters, put):
    put(ONE)
    for number in range(12):
        copied(f"copy-{number}")(fake, ONE)
    said = halfstep("uninstall", "--clusters", clusters)
    told = [line for line in said.err.splitlines() if line.startswith("Left alone: ")]
    assert (len(told), told[-1]) == (11, "Left alone: 2 pods more (see --json).")
