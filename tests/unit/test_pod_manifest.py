"""From a request to the pod that is created: safe defaults under it, our marks over it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults, SecretKey
from halfstep_worker.kubernetes.identity import mark
from halfstep_worker.kubernetes.manifest import build, build_operator_pod, owned_by
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.request import read_pod, read_settings
from halfstep_worker.kubernetes.values import Identity

IDENTITY = Identity("11111111-2222-3333-4444-555555555555", "ABCDEF00-2222-3333-4444-555555555555", 42, 2, "etl", "pod")
NAME = "hs-abcdef00-2222-3333-4444-555555555555"
DEFAULTS = PodDefaults()


def pod_of(args, **more):
    return build(read_pod(args, **more), IDENTITY, DEFAULTS).pod


def main_of(pod):
    return next(container for container in pod["spec"]["containers"] if container["name"] == "main")


def test_an_image_alone_gives_a_restricted_pod():
    assert pod_of({"image": "busybox", "command": ["true"]}) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "namespace": "halfstep-tasks",
            "labels": {
                "halfstep.io/installation": IDENTITY.installation,
                "halfstep.io/attempt": IDENTITY.attempt_id.lower(),
                "halfstep.io/task": "42",
                "halfstep.io/queue": "etl",
                "halfstep.io/operator": "pod",
            },
            "annotations": {
                "halfstep.io/queue": "etl",
                "halfstep.io/operator": "pod",
                "halfstep.io/made": mark(IDENTITY.installation, IDENTITY.attempt_id),
                "kubectl.kubernetes.io/default-container": "main",
            },
            "finalizers": ["halfstep.io/verdict"],
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": "busybox",
                    "command": ["true"],
                    "env": [{"name": "HALFSTEP_TASK_ID", "value": "42"}, {"name": "HALFSTEP_ATTEMPT", "value": "2"}],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def test_every_container_is_restricted():
    spec = pod_of(
        {"image": "a", "sidecars": [{"name": "s", "image": "s"}], "init_containers": [{"name": "i", "image": "i"}]}
    )["spec"]  # fmt: skip
    for container in [*spec["containers"], *spec["initContainers"]]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_a_native_sidecar_stays_one():
    init = {"name": "proxy", "image": "p", "restartPolicy": "Always"}
    spec = pod_of({"image": "a", "init_containers": [init]})["spec"]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"
    assert spec["restartPolicy"] == "Never"


OLD = [{"name": "A", "value": "old"}, {"name": "B", "value": "b"}]


def test_arguments_win_over_the_template():
    template = {
        "metadata": {"labels": {"team": "a", "tier": "x"}},
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "containers": [
                {"name": "log", "image": "l"},
                {
                    "name": "main",
                    "image": "old",
                    "tty": True,
                    "env": [{"name": "A", "value": "old"}, {"name": "B", "value": "b"}],
                },
            ],
        },
    }
    pod = pod_of({"template": template, "image": "new", "env": {"A": "new"}, "labels": {"team": "b"}})
    main = main_of(pod)
    assert (main["image"], main["tty"]) == ("new", True)
    assert {item["name"]: item["value"] for item in main["env"][:2]} == {"A": "new", "B": "b"}
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["labels"]["tier"]) == ("b", "x")
    assert [container["name"] for container in pod["spec"]["containers"]] == ["log", "main"]
    assert (pod["spec"]["restartPolicy"], pod["spec"]["terminationGracePeriodSeconds"]) == ("Never", 5)


def test_without_a_main_the_first_container_of_the_template_is_the_task():
    pod = pod_of({"template": {"spec": {"containers": [{"name": "app", "image": "a"}, {"name": "log", "image": "l"}]}}})
    assert [(item["name"], item["image"]) for item in pod["spec"]["containers"]] == [("main", "a"), ("log", "l")]


def test_a_pod_without_an_image_is_refused():
    with pytest.raises(InvalidTask, match="The pod has no image: give the argument 'image'"):
        pod_of({"template": {"spec": {"containers": [{"name": "main"}]}}})


def test_null_takes_a_default_away():
    container = {"name": "main", "image": "x", "securityContext": {"capabilities": None}, "terminationMessagePolicy": None}
    pod = pod_of({"template": {"spec": {"securityContext": {"runAsUser": None}, "containers": [container]}}})
    assert "runAsUser" not in pod["spec"]["securityContext"]
    assert main_of(pod)["securityContext"] == {"allowPrivilegeEscalation": False}
    assert "terminationMessagePolicy" not in main_of(pod)
    assert "runAsUser" not in pod_of({"image": "x", "security_context": {"runAsUser": None}})["spec"]["securityContext"]


def test_user_0_is_asked_for_without_contradiction():
    assert pod_of({"image": "x", "security_context": {"runAsUser": 0}})["spec"]["securityContext"]["runAsNonRoot"] is False
    template = {"spec": {"containers": [{"name": "main", "image": "x", "securityContext": {"runAsUser": 0, "privileged": True}}]}}
    assert main_of(pod_of({"template": template}))["securityContext"] == {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "privileged": True,
    }


@pytest.mark.parametrize(
    ("args", "mounted"),
    [
        ({"service_account": "default"}, False),
        ({"service_account": "runner"}, True),
        ({"template": {"spec": {"serviceAccount": "runner"}}}, True),
        ({"template": {"spec": {"serviceAccountName": "runner", "automountServiceAccountToken": False}}}, False),
    ],
)
def test_a_token_is_mounted_only_for_an_account_that_is_named(args, mounted):
    spec = pod_of({"image": "x"} | args)["spec"]
    assert spec["automountServiceAccountToken"] is mounted
    assert "serviceAccount" not in spec


def test_a_namespace_comes_from_the_argument_or_the_launcher_and_not_from_the_template():
    template = {"metadata": {"namespace": "kube-system", "name": "x", "ownerReferences": [{}], "finalizers": ["a/b"]}}
    metadata = pod_of({"image": "x", "template": template})["metadata"]
    assert (metadata["namespace"], metadata["name"], metadata["finalizers"]) == ("halfstep-tasks", NAME, ["halfstep.io/verdict"])
    assert "ownerReferences" not in metadata
    assert pod_of({"image": "x", "namespace": "batch"})["metadata"]["namespace"] == "batch"


def test_marks_of_ours_in_a_template_are_left_out():
    template = {
        "metadata": {"labels": {"halfstep.io/keep": "true", "halfstep.io/task": "1"}, "annotations": {"halfstep.io/queue": "x"}}
    }
    metadata = pod_of({"image": "x", "template": template})["metadata"]
    assert "halfstep.io/keep" not in metadata["labels"]
    assert (metadata["labels"]["halfstep.io/task"], metadata["annotations"]["halfstep.io/queue"]) == ("42", "etl")


KEYS = st.sampled_from(
    [
        "restartPolicy", "containers", "initContainers", "volumes", "env", "securityContext", "name", "image", "labels",
        "finalizers", "namespace", "annotations", "runAsUser", "capabilities", "secret", "halfstep.io/keep", "serviceAccount",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["main", "Always", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5)
CONTAINERS = st.lists(st.builds(lambda name, rest: rest | {"name": name}, st.sampled_from(["main", "b"]), OBJECTS))
SPECS = OBJECTS | st.builds(lambda rest, own: rest | {"containers": own}, OBJECTS, CONTAINERS)
TEMPLATES = st.fixed_dictionaries({}, optional={"metadata": OBJECTS, "spec": SPECS})


@settings(max_examples=300, deadline=None)
@given(TEMPLATES, st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from(["a", "b"])))
def test_our_marks_survive_any_template(template, labels):
    try:
        pod = pod_of({"image": "x", "template": template, "labels": labels})
    except InvalidTask:
        return
    metadata = pod["metadata"]
    assert (metadata["name"], metadata["namespace"], metadata["finalizers"]) == (NAME, "halfstep-tasks", ["halfstep.io/verdict"])
    assert {key: value for key, value in metadata["labels"].items() if key.startswith("halfstep.io/")} == {
        "halfstep.io/installation": IDENTITY.installation,
        "halfstep.io/attempt": IDENTITY.attempt_id.lower(),
        "halfstep.io/task": "42",
        "halfstep.io/queue": "etl",
        "halfstep.io/operator": "pod",
    }
    assert labels.items() <= metadata["labels"].items()
    assert pod["spec"]["restartPolicy"] == "Never"
    assert len([container for container in pod["spec"]["containers"] if container["name"] == "main"]) == 1
    LauncherPolicy().refusal(pod, Cluster())


# -- other operators


RUNTIME = PodDefaults(
    image="runtime:1",
    image_pull_policy="Never",
    image_pull_secrets=("reg",),
    env={"HALFSTEP_IMPORT": "jobs"},
    connections={"warehouse": SecretKey("db", "url"), "shop-api": SecretKey("shop", "token")},
    source="/source",
    source_volume={"persistentVolumeClaim": {"claimName": "source"}},
)
TASK = {"operator": "sql", "args": {"connection": "warehouse", "statement": "SELECT 1"}}


def plan_of(settings, *, defaults=RUNTIME, task=TASK):
    return build_operator_pod(read_settings(settings), IDENTITY, defaults, task=task)


def test_another_operator_runs_in_the_image_of_the_runtime():
    plan = plan_of({})
    main, spec = main_of(plan.pod), plan.pod["spec"]
    assert (main["image"], main["imagePullPolicy"]) == ("runtime:1", "Never")
    assert main["command"] == ["python", "-m", "halfstep_worker.kubernetes.body"]
    assert spec["imagePullSecrets"] == [{"name": "reg"}]
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in main["volumeMounts"]} == {"/tmp", "/halfstep/task", "/source"}
    assert {volume["name"]: volume for volume in spec["volumes"]} == {
        "halfstep-tmp": {"name": "halfstep-tmp", "emptyDir": {}},
        "halfstep-task": {"name": "halfstep-task", "configMap": {"name": NAME}},
        "halfstep-source": {"name": "halfstep-source", "persistentVolumeClaim": {"claimName": "source"}},
    }


def test_its_task_lies_in_a_config_map_of_the_same_name():
    config_map = plan_of({}).config_map
    assert (config_map["metadata"]["name"], config_map["metadata"]["namespace"]) == (NAME, "halfstep-tasks")
    assert config_map["metadata"]["labels"]["halfstep.io/task"] == "42"
    assert json.loads(config_map["data"]["task.json"]) == TASK
    assert owned_by(config_map, "uid-1")["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": NAME, "uid": "uid-1"}
    ]


def test_connections_are_references_and_only_those_that_are_named():
    env = {item["name"]: item for item in main_of(plan_of({"connections": ["shop-api"]}).pod)["env"]}
    assert env["HALFSTEP_CONNECTION_WAREHOUSE"]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    assert env["HALFSTEP_CONNECTION_SHOP-API"]["valueFrom"] == {"secretKeyRef": {"name": "shop", "key": "token"}}
    assert (env["HALFSTEP_IMPORT"]["value"], env["HALFSTEP_SOURCE"]["value"], env["HOME"]["value"]) == ("jobs", "/source", "/tmp")
    bash = plan_of({}, task={"operator": "bash", "args": {"command": "true"}})
    assert "HALFSTEP_CONNECTION" not in json.dumps(bash.pod)


def test_an_unknown_connection_is_refused():
    with pytest.raises(InvalidTask, match=r"This launcher has no Secret for connection 'x'; known: shop-api, warehouse\."):
        plan_of({"connections": ["x"]})


def test_the_launchers_own_part_is_not_judged_and_cannot_be_changed():
    template = {
        "spec": {
            "volumes": [{"name": "halfstep-task", "secret": {"secretName": "other"}}],
            "containers": [
                {"name": "main", "command": ["evil"], "args": ["-x"], "env": [{"name": "HALFSTEP_SOURCE", "value": "/evil"}]}
            ],
        }
    }
    plan = plan_of({"template": template})
    assert LauncherPolicy().refusal(plan.asked, Cluster()).startswith("Secret 'other' may not be used by tasks")
    main = main_of(plan.pod)
    assert main["command"] == ["python", "-m", "halfstep_worker.kubernetes.body"]
    assert "args" not in main
    assert {"name": "HALFSTEP_SOURCE", "value": "/source"} in main["env"]
    assert {"name": "halfstep-task", "configMap": {"name": NAME}} in plan.pod["spec"]["volumes"]
    assert LauncherPolicy(images=("other/*",)).refusal(plan_of({}).asked, Cluster()) is None


def test_an_image_of_its_own_gets_no_pull_secrets_of_the_launcher():
    plan = plan_of({"image": "mine:1"})
    assert main_of(plan.pod)["image"] == "mine:1"
    assert "imagePullSecrets" not in plan.pod["spec"]


def test_without_an_image_of_the_runtime_one_must_be_given():
    with pytest.raises(InvalidTask, match="This launcher has no image for operators in pods"):
        plan_of({}, defaults=PodDefaults(), task={"args": {}})


def test_a_task_may_make_its_root_writable():
    plan = plan_of({"security_context": {"readOnlyRootFilesystem": False}})
    assert main_of(plan.pod)["securityContext"]["readOnlyRootFilesystem"] is False


def test_the_argument_grace_seconds_is_the_grace_of_the_pod():
    assert pod_of({"image": "x", "grace_seconds": 3})["spec"]["terminationGracePeriodSeconds"] == 3


@pytest.mark.parametrize("grace", [0, -1, "30", 1.5, True, {}, 31_536_001])
def test_a_grace_that_is_none_is_refused(grace):
    with pytest.raises(
        InvalidTask, match="'terminationGracePeriodSeconds' in the template of a pod must be whole seconds, from 1 to a year"
    ):
        pod_of({"image": "x", "template": {"spec": {"terminationGracePeriodSeconds": grace}}})
