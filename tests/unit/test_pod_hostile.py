"""Hostile pods under the default policy and a strict one: refused with one sentence, or harmless as they are made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfstep_worker.kubernetes.launcher_defaults import read_defaults
from hostile_pods import POLICIES, ROWS, STRICT, TO_SOURCE, Object, bash, in_main, plan, sql, trespasses


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_hostile_pod_is_refused_or_harmless(row, name):
    said = row.default if name == "default" else row.strict
    made = plan(row, POLICIES[name])
    if said is None:
        assert isinstance(made, dict), made
        assert list(trespasses(made, POLICIES[name])) == []
    else:
        assert isinstance(made, str), made
        assert said in made
        assert "\n" not in made


EVERYWHERE, _ = read_defaults(
    "'defaults'",
    {
        "labels": {"cost": "batch"}, "annotations": {"example.com/note": "x"}, "env": {"TZ": "UTC"},
        "node_selector": {"os": "linux"},
        "tolerations": [{"key": "tasks", "operator": "Exists"}], "image_pull_secrets": ["reg"], "priority_class": "low",
        "runtime_class": "gvisor",
    },
)  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_defaults_of_the_launcher_change_no_refusal(name):
    for row in ROWS.values():
        without, made = plan(row, POLICIES[name]), plan(row, POLICIES[name], under=EVERYWHERE)
        assert (made if isinstance(made, str) else "a pod") == (without if isinstance(without, str) else "a pod")
        if not isinstance(made, str):
            assert made["spec"]["runtimeClassName"] == "gvisor"
            assert made["spec"]["nodeSelector"]["os"] == "linux"


def test_the_table_is_as_long_as_it_is_said_to_be():
    assert len(ROWS) >= 60
    assert all(row.strict is not None for row in ROWS.values() if row.default and "Secret 'report-a'" not in row.default)


PIECES: list[Object] = [
    {"volumeMounts": TO_SOURCE}, {"image": "x"}, {"command": ["sh"]}, {"env": [{"name": "PYTHONPATH", "value": "/x"}]},
    {"lifecycle": {"postStart": {"exec": {"command": ["sh"]}}}}, {"workingDir": "/x"}, {"envFrom": None}, {"env": None},
    {"volumeMounts": [{"name": "halfstep-tmp", "mountPath": "/source"}]}, {"securityContext": {"runAsUser": 7}},
    {"volumeMounts": [{"mountPath": "/source"}]}, {"name": "app"}, {"name": "beside"}, {"restartPolicy": "Always"},
]  # fmt: skip
containers = st.lists(st.sampled_from(PIECES), max_size=3).map(
    lambda pieces: {"name": "main"} | {key: value for piece in pieces for key, value in piece.items()}
)
specs = st.fixed_dictionaries(
    {"containers": st.lists(containers, max_size=2)},
    optional={
        "initContainers": st.lists(containers, max_size=1),
        "volumes": st.lists(st.sampled_from([{"name": "halfstep-source", "emptyDir": {}}, {"name": "v", "emptyDir": {}}])),
        "shareProcessNamespace": st.booleans(),
        "hostAliases": st.just([{"ip": "203.0.113.7", "hostnames": ["db"]}]) | st.none(),
    },
)


@settings(max_examples=300, deadline=None)
@given(specs, st.sampled_from(list(POLICIES)), st.sampled_from([sql, bash]))
def test_whatever_a_template_is_made_of_the_source_and_the_connection_stay_out_of_its_reach(spec, name, make):
    made = plan(make(None, template={"spec": spec}), POLICIES[name])
    assert isinstance(made, str) or list(trespasses(made, POLICIES[name])) == []


def test_a_field_that_nobody_knows_passes_a_strict_policy_that_lists_it():
    from dataclasses import replace

    row = ROWS["two fields that nobody knows"]
    assert isinstance(plan(row, replace(STRICT, fields=("container.magic", "container.securityContext.*"))), dict)


def test_a_template_that_is_no_main_s_is_the_task_s():
    assert "lifecycle" in str(plan(sql(None, template={"spec": {"containers": [{"name": "a", "lifecycle": {"a": 1}}]}}), STRICT))
    assert isinstance(plan(bash(None, template=in_main(tty=True)), STRICT), dict)
