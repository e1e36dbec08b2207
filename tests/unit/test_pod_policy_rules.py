"""The launcher's policy beside names and rights: amounts, nodes, marks, fields, and how its file is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.fields import OF_EVERY_POD, ON_REQUEST, fields_of
from halfstep_worker.kubernetes.policy import LauncherPolicy, read_policy
from halfstep_worker.kubernetes.quantities import quantity
from hostile_pods import DEFAULT, POLICIES, Object, bash, beside, pod, spec, sql, volume
from hostile_pods import plan as plan_of


def refused(row, **policy) -> str | None:
    made = plan_of(row, LauncherPolicy(**policy))
    return made if isinstance(made, str) else None


def limited(limits: Object, **more) -> Object:
    return {"name": "i", "image": "i", "resources": {"limits": limits}} | more


CPU = {"cpu": quantity(2)}
ADDED_UP = [
    ("the pod's own limit holds for containers without one", spec(resources={"limits": {"cpu": 2}}), True),
    ("the pod's own limit is judged", spec(resources={"limits": {"cpu": 3}}), False),
    ("the pod's request is judged where it is higher", spec(resources={"requests": {"cpu": 3}, "limits": {"cpu": 1}}), False),
    ("the pod's own limit excuses no container's", pod(resources={"limits": {"cpu": 3}}) , False),
    ("requests of containers are judged", pod(resources={"limits": {"cpu": 1}, "requests": {"cpu": 3}}), False),
    ("a limit of 0 is none", pod(resources={"limits": {"cpu": "0"}}), False),
    ("init containers run one after another",
     pod(init_containers=[limited({"cpu": 2}), limited({"cpu": 2}, name="j")]), True),
    ("a sidecar runs beside the init containers after it",
     pod(init_containers=[limited({"cpu": 1}, restartPolicy="Always"), limited({"cpu": 2}, name="j")]), False),
    ("a sidecar does not run beside the init containers before it",
     pod(init_containers=[limited({"cpu": 2}), limited({"cpu": 1}, name="j", restartPolicy="Always")]), True),
    ("a sidecar runs beside main", pod(init_containers=[limited({"cpu": 2}, restartPolicy="Always")]), False),
    ("negative amounts are no way down", pod(sidecars=[beside(resources={"limits": {"cpu": "-1"}})]), False),
]  # fmt: skip


@pytest.mark.parametrize(("row", "passes"), [row[1:] for row in ADDED_UP], ids=[row[0] for row in ADDED_UP])
def test_what_a_pod_can_take_is_added_up_as_kubernetes_does(row, passes):
    assert (refused(row, max_resources=CPU) is None) is passes


def test_overhead_counts_where_it_may_be_set():
    row = spec(overhead={"cpu": "1500m"})
    assert "'fields'" in refused(row)
    assert refused(row, fields=("overhead",)) is None
    assert "add up to more" in refused(row, fields=("overhead",), max_resources=CPU)


def test_a_resource_that_is_not_named_is_refused_once_any_is():
    gpu = pod(resources={"limits": {"cpu": 1, "nvidia.com/gpu": 1}})
    assert refused(gpu) is None
    assert "Resource 'nvidia.com/gpu' may not be used" in refused(gpu, max_resources=CPU)
    assert refused(gpu, max_resources=CPU | {"nvidia.com/gpu": quantity(1)}) is None
    assert "limits of nvidia.com/gpu" in refused(gpu, max_resources=CPU | {"nvidia.com/gpu": quantity(0)})


def test_the_storage_of_generic_ephemeral_volumes_is_a_resource():
    claim = {"spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    row = volume(ephemeral={"volumeClaimTemplate": claim})
    allowed = {"volume_kinds": ("ephemeral",)}
    assert refused(row, **allowed) is None
    assert "Resource 'storage'" in refused(row, **allowed, max_resources=CPU)
    assert "limits of storage" in refused(row, **allowed, max_resources=CPU | {"storage": quantity("1Gi")})


def test_folders_in_memory_are_judged_by_memory_and_others_by_storage():
    folders = spec(volumes=[{"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} for name in "abc"])
    assert "more memory" in refused(folders, max_resources={"memory": quantity("2Gi")})
    assert refused(folders, max_resources={"memory": quantity("3Gi")}) is None
    disk = volume(emptyDir={"sizeLimit": "much"})
    assert "more ephemeral-storage" in refused(disk, max_resources={"ephemeral-storage": quantity("9Gi")})


SOURCE = {"name": "v", "persistentVolumeClaim": {"claimName": "source"}}
LISTED = [
    (pod(tolerations=[{"key": "a/b", "operator": "Exists"}]), "tolerations", ("a/*",), ("c",)),
    (pod(tolerations=[{"operator": "Exists"}]), "tolerations", ("*",), ("a/*",)),
    (pod(node_selector={"a/b": "c"}), "node_labels", ("a/*",), ("c",)),
    (pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]}}),
     "node_labels", ("a",), ("b",)),
    (spec(schedulerName="x"), "schedulers", ("x",), ()),
    (spec(resourceClaims=[{"name": "d", "resourceClaimName": "x"}]), "resource_claims", ("x",), ()),
    (pod(labels={"a/b": "c"}), "labels", ("a/*",), ("b",)),
    (pod(labels={"batch.kubernetes.io/x": "c"}), "labels", ("batch.kubernetes.io/*",), ("*", "batch.*")),
    (pod(annotations={"kubernetes.io/x": "c"}), "annotations", ("kubernetes.io/x",), ("*",)),
    (volume(projected={"sources": [{"clusterTrustBundle": {"name": "x", "path": "y"}}]}),
     "volume_kinds", ("projected", "clusterTrustBundle"), ("projected",)),
    (spec(schedulingGates=[{"name": "x"}]), "fields", ("schedulingGates",), ()),
    (bash(None, sidecars=[beside()]), "secrets", ("reg",), ()),
    (bash(None, volumes=[SOURCE]), "volume_claims", ("source",), ("*", "s*", "sourc[e]", "?ource", "SOURCE")),
    (pod(volumes=[SOURCE]), "volume_claims", ("*", "source"), ("*",)),
    (volume(ephemeral={"volumeClaimTemplate": {"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "source"}}}})
     , "volume_claims", ("source",), ("*",)),
    (volume(persistentVolumeClaim={"claimName": "other"}), "volume_claims", ("*",), ("source",)),
    (bash(None, secrets=["warehouse"]), "secrets", ("warehouse",), ("*", "ware*")),
    (bash(None, secrets=[{"name": "warehouse", "path": "/x"}]), "secrets", ("warehouse",), ("*",)),
    (pod(env_from=[{"secretRef": {"name": "warehouse"}}]), "secrets", ("x", "warehouse"), ("*",)),
    (pod(image_pull_secrets=["warehouse"]), "secrets", ("warehouse",), ("*",)),
    (pod(sidecars=[beside(envFrom=[{"secretRef": {"name": "warehouse"}}])]), "secrets", ("warehouse",), ("*",)),
    (bash(None, secrets=["other"]), "secrets", ("*",), ("warehouse",)),
    (bash(None, sidecars=[beside()]), "secrets", ("*",), ("warehouse",)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "key", "enough", "too_little"), LISTED, ids=[f"{n} {row[1]}" for n, row in enumerate(LISTED)])
def test_what_a_task_names_has_to_be_listed_under_its_key(row, key, enough, too_little):
    kinds = {"volume_kinds": (*DEFAULT.volume_kinds, "ephemeral")}
    assert refused(row, **(kinds | {key: enough})) is None
    assert f"'{key}'" in refused(row, **(kinds | {key: too_little}))


def test_a_longer_grace_may_be_allowed():
    row = pod(grace_seconds=31_000_000)
    assert "'max_grace_seconds'" in refused(row)
    assert refused(row, max_grace_seconds=31_536_000) is None


def test_the_policy_s_own_rules_leave_room_for_what_the_launcher_sets():
    """Labels, annotations, a finalizer and defaults of ours, under a policy that lists nothing."""
    lists = ("service_accounts", "labels", "annotations", "tolerations", "node_labels", "schedulers", "volume_kinds")
    policy = replace(DEFAULT, strict=True, volume_kinds=("emptyDir",), **dict.fromkeys(lists[:-1], ()))
    for row in (pod(), sql(None), bash(None)):
        assert isinstance(plan_of(row, policy), dict)


def test_what_every_pod_has_is_known_and_usual():
    for row in (pod(), bash(None), sql(None), pod(security_context={"runAsUser": 0}, secrets=["x"])):
        made = plan_of(row, replace(DEFAULT, allow_root=True, secrets=("*",)))
        found = dict(fields_of(made["spec"]))
        assert all(found.values())
        assert not ON_REQUEST & found.keys()
    assert {name for name, _ in fields_of(plan_of(pod(resources=None), DEFAULT)["spec"])} <= OF_EVERY_POD


def test_a_refusal_names_every_unknown_field_once():
    row = spec(initContainers=[beside(magic=1), beside(name="other", magic=2)], more=1)
    assert refused(row, strict=True) == (
        "The launcher does not know these fields of a pod: 'container.magic', 'more'; "
        "its policy is strict, and would have to list them under 'fields'."
    )
    assert refused(row) is None


# -- the file


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("strict: yes please", "'strict' in the policy file .* must be true or false, not 'yes please'."),
        ("max_grace_seconds: long", "'max_grace_seconds' in the policy file .* must be a number, not 'long'."),
        ("max_grace_seconds: true", "'max_grace_seconds' in the policy file .* must be a number, not True."),
        ("max_grace_seconds: 0", "'max_grace_seconds' in the policy file .* must be at least 1."),
        ("fields: schedulingGates", "'fields' in the policy file .* must be a list, not 'schedulingGates'."),
        ("tolerations: [{}]", "'tolerations' in the policy file .* must be a list of strings"),
        ("refused_fields: [container.*]", "'container.*' under 'refused_fields' in .* fits 'container.name', which the launcher"),
        ("refused_fields: [hostAlias]", "'hostAlias' under 'refused_fields' in the policy file .* fits no field of a pod."),
        ("secrets: [a]\nimages: [x/*]\nsecrets: [b]", r"The policy file .* has the key 'secrets' twice \(line 3\)."),
        ("max_resources: {cpu: 1, cpu: 99}", r"The policy file .* has the key 'cpu' twice \(line 1\)."),
        ("max_resources: [cpu]", "'max_resources' in the policy file .* must be a mapping"),
        ("field: []", "has no key 'field'; known: images,"),
    ],
)
def test_a_wrong_policy_file_is_refused(tmp_path, text, sentence):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InvalidSettings, match=sentence):
        read_policy(tmp_path / "policy.yaml")


def test_a_policy_file_may_have_every_key(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("strict: true\nmax_grace_seconds: 60\nrefused_fields: [affinity]\nschedulers: []\nlabels: [team]\n")
    policy = read_policy(file)
    assert (policy.strict, policy.max_grace_seconds, policy.refused_fields) == (True, 60, ("affinity",))
    assert (policy.schedulers, policy.labels, policy.annotations) == ((), ("team",), POLICIES["default"].annotations)
