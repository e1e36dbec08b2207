"""Whose pod it is, as labels: the queue, the operator, the function, and the task's own that were chosen."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.claims import Before, Claim
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.labels import label_value
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy

GRAMMAR = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
"""As Kubernetes has it; written again, so that one slip is not two."""
CLAIM = Claim(7, "token", "etl", "bash", "{}", 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="an empty text"),
        pytest.param("a", id="one letter"),
        pytest.param("etl", id="a word"),
        pytest.param("My_Queue.v1-x", id="all that a label takes"),
        pytest.param("a" * 63, id="63 characters"),
        pytest.param("deploy-1a2b3c4d", id="a short digest at the end"),
        pytest.param("0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11", id="a UUID"),
    ],
)
def test_what_a_label_can_hold_stays_as_it_is(text):
    assert label_value(text) == text


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        pytest.param("a" * 64, "a" * 52 + "-", id="64 characters"),
        pytest.param("a" * 100_000, "a" * 52 + "-", id="a very long text"),
        pytest.param("jobs:train", "jobs-train-", id="a colon"),
        pytest.param("cost center", "cost-center-", id="a blank"),
        pytest.param("-etl", "etl-", id="a dash first"),
        pytest.param("etl.", "etl-", id="a dot last"),
        pytest.param("Zürich", "Z-rich-", id="an umlaut"),
        pytest.param("東京", "x-", id="nothing that a label takes"),
        pytest.param("...", "x-", id="dots only"),
        pytest.param("a\n", "a-", id="a line's end last"),
        pytest.param("٣", "x-", id="a digit of another script"),
        pytest.param("x-0123456789", "x-0123456789-", id="what looks as if it had been made to fit"),
        pytest.param("\ud800", "x-", id="half a character"),
        pytest.param("a/b", "a-b-", id="a slash"),
        pytest.param("a,b=c", "a-b-c-", id="what a selector is made of"),
    ],
)
def test_what_it_cannot_hold_is_made_to_fit(text, begins):
    made = label_value(text)
    assert GRAMMAR.fullmatch(made)
    assert re.fullmatch(re.escape(begins) + "[0-9a-f]{10}", made)


ODD = st.text() | st.text("a-._:", max_size=70) | st.from_regex(r"[a-z]{0,60}-[0-9a-f]{10}", fullmatch=True)


@given(ODD, ODD)
def test_any_text_becomes_a_label_and_two_become_two(one, other):
    assert GRAMMAR.fullmatch(label_value(one))
    assert (label_value(one) == label_value(other)) == (one == other)
    assert label_value(label_value(one)) != label_value(one) or label_value(one) == one


def marks_of(claim, **pods):
    planned = Planner(Cluster(pods=PodDefaults(image="runtime:1", **pods)), LauncherPolicy(), "installation")(claim)
    assert isinstance(planned, Flight), planned
    metadata = planned.manifest[0]["metadata"]
    return metadata["labels"], metadata["annotations"]


def python(function, **more):
    return CLAIM._replace(operator="python", args=json.dumps({"function": function} | more))


def test_each_pod_tells_its_queue_and_operator():
    labels, annotations = marks_of(CLAIM._replace(queue="etl", args='{"command": "true"}'))
    assert (labels["halfstep.io/queue"], labels["halfstep.io/operator"]) == ("etl", "bash")
    assert "halfstep.io/function" not in labels | annotations


def test_a_queue_whose_name_no_label_holds_is_whole_in_the_annotation():
    queue = "q" * 100
    labels, annotations = marks_of(CLAIM._replace(queue=queue, args='{"command": "true"}'))
    assert labels["halfstep.io/queue"] == label_value(queue) != queue
    assert annotations["halfstep.io/queue"] == queue


@pytest.mark.parametrize(
    ("claim", "label", "annotation"),
    [
        pytest.param(python("jobs:train"), "jobs.train", "jobs:train", id="a function, with a dot for the colon"),
        pytest.param(python("jobs.train"), "jobs.train", "jobs.train", id="the same function, called otherwise"),
        pytest.param(python("send mail"), label_value("send mail"), "send mail", id="a name with a blank"),
        pytest.param(python("f" * 9000), label_value("f" * 9000), "f" * 4096, id="a name beyond all reason is cut"),
        pytest.param(python(["no", "name"]), None, None, id="what is no name"),
        pytest.param(CLAIM._replace(args='{"command": "true", "function": "x:y"}'), None, None, id="another operator"),
    ],
)  # fmt: skip
def test_a_pod_of_python_tells_its_function(claim, label, annotation):
    labels, annotations = marks_of(claim)
    assert (labels.get("halfstep.io/function"), annotations.get("halfstep.io/function")) == (label, annotation)


def test_the_tasks_labels_that_were_looked_up_reach_the_pod_under_a_prefix_of_ours():
    told = Before(labels=(("team", "shop"), ("note", "a b"), ("installation", "x"), ("halfstep.io", "y")))
    labels, annotations = marks_of(CLAIM._replace(args='{"command": "true"}', before=told))
    copied = {key: value for key, value in labels.items() if key.startswith("task.")}
    assert copied == {
        "task.halfstep.io/team": "shop",
        "task.halfstep.io/note": label_value("a b"),
        "task.halfstep.io/installation": "x",
        "task.halfstep.io/halfstep.io": "y",
    }
    assert annotations["task.halfstep.io/note"] == "a b"
    assert labels["halfstep.io/installation"] == "installation"


POD = CLAIM._replace(operator="pod", before=Before(labels=(("team", "shop"),)))
SPOOFED = {"task.halfstep.io/team": "bank", "a.b.halfstep.io/x": "y"}


def test_a_template_cannot_speak_in_the_place_of_the_tasks_labels():
    template = {"metadata": {"labels": SPOOFED, "annotations": SPOOFED}}
    labels, annotations = marks_of(POD._replace(args=json.dumps({"image": "x", "template": template})))
    for marks in (labels, annotations):
        assert marks["task.halfstep.io/team"] == "shop"
        assert "a.b.halfstep.io/x" not in marks


@pytest.mark.parametrize("kind", ["labels", "annotations"])
@pytest.mark.parametrize("key", SPOOFED)
def test_nor_can_arguments(kind, key):
    failed = Planner(Cluster(), LauncherPolicy(), "i")(POD._replace(args=json.dumps({"image": "x", kind: {key: "v"}})))
    domain = key.partition("/")[0]
    assert failed.error == f"'{key}' in argument '{kind}' of operator 'pod' begins with {domain}/, which is halfstep's own."


def test_a_name_that_only_ends_like_ours_is_the_tasks_own():
    labels, _ = marks_of(POD._replace(args=json.dumps({"image": "x", "labels": {"nothalfstep.io/x": "y"}})))
    assert labels["nothalfstep.io/x"] == "y"
