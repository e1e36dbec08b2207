"""Two manifests become one, by rules that fit on a page."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfstep_worker.kubernetes.merge import merge

RULES = [
    ("maps merge", {"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": 2}}, {"a": {"x": 1, "y": 2, "z": 2}}),
    ("null takes a key away", {"a": {"x": 1, "y": 1}}, {"a": {"x": None}}, {"a": {"y": 1}}),
    ("null for what is not there is nothing", {}, {"a": {"x": None, "y": 1}}, {"a": {"y": 1}}),
    (
        "containers of one name merge, others are added",
        {"containers": [{"name": "main", "image": "a", "tty": True}]},
        {"containers": [{"name": "log", "image": "l"}, {"name": "main", "image": "b"}]},
        {"containers": [{"name": "main", "image": "b", "tty": True}, {"name": "log", "image": "l"}]},
    ),
    (
        "init containers too",
        {"initContainers": [{"name": "i", "image": "a", "env": [{"name": "A", "value": "1"}]}]},
        {"initContainers": [{"name": "i", "env": [{"name": "B", "value": "2"}]}]},
        {"initContainers": [{"name": "i", "image": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]},
    ),
    (
        "a volume of the same name is replaced whole",
        {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "s"}}, {"name": "w", "emptyDir": {}}]},
    ),
    (
        "a variable of the same name is replaced whole",
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "value": "1"}]},
    ),
    (
        "mounts go by their path",
        {"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "s"}, {"name": "v", "mountPath": "/b"}]},
        {"volumeMounts": [{"name": "w", "mountPath": "/a"}]},
        {"volumeMounts": [{"name": "w", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]},
    ),
    ("other lists are replaced", {"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
    ("so are tolerations", {"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
    ("and lists with an item without its name", {"env": [{"name": "A"}]}, {"env": [{"value": "x"}]}, {"env": [{"value": "x"}]}),
    ("another kind of value wins", {"a": {"x": 1}}, {"a": "y"}, {"a": "y"}),
    ("an empty map changes nothing", {"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}),
]


@pytest.mark.parametrize(("base", "over", "merged"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_the_rules(base, over, merged):
    assert merge(base, over) == merged


KEYS = st.sampled_from(["spec", "containers", "volumes", "env", "volumeMounts", "args", "labels", "name", "mountPath", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b", "main"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)
NAMED = st.lists(
    st.builds(lambda name, rest: rest | {"name": name}, st.sampled_from("ab"), st.dictionaries(KEYS, VALUES)), max_size=3
)
MANIFESTS = st.dictionaries(KEYS, VALUES | st.fixed_dictionaries({"containers": NAMED, "env": NAMED}), max_size=4)


@settings(max_examples=200, deadline=None)
@given(MANIFESTS, MANIFESTS)
def test_laying_the_same_on_twice_changes_nothing_more(base, over):
    once = merge(base, over)
    assert merge(once, over) == once


@settings(max_examples=100, deadline=None)
@given(MANIFESTS, MANIFESTS)
def test_merging_leaves_both_manifests_as_they_were(base, over):
    before = deepcopy((base, over))
    merge(base, over)
    assert (base, over) == before
