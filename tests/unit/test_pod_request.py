"""The arguments of operator `pod`, and the settings of other operators' pods."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.request import check_pod, read_pod, read_settings, split_pod_settings
from halfstep_worker.operators import check_args, load

IMAGE = {"image": "busybox"}

BAD = [
    ([], "The args of operator 'pod' must be a JSON object, not a list."),
    ({}, "Operator 'pod' needs the argument 'image', or a 'template' that names one."),
    ({"image": 3}, "Argument 'image' of operator 'pod' must be a string, not a whole number."),
    ({"image": "a b"}, "Argument 'image' of operator 'pod' must be a name without blanks."),
    (IMAGE | {"command": "true"}, "Argument 'command' of operator 'pod' must be a list, not a string."),
    (IMAGE | {"command": [1]}, "Argument 'command' of operator 'pod' must be a list of strings, not with a whole number."),
    (IMAGE | {"env": {"A": 1}}, "'A' in argument 'env' of operator 'pod' must be a string, not a whole number."),
    (IMAGE | {"env": {"A=B": "1"}}, "'A=B' in argument 'env' of operator 'pod' is no name for a variable."),
    (
        IMAGE | {"image_pull_policy": "Sometimes"},
        "Argument 'image_pull_policy' of operator 'pod' must be one of Always, IfNotPresent, Never.",
    ),
    (IMAGE | {"on_finish": "burn"}, "Argument 'on_finish' of operator 'pod' must be one of delete, keep, keep_on_failure."),
    (IMAGE | {"grace_seconds": 0}, "Argument 'grace_seconds' of operator 'pod' must be more than 0 seconds and at most a year."),
    (IMAGE | {"grace_seconds": 1.5}, "Argument 'grace_seconds' of operator 'pod' must be a whole number, not a number."),
    (
        IMAGE | {"startup_timeout": -1},
        "Argument 'startup_timeout' of operator 'pod' must be more than 0 seconds and at most a year.",
    ),
    (
        IMAGE | {"namespace": "A_b"},
        "Argument 'namespace' of operator 'pod' is no name for a namespace: small letters, digits and - only.",
    ),
    (
        IMAGE | {"resources": {"cpu": 1}},
        "Argument 'resources' of operator 'pod' holds the objects 'requests' and 'limits', and nothing else.",
    ),
    (
        IMAGE | {"resources": {"limits": {"cpu": True}}},
        "'cpu' in argument 'resources' of operator 'pod' must be a string or a number.",
    ),
    (
        IMAGE | {"labels": {"halfstep.io/keep": "true"}},
        "'halfstep.io/keep' in argument 'labels' of operator 'pod' begins with halfstep.io/, which is halfstep's own.",
    ),
    (
        IMAGE | {"sidecars": [{"name": "main", "image": "x"}]},
        "in argument 'sidecars' of operator 'pod' can't be called 'main', as the task's own is.",
    ),
    (IMAGE | {"sidecars": [{"image": "x"}]}, "Each item of argument 'sidecars' of operator 'pod' needs a 'name', a string."),
    (
        IMAGE | {"init_containers": [{"name": "a", "image": "x"}] * 2},
        "Two containers in argument 'init_containers' of operator 'pod' have the same name.",
    ),
    (IMAGE | {"volumes": ["v"]}, "Argument 'volumes' of operator 'pod' must be a list of objects, not with a string."),
    (
        IMAGE | {"volume_mounts": [{"name": "v"}]},
        "Each item of argument 'volume_mounts' of operator 'pod' needs a 'mountPath', a string.",
    ),
    (IMAGE | {"secrets": [3]}, "Each item of argument 'secrets' of operator 'pod' must be a name, or an object of strings."),
    (IMAGE | {"secrets": [{"key": "k"}]}, "Each item of argument 'secrets' of operator 'pod' needs a 'name'."),
    (
        IMAGE | {"secrets": [{"name": "s", "env": "A"}]},
        "An item of argument 'secrets' of operator 'pod' with 'env' needs the 'key' whose value the variable gets.",
    ),
    (
        IMAGE | {"secrets": [{"name": "s", "key": "k"}]},
        "with a 'key' needs 'env', the variable, or 'path', the file, that gets its value.",
    ),
    (
        IMAGE | {"secrets": [{"name": "s", "key": "k", "env": "A", "path": "/a"}]},
        "An item of argument 'secrets' of operator 'pod' has 'env' or 'path', not both; write two items.",
    ),
    (
        IMAGE | {"config_maps": [{"name": "s", "path": "a"}]},
        "The 'path' of an item of argument 'config_maps' of operator 'pod' must begin with /.",
    ),
    (
        IMAGE | {"config_maps": [{"name": "s", "mount": "a"}]},
        "An item of argument 'config_maps' of operator 'pod' has no key 'mount'; known: name, key, env, path.",
    ),
    (IMAGE | {"security_context": {"user": 1}}, None),
    (IMAGE | {"template": 3}, "Argument 'template' of operator 'pod' must be a string or an object, not a whole number."),
    ({"template": ""}, "The template of a pod must be an object, not null."),
    ({"template": {}}, "Operator 'pod' needs the argument 'image', or a 'template' that names one."),
    ({"template": "a: [b"}, None),
    (
        {"template": "spec: &a {}\nmetadata: *a"},
        "The template of a pod is neither YAML nor JSON (line 2): aliases (*name) are not taken.",
    ),
    ({"template": "- a"}, "The template of a pod must be an object, not a list."),
    ({"template": {"kind": "Job"}}, "The template of a pod must be of the kind Pod, not Job."),
    ({"template": {"containers": []}}, "The template of a pod has no key 'containers'; known: apiVersion, kind, metadata, spec."),
    (
        {"template": {"spec": {"containers": [{"image": "x"}]}}},
        "Each item of 'containers' in the template of a pod must be an object with a name.",
    ),
    ({"template": {"spec": {"volumes": {}}}}, "'volumes' in the template of a pod must be a list, not an object."),
    ({"template": {"metadata": {"labels": []}}}, "'labels' in the template of a pod must be an object, not a list."),
    (
        {"template": "metadata: {labels: {day: 2026-01-31}}"},
        "2026-01-31 in the template of a pod must be a string; put it into quotes.",
    ),
    ({"template": "metadata: {labels: {1: a}}"}, "Key 1 in the template of a pod must be a string; put it into quotes."),
    ({"template": "metadata: {labels: {a: .nan}}"}, "nan in the template of a pod must be a string; put it into quotes."),
    ({"template": "!!int ''"}, "The template of a pod is neither YAML nor JSON: it can't be read."),
    ({"template": "[" * 5000}, "The template of a pod is neither YAML nor JSON (line 1): it is nested deeper than 60 levels."),
    (
        {"template": '{"a":' * 3000},
        "The template of a pod is neither YAML nor JSON (line 1): it is nested deeper than 60 levels.",
    ),
    ({"template": "a" * 17_000}, "The template of a pod must not be larger than 16 KiB, or 64 KiB as JSON."),
    ({"template": "{" + "a" * 66_000}, "The template of a pod must not be larger than 16 KiB, or 64 KiB as JSON."),
    ({"template": {"file": "../pod.yaml"}}, "Path '../pod.yaml' must be relative to the source folder and stay inside it."),
]


@pytest.mark.parametrize(("args", "sentence"), BAD)
def test_bad_args_are_refused_with_a_sentence(args, sentence):
    with pytest.raises(InvalidTask, match=re.escape(sentence) if sentence else None) as caught:
        check_args("pod", args)
    assert str(caught.value).endswith(".")


def test_an_unknown_argument_lists_the_known_ones():
    with pytest.raises(InvalidTask, match=r"Operator 'pod' has no argument 'imagee'; known: image, command, arguments, "):
        check_pod({"imagee": "x"})


def test_args_nested_beyond_reason_are_refused():
    nested: dict = {}
    for _ in range(200):
        nested = {"a": nested}
    with pytest.raises(InvalidTask, match="must not be nested deeper than 60 levels"):
        check_pod(IMAGE | {"affinity": nested})


def test_null_is_the_same_as_leaving_out():
    assert read_pod(IMAGE | {"env": None, "template": None, "on_finish": None}) == read_pod(IMAGE)


def test_an_image_alone_asks_for_nothing_else():
    request = read_pod(IMAGE)
    assert request.wanted == {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    assert (request.on_finish, request.startup_timeout, request.namespace, request.cluster) == ("delete", 600.0, None, None)


def test_arguments_become_the_fields_of_a_pod():
    request = read_pod(
        {
            "image": "a:1", "command": ["c"], "arguments": ["x"], "env": {"A": "1"},
            "env_from": [{"configMapRef": {"name": "m"}}], "service_account": "runner",
            "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
            "node_selector": {"disk": "fast"}, "tolerations": [{"key": "gpu"}], "affinity": {"nodeAffinity": {}},
            "volumes": [{"name": "v", "emptyDir": {}}], "volume_mounts": [{"name": "v", "mountPath": "/v"}],
            "init_containers": [{"name": "i", "image": "i"}], "sidecars": [{"name": "s", "image": "s"}],
            "image_pull_policy": "Always", "image_pull_secrets": ["reg"], "priority_class": "low", "active_deadline_seconds": 60,
            "security_context": {"runAsUser": 7, "fsGroup": 8, "readOnlyRootFilesystem": True},
            "labels": {"team": "x"}, "annotations": {"note": "y"}, "namespace": "batch", "cluster": "eu", "grace_seconds": 5,
            "on_finish": "keep", "startup_timeout": 10,
        }
    )  # fmt: skip
    assert request.wanted == {
        "metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}},
        "spec": {
            "serviceAccountName": "runner", "nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "gpu"}],
            "affinity": {"nodeAffinity": {}}, "priorityClassName": "low", "activeDeadlineSeconds": 60,
            "terminationGracePeriodSeconds": 5, "initContainers": [{"name": "i", "image": "i"}],
            "imagePullSecrets": [{"name": "reg"}], "securityContext": {"runAsUser": 7, "fsGroup": 8},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main", "image": "a:1", "imagePullPolicy": "Always", "command": ["c"], "args": ["x"],
                    "env": [{"name": "A", "value": "1"}], "envFrom": [{"configMapRef": {"name": "m"}}],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}], "securityContext": {"readOnlyRootFilesystem": True},
                },
                {"name": "s", "image": "s"},
            ],
        },
    }  # fmt: skip
    assert (request.namespace, request.cluster, request.on_finish, request.startup_timeout) == ("batch", "eu", "keep", 10.0)


def test_short_forms_of_secrets_become_variables_and_files():
    secrets = [
        "all",
        {"name": "db", "key": "password", "env": "DB_PASSWORD"},
        {"name": "tls", "path": "/etc/tls"},
        {"name": "tls", "key": "ca.crt", "path": "/etc/ca.crt"},
    ]
    spec = read_pod(IMAGE | {"secrets": secrets, "config_maps": ["settings", {"name": "app", "path": "/etc/app"}]}).wanted["spec"]
    main = spec["containers"][0]
    assert main["envFrom"] == [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "settings"}}]
    assert main["env"] == [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]
    assert main["volumeMounts"] == [
        {"name": "halfstep-secret-2", "mountPath": "/etc/tls", "readOnly": True},
        {"name": "halfstep-secret-3", "mountPath": "/etc/ca.crt", "readOnly": True, "subPath": "ca.crt"},
        {"name": "halfstep-config-map-1", "mountPath": "/etc/app", "readOnly": True},
    ]
    assert spec["volumes"] == [
        {"name": "halfstep-secret-2", "secret": {"secretName": "tls"}},
        {"name": "halfstep-secret-3", "secret": {"secretName": "tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"name": "halfstep-config-map-1", "configMap": {"name": "app"}},
    ]


TEMPLATE = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "main", "image": "x"}]}}
YAML = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: main\n    image: x\n"


@pytest.mark.parametrize("template", [TEMPLATE, json.dumps(TEMPLATE), YAML], ids=["object", "JSON", "YAML"])
def test_a_template_is_an_object_or_text(template):
    assert read_pod({"template": template}).template == TEMPLATE


def test_a_template_may_lie_in_the_source_folder(tmp_path):
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / "big.yaml").write_text(YAML)
    check_args("pod", {"template": {"file": "pods/big.yaml"}})
    assert read_pod({"template": {"file": "pods/big.yaml"}}, source=tmp_path).template == TEMPLATE


def test_a_source_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "pod.yaml").write_text(YAML)
    (tmp_path / "link").symlink_to("real")
    assert read_pod({"template": {"file": "pod.yaml"}}, source=tmp_path / "link").template == TEMPLATE


def test_a_changed_template_file_is_read_anew(tmp_path):
    (tmp_path / "pod.yaml").write_text(YAML)
    read_pod({"template": {"file": "pod.yaml"}}, source=tmp_path)
    (tmp_path / "pod.yaml").write_text(YAML.replace("image: x", "image: y"))
    assert read_pod({"template": {"file": "pod.yaml"}}, source=tmp_path).template["spec"]["containers"][0]["image"] == "y"


@pytest.mark.parametrize(("content", "sentence"), [(None, "There is no file 'pod.yaml'"), (b"\xff\xfe\xfa", "is not UTF-8 text")])
def test_a_template_file_that_cannot_be_read_is_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "pod.yaml").write_bytes(content)
    with pytest.raises(InvalidTask, match=sentence):
        read_pod({"template": {"file": "pod.yaml"}}, source=tmp_path)


def test_a_template_file_needs_a_source_folder():
    with pytest.raises(InvalidTask, match=r"this worker has no source folder; start it with --source DIR\."):
        read_pod({"template": {"file": "pod.yaml"}})


# -- other operators


def test_the_settings_of_a_pod_are_split_from_the_args_of_an_operator():
    assert split_pod_settings({"command": "true", "pod": {"image": "x"}}) == ({"command": "true"}, {"image": "x"})
    assert split_pod_settings({"command": "true"}) == ({"command": "true"}, {})
    assert split_pod_settings({"command": "true", "pod": None}) == ({"command": "true"}, {})


def test_another_operator_takes_settings_of_its_pod_only_where_it_is_placed_in_one():
    args = {"command": "true", "pod": {"resources": {"limits": {"memory": "1Gi"}}, "connections": ["warehouse"]}}
    check_args("bash", args, placement="pod")
    for placement in (None, "worker"):
        with pytest.raises(InvalidTask, match="Operator 'bash' has no argument 'pod'"):
            check_args("bash", args, placement=placement)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ([], "The settings under 'pod' must be an object, not a list."),
        ("", "The settings under 'pod' must be an object, not a string."),
        ({"command": ["x"]}, "The settings under 'pod' have no 'command': what runs is the task's operator."),
        ({"image": 1}, "Argument 'image' of operator 'pod' must be a string, not a whole number."),
        ({"connections": [1]}, "Argument 'connections' of operator 'pod' must be a list of strings, not with a whole number."),
    ],
)
def test_bad_settings_of_a_pod_are_refused(settings, sentence):
    with pytest.raises(InvalidTask, match=re.escape(sentence)):
        check_args("bash", {"command": "true", "pod": settings}, placement="pod")


def test_settings_need_no_image():
    assert read_settings({}).wanted == {"spec": {"containers": [{"name": "main"}]}}
    assert read_settings({"connections": ["a"]}).connections == ("a",)


# -- where `pod` may run


def test_a_worker_refuses_operator_pod_with_a_sentence():
    with pytest.raises(InvalidTask, match=r"^Operator 'pod' needs placement pod; enqueue the task with it\.$"):
        load({}).run("pod", IMAGE)
    with pytest.raises(InvalidTask, match="needs placement pod"):
        check_args("pod", IMAGE, placement="worker")
    check_args("pod", IMAGE, placement="pod")


@pytest.mark.parametrize("first", ["halfstep_worker.kubernetes.request", "halfstep_worker.operators"])
def test_checking_needs_no_client_library_whichever_is_imported_first(first):
    code = f"import sys, {first}; from halfstep_worker.operators import check_args; check_args('pod', {{'image': 'x'}}); "
    code += "print('kubernetes' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
