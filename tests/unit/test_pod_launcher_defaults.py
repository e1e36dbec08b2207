"""What a launcher lays under the pods of all tasks (`pods.defaults` in the clusters file): how it is read, and who wins."""

from __future__ import annotations

import json
import time

import pytest

from halfstep.claims import Claim
from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.clusters import read_clusters
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.fragment import variables_of
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy, read_policy
from waiting import is_within

CLAIM = Claim(7, "token", "etl", "pod", "{}", 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11")
DEFAULTS = {
    "labels": {"team": "data", "tier": "batch"},
    "annotations": {"cost/center": "4711", "example.com/scrape": "no"},
    "env": {"HTTP_PROXY": "http://proxy:3128", "TZ": "UTC"},
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    "node_selector": {"pool": "tasks", "disk": "ssd"},
    "tolerations": [{"key": "tasks", "operator": "Exists", "effect": "NoSchedule"}],
    "image_pull_secrets": ["registry"],
    "service_account": "runner",
    "priority_class": "low",
    "runtime_class": "gvisor",
}
RUNTIME = {"image": "runtime:1", "connections": {"warehouse": {"secret": "db", "key": "url"}}}


def cluster_with(tmp_path, **pods):
    file = tmp_path / "clusters.yaml"
    file.write_text(json.dumps({"default": {"pods": pods}}))  # YAML has JSON in it
    return read_clusters(file, {})[""]


@pytest.fixture
def plan(tmp_path):
    """What comes of a task's args: the pod, or a refusal."""

    def planned(args, *, operator="pod", defaults=None, policy=None):
        cluster = cluster_with(tmp_path, defaults=DEFAULTS if defaults is None else defaults, **RUNTIME)
        found = Planner(cluster, policy or LauncherPolicy(), "i")(CLAIM._replace(args=json.dumps(args), operator=operator))
        return found.manifest[0] if isinstance(found, Flight) else found

    return planned


def main_of(pod):
    return next(container for container in pod["spec"]["containers"] if container["name"] == "main")


def env_of(pod):
    return {item["name"]: item.get("value") for item in main_of(pod)["env"]}


OF_BOTH = [
    pytest.param("pod", {"image": "x"}, id="operator pod"),
    pytest.param("bash", {"command": "true"}, id="another operator"),
    pytest.param("sql", {"connection": "warehouse", "statement": "SELECT 1"}, id="a pod with connections"),
]


@pytest.mark.parametrize(("operator", "args"), OF_BOTH)
def test_every_pod_gets_all_of_them(plan, operator, args):
    pod = plan(args, operator=operator)
    spec = pod["spec"]
    assert DEFAULTS["labels"].items() <= pod["metadata"]["labels"].items()
    assert DEFAULTS["annotations"].items() <= pod["metadata"]["annotations"].items()
    assert DEFAULTS["env"].items() <= env_of(pod).items()
    assert main_of(pod)["resources"] == DEFAULTS["resources"]
    assert (spec["nodeSelector"], spec["tolerations"]) == (DEFAULTS["node_selector"], DEFAULTS["tolerations"])
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("runner", True)
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("low", "gvisor")
    assert pod["metadata"]["finalizers"] == ["halfstep.io/verdict"]


def test_nothing_is_laid_under_where_there_are_none(plan):
    assert plan({"image": "x"}, defaults={}) == plan({"image": "x"}, defaults={"labels": {}, "env": {}})


# -- who wins

SPEC = ["nodeSelector", "tolerations", "imagePullSecrets", "serviceAccountName", "priorityClassName", "runtimeClassName"]


def told(pod):
    """The part of a pod that defaults can be for."""
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if not key.startswith("halfstep.io/")}
    env = {name: value for name, value in env_of(pod).items() if not name.startswith("HALFSTEP_")}
    spec = {key: pod["spec"][key] for key in SPEC if key in pod["spec"]}
    return {"labels": labels, "env": env, "resources": main_of(pod).get("resources")} | spec


A, B = {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}
MERGED = [
    ("labels merge by key, the task's word wins", {"labels": {"team": "data", "tier": "batch"}},
     {"labels": {"team": "shop", "x": "y"}},
     {"labels": {"team": "shop", "tier": "batch", "x": "y"}}),
    ("variables by name", {"env": {"A": "1", "B": "2"}}, {"env": {"B": "3", "C": "4"}}, {"env": {"A": "1", "B": "3", "C": "4"}}),
    ("nodes by key", {"node_selector": {"pool": "a", "disk": "ssd"}}, {"node_selector": {"pool": "b"}},
     {"nodeSelector": {"pool": "b", "disk": "ssd"}}),
    ("tolerations are appended", {"tolerations": [A]}, {"tolerations": [B]}, {"tolerations": [A, B]}),
    ("a toleration that both have stands once", {"tolerations": [A]}, {"tolerations": [B, A]}, {"tolerations": [A, B]}),
    ("pull secrets by name", {"image_pull_secrets": ["a"]}, {"image_pull_secrets": ["b", "a"]},
     {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}),
    ("the task's account", {"service_account": "a"}, {"service_account": "b"}, {"serviceAccountName": "b"}),
    ("the account default", {"service_account": "a"}, {"service_account": "default"}, {"serviceAccountName": "default"}),
    ("the task's priority", {"priority_class": "low"}, {"priority_class": "high"}, {"priorityClassName": "high"}),
    ("the task's runtime class", {"runtime_class": "gvisor"}, {"runtime_class": "kata"}, {"runtimeClassName": "kata"}),
    ("resources by key", {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}, {"resources": {"limits": {"memory": "2Gi"}}},
     {"resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}),
    ("a request above the default limit raises it", {"resources": {"limits": {"memory": "1Gi"}}},
     {"resources": {"requests": {"memory": "2Gi"}}},
     {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}}}),
    ("a limit below the default request lowers it", {"resources": {"requests": {"memory": "1Gi"}}},
     {"resources": {"limits": {"memory": "256Mi"}}},
     {"resources": {"requests": {"memory": "256Mi"}, "limits": {"memory": "256Mi"}}}),
    ("what the task contradicts itself is left to the API server", {"resources": {"limits": {"memory": "1Gi"}}},
     {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Mi"}}},
     {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Mi"}}}),
    ("a label's null in a template", {"labels": {"team": "data"}}, {"template": {"metadata": {"labels": {"team": None}}}},
     {"labels": {"team": "data"}}),
    ("a null for all labels", {"labels": {"team": "data"}}, {"template": {"metadata": {"labels": None}}},
     {"labels": {"team": "data"}}),
    ("a null for the nodes", {"node_selector": {"pool": "a"}}, {"template": {"spec": {"nodeSelector": None}}},
     {"nodeSelector": {"pool": "a"}}),
    ("a null for one label of nodes", {"node_selector": {"pool": "a"}}, {"template": {"spec": {"nodeSelector": {"pool": None}}}},
     {"nodeSelector": {"pool": "a"}}),
    ("a null for the runtime class", {"runtime_class": "gvisor"}, {"template": {"spec": {"runtimeClassName": None}}},
     {"runtimeClassName": "gvisor"}),
    ("an empty text for it", {"runtime_class": "gvisor"}, {"template": {"spec": {"runtimeClassName": ""}}},
     {"runtimeClassName": "gvisor"}),
    ("an empty priority", {"priority_class": "low"}, {"template": {"spec": {"priorityClassName": ""}}},
     {"priorityClassName": "low"}),
    ("an empty account", {"service_account": "a"}, {"template": {"spec": {"serviceAccountName": ""}}},
     {"serviceAccountName": "a"}),
    ("the account's old name", {"service_account": "a"}, {"template": {"spec": {"serviceAccount": "b"}}},
     {"serviceAccountName": "b"}),
    ("a null for the resources", {"resources": {"limits": {"memory": "1Gi"}}},
     {"template": {"spec": {"containers": [{"name": "main", "resources": None}]}}}, {"resources": {"limits": {"memory": "1Gi"}}}),
    ("a null for all variables", {"env": {"A": "1"}}, {"template": {"spec": {"containers": [{"name": "main", "env": None}]}}},
     {"env": {"A": "1"}}),
    ("an empty list of tolerations", {"tolerations": [A]}, {"template": {"spec": {"tolerations": []}}}, {"tolerations": [A]}),
]  # fmt: skip
ANYTHING = LauncherPolicy(
    service_accounts=("*",), priority_classes=("*",), runtime_classes=("*",), secrets=("*",), labels=("*",), tolerations=("*",)
)


@pytest.mark.parametrize(
    ("defaults", "args", "result"), [pytest.param(under, args, result, id=name) for name, under, args, result in MERGED]
)
def test_the_tasks_word_is_laid_on_the_default(plan, defaults, args, result):
    pod = plan({"image": "x"} | args, defaults=defaults, policy=ANYTHING)
    assert result.items() <= told(pod).items()


@pytest.mark.parametrize(
    ("args", "mounted"),
    [
        pytest.param({}, True, id="the launcher's account brings its token, as a named one does"),
        pytest.param({"service_account": "default"}, False, id="not if the task wants none"),
        pytest.param({"template": {"spec": {"automountServiceAccountToken": False}}}, False, id="nor if it says so"),
    ],
)
def test_a_token_comes_with_the_account(plan, args, mounted):
    assert plan({"image": "x"} | args)["spec"]["automountServiceAccountToken"] is mounted


def test_a_default_goes_before_what_other_operators_have_by_themselves(plan):
    assert env_of(plan({"command": "true"}, operator="bash"))["HOME"] == "/tmp"
    assert env_of(plan({"command": "true"}, operator="bash", defaults={"env": {"HOME": "/work"}}))["HOME"] == "/work"
    own = {"command": "true", "pod": {"env": {"HOME": "/mine"}}}
    assert env_of(plan(own, operator="bash", defaults={"env": {"HOME": "/work"}}))["HOME"] == "/mine"


def test_variables_of_tasks_can_be_made_of_the_launchers(plan):
    names = [item["name"] for item in main_of(plan({"image": "x", "env": {"URL": "$(HTTP_PROXY)/x"}}))["env"]]
    assert names == ["HTTP_PROXY", "TZ", "URL", "HALFSTEP_TASK_ID", "HALFSTEP_ATTEMPT"]


@pytest.mark.parametrize(
    ("env", "order"),
    [
        pytest.param({"B": "2", "A": "1"}, ["B", "A"], id="those that name none stay as they are"),
        pytest.param({"URL": "http://$(HOST)/", "HOST": "h"}, ["HOST", "URL"], id="what is named goes before"),
        pytest.param({"A": "$(BB)", "BB": "$(CCC)", "CCC": "x"}, ["CCC", "BB", "A"], id="in a chain, too"),
        pytest.param({"A": "$$(BB)", "BB": "x"}, ["A", "BB"], id="an escaped name is none"),
        pytest.param({"A": "$$$(BB)", "BB": "x"}, ["BB", "A"], id="a name behind a dollar sign is one"),
        pytest.param({"A": "$(A)", "B": "x"}, ["A", "B"], id="its own name"),
        pytest.param({"A": "$(B)", "B": "$(A)", "C": "$(MISSING)"}, ["C", "A", "B"], id="a circle stays a circle"),
        pytest.param({"A": "$(", "B": "$()", "C": "$(A"}, ["A", "B", "C"], id="halves of names"),
    ],
)
def test_variables_stand_before_those_that_are_made_of_them(plan, env, order):
    found = [item["name"] for item in main_of(plan({"image": "x", "env": env}, defaults={}))["env"]]
    assert found[: len(order)] == order
    assert {name: value for name, value in env_of(plan({"image": "x", "env": env})).items() if name in env} == env


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({f"V{n}": f"$(V{n + 1})" for n in range(5000)} | {"V5000": "x"}, id="a long chain, from its end"),
        pytest.param({"A": "$(" * 100_000}, id="many halves of names"),
        pytest.param({"A": "$(" + "a" * 200_000}, id="a long half"),
        pytest.param({"A": "$" * 200_000 + "(B)", "B": "x"}, id="many dollar signs"),
        pytest.param({"A": "".join(f"$(V{n})" for n in range(5000))} | {f"V{n}": "x" for n in range(5000)}, id="a value of many"),
    ],
)
def test_no_variables_take_the_launcher_long(env):
    began = time.monotonic()
    assert len(variables_of(env)) == len(env)
    assert is_within(5.0, time.monotonic() - began)


def test_only_the_tasks_own_container_gets_variables_and_resources(plan):
    pod = plan({"image": "x", "sidecars": [{"name": "s", "image": "s"}], "init_containers": [{"name": "i", "image": "i"}]})
    for container in (*pod["spec"]["initContainers"], pod["spec"]["containers"][1]):
        assert not {"env", "resources"} & container.keys()


# -- the policy


STRICT = LauncherPolicy(
    labels=(), annotations=(), node_labels=(), tolerations=(),
    refused_fields=("container.resources", "nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName"),
)  # fmt: skip


@pytest.mark.parametrize(("operator", "args"), OF_BOTH)
def test_what_the_launcher_gives_is_no_trespass_of_the_task(plan, operator, args):
    assert "spec" in plan(args, operator=operator, policy=STRICT)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        pytest.param({"labels": {"team": "shop"}}, "Label 'team' may not be used by tasks", id="a label"),
        pytest.param(
            {"annotations": {"cost/center": "1"}}, "Annotation 'cost/center' may not be used by tasks", id="an annotation"
        ),
        pytest.param(
            {"node_selector": {"pool": "gpu"}}, "Choice of nodes by 'pool' may not be used by tasks", id="a node's label"
        ),
        pytest.param({"tolerations": [A]}, "Toleration of 'a' may not be used by tasks", id="a toleration"),
        pytest.param({"priority_class": "high"}, "Priority class 'high' may not be used by tasks", id="a priority"),
        pytest.param({"runtime_class": "runc"}, "Runtime class 'runc' may not be used by tasks", id="a runtime class"),
        pytest.param({"service_account": "admin"}, "Service account 'admin' with its token may not be used", id="an account"),
        pytest.param(
            {"service_account": "runner"}, "Service account 'runner' with its token", id="the launcher's account by name"
        ),
        pytest.param(
            {"image_pull_secrets": ["registry"]}, "Secret 'registry' may not be used", id="the launcher's secret by name"
        ),
        pytest.param(
            {"template": {"spec": {"automountServiceAccountToken": True}}},
            "Service account 'default' with its token",
            id="a token",
        ),
    ],
)
def test_the_tasks_own_word_is_judged_as_without_defaults(plan, args, sentence):
    policy = LauncherPolicy(labels=(), annotations=(), node_labels=(), tolerations=())
    assert plan({"image": "x"} | args, policy=policy).error.startswith(sentence)


@pytest.mark.parametrize(
    ("most", "args", "sentence"),
    [
        pytest.param("{memory: 2Gi}", {}, None, id="the default limit is one"),
        pytest.param("{memory: 512Mi}", {}, None, id="the launcher may give more than tasks may ask for"),
        pytest.param(
            "{memory: 512Mi}", {"resources": {"limits": {"memory": "1Gi"}}}, None, id="and tasks may ask for what it gives"
        ),
        pytest.param("{memory: 2Gi}", {"resources": {"limits": {"memory": "3Gi"}}}, "The limits of memory", id="but for no more"),
        pytest.param("{memory: 512Mi}", {"resources": {"limits": {"memory": "2Gi"}}}, "The limits of memory", id="nor than that"),
        pytest.param(
            "{memory: 2Gi}", {"resources": {"requests": {"memory": "3Gi"}}}, "The limits of memory", id="a request counts"
        ),
        pytest.param(
            "{memory: 2Gi}",
            {"sidecars": [{"name": "s", "image": "s"}]},
            "Container 's' needs a limit",
            id="a sidecar has no default",
        ),
        pytest.param(
            "{memory: 2Gi}",
            {"resources": {"limits": {"example.com/gpu": 1}}},
            "Resource 'example.com/gpu'",
            id="a resource of its own",
        ),
        pytest.param("{cpu: 2}", {}, "Container 'main' needs a limit of cpu", id="a default request is no limit"),
    ],
)
def test_a_policys_amounts_are_those_of_the_pod_with_its_defaults(plan, tmp_path, most, args, sentence):
    (tmp_path / "policy.yaml").write_text(f"max_resources: {most}")
    made = plan({"image": "x"} | args, policy=read_policy(tmp_path / "policy.yaml"))
    assert "spec" in made if sentence is None else made.error.startswith(sentence)


def test_a_device_that_the_launcher_gives_may_be_asked_for_and_no_second_one(plan, tmp_path):
    (tmp_path / "policy.yaml").write_text("max_resources: {memory: 2Gi}")
    policy = read_policy(tmp_path / "policy.yaml")
    defaults = {"resources": {"limits": {"memory": "1Gi", "example.com/gpu": 1}}}
    for args in ({}, {"resources": {"limits": {"example.com/gpu": 1}}}):
        pod = plan({"image": "x"} | args, defaults=defaults, policy=policy)
        assert main_of(pod)["resources"]["limits"]["example.com/gpu"] == "1"
    two = plan({"image": "x", "resources": {"limits": {"example.com/gpu": 2}}}, defaults=defaults, policy=policy)
    assert two.error.startswith("The limits of example.com/gpu of the pod add up to more")


# -- how the file is checked

IN = "in 'defaults' of 'pods' of cluster 'default'"
REFUSED = f"{IN} would have every pod refused by Kubernetes; mend it."
WRONG = [
    ("another key", {"nodeSelector": {}},
     "'defaults' of 'pods' of cluster 'default' has no key 'nodeSelector'; known: labels, annotations,"),
    ("a key of the runtime's", {"image": "x"}, "'defaults' of 'pods' of cluster 'default' has no key 'image'"),
    ("a list of labels", {"labels": ["a"]}, f"'labels' {IN} must be a mapping"),
    ("a label of halfstep's", {"labels": {"halfstep.io/installation": "x"}}, "'halfstep.io/installation' in argument 'labels'"),
    ("an annotation of halfstep's", {"annotations": {"halfstep.io/queue": "x"}},
     "begins with halfstep.io/, which is halfstep's own"),
    ("a task's label", {"labels": {"task.halfstep.io/team": "x"}}, "begins with task.halfstep.io/, which is halfstep's own"),
    ("a variable of halfstep's", {"env": {"HALFSTEP_TASK_ID": "1"}},
     f"The variable HALFSTEP_TASK_ID {IN} is no default for all pods; put it under 'env' in 'pods' itself."),
    ("a label that is a number", {"labels": {"center": 4711}},
     "'center' in argument 'labels' of operator 'pod' must be a string, not a whole number"),
    ("a variable that is true", {"env": {"DEBUG": True}},
     "'DEBUG' in argument 'env' of operator 'pod' must be a string, not true or false"),
    ("a variable without a name", {"env": {"": "x"}}, "'' in argument 'env' of operator 'pod' is no name for a variable"),
    ("a label with a blank", {"labels": {"cost center": "x"}}, f"The key 'cost center' under 'labels' {REFUSED}"),
    ("a label's key that is too long", {"labels": {"k" * 64: "x"}}, f"under 'labels' {REFUSED}"),
    ("a label's domain in capitals", {"labels": {"Example.com/x": "x"}}, f"The key 'Example.com/x' under 'labels' {REFUSED}"),
    ("a label's value with a slash", {"labels": {"team": "a/b"}}, f"The value 'a/b' under 'labels' {REFUSED}"),
    ("a label's value that is too long", {"labels": {"team": "v" * 64}}, f"under 'labels' {REFUSED}"),
    ("an annotation with two slashes", {"annotations": {"a/b/c": "x"}}, f"The key 'a/b/c' under 'annotations' {REFUSED}"),
    ("a node's label with a blank", {"node_selector": {"pool": "a b"}}, f"The value 'a b' under 'node_selector' {REFUSED}"),
    ("a toleration that is a text", {"tolerations": ["gpu"]},
     "Argument 'tolerations' of operator 'pod' must be a list of objects, not with a string"),
    ("an operator in small letters", {"tolerations": [{"key": "a", "operator": "exists"}]},
     f"A toleration with the operator 'exists' and the effect '' {REFUSED}"),
    ("an effect in small letters", {"tolerations": [{"key": "a", "operator": "Exists", "effect": "noSchedule"}]},
     f"the effect 'noSchedule' {REFUSED}"),
    ("a toleration without a key", {"tolerations": [{"value": "a"}]},
     f"A toleration without a key whose operator is not Exists {REFUSED}"),
    ("a toleration with a value too much", {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
     f"A toleration with a value whose operator is Exists {REFUSED}"),
    ("a key of a toleration that is none", {"tolerations": [{"key": "a", "operator": "Exists", "effects": "x"}]},
     f"The key 'effects' of a toleration {REFUSED}"),
    ("a toleration for a time without its effect",
     {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3}]}, "A toleration with 'tolerationSeconds'"),
    ("a toleration's value that is a number", {"tolerations": [{"key": "a", "value": 3}]},
     f"A toleration whose key or value is not a string {REFUSED}"),
    ("a pull secret that is a mapping", {"image_pull_secrets": [{"name": "a"}]},
     "Argument 'image_pull_secrets' of operator 'pod' must be a list of strings"),
    ("a pull secret in capitals", {"image_pull_secrets": ["Registry"]},
     f"The name 'Registry' under 'image_pull_secrets' {REFUSED}"),
    ("an account that is a number", {"service_account": 3}, f"'service_account' {IN} must be a string, not 3"),
    ("an account with a slash", {"service_account": "a/b"}, f"The name 'a/b' under 'service_account' {REFUSED}"),
    ("a priority with a blank", {"priority_class": "very low"},
     "Argument 'priority_class' of operator 'pod' must be a name without blanks"),
    ("an empty runtime class", {"runtime_class": ""}, "Argument 'runtime_class' of operator 'pod' must be a name without blanks"),
    ("resources without their kind", {"resources": {"memory": "1Gi"}},
     "Argument 'resources' of operator 'pod' holds the objects 'requests' and 'limits'"),
    ("an amount that is none", {"resources": {"limits": {"memory": "1 GB"}}}, f"The amount of 'memory' under 'limits' {REFUSED}"),
    ("an amount that is true", {"resources": {"limits": {"memory": True}}},
     "'memory' in argument 'resources' of operator 'pod' must be a string or a number"),
    ("a resource that Kubernetes does not know", {"resources": {"limits": {"mem": "1Gi"}}},
     f"The resource 'mem' under 'limits' {REFUSED}"),
    ("a device that is no name", {"resources": {"limits": {"example.com/": 1}}},
     f"The resource 'example.com/' under 'limits' {REFUSED}"),
    ("a toleration's key with a blank", {"tolerations": [{"key": "a b", "operator": "Exists"}]},
     f"The key 'a b' in a toleration {REFUSED}"),
    ("a toleration's value with a blank", {"tolerations": [{"key": "a", "value": "b c"}]},
     f"The value 'b c' in a toleration {REFUSED}"),
    ("an effect that is a mapping", {"tolerations": [{"key": "a", "effect": {}}]}, f"is not a string {REFUSED}"),
    ("a toleration that compares with a word", {"tolerations": [{"key": "a", "operator": "Gt", "value": "x"}]},
     f"A toleration with a value that is no whole number {REFUSED}"),
    ("a time beyond all numbers", {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute",
     "tolerationSeconds": 10**20}]}, "A toleration with 'tolerationSeconds'"),
    ("a device that is only requested", {"resources": {"requests": {"example.com/gpu": 1}}},
     f"A request of 'example.com/gpu' without the same limit {REFUSED}"),
    ("half a device", {"resources": {"limits": {"example.com/gpu": 0.5}}}, f"A part of a 'example.com/gpu' {REFUSED}"),
    ("a variable with the end of a line", {"env": {"A\nB": "x"}}, f"The variable 'A B' under 'env' {REFUSED}"),
    ("a variable that no program can be given", {"env": {"A": "x\0y"}}, f"The variable 'A' under 'env' {REFUSED}"),
    ("a label with the end of a line", {"labels": {"a": "x\n"}}, f"The value 'x ' under 'labels' {REFUSED}"),
    ("annotations without end", {"annotations": {"a": "x" * 300_000}}, f"bytes under 'annotations' {REFUSED}"),
    ("a name with two dots", {"service_account": "a..b"}, f"The name 'a..b' under 'service_account' {REFUSED}"),
    ("a domain whose part ends in a dash", {"annotations": {"a-.b/c": "x"}}, f"The key 'a-.b/c' under 'annotations' {REFUSED}"),
    ("a request above its limit", {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
     f"A request of 'memory' above its limit {REFUSED}"),
    ("a growth that is none", {"on_oom": {"memory": "2x", "max": "1Gi"}},
     "'memory' in argument 'on_oom' of operator 'pod' must be a factor above 1"),
    ("a growth without its most", {"on_oom": {"memory": "x2"}}, "Argument 'on_oom' of operator 'pod' needs 'max'"),
    ("a most below the default limit", {"on_oom": {"memory": "x2", "max": "1Gi"}, "resources": {"limits": {"memory": "2Gi"}}},
     "'max' in argument 'on_oom' of operator 'pod' is below the memory that 'resources' begins with"),
]  # fmt: skip


@pytest.mark.parametrize(("defaults", "sentence"), [pytest.param(given, said, id=name) for name, given, said in WRONG])
def test_a_wrong_default_keeps_the_launcher_from_starting(tmp_path, defaults, sentence):
    with pytest.raises(InvalidSettings) as caught:
        cluster_with(tmp_path, defaults=defaults)
    said = str(caught.value)
    assert said.startswith(f"In the clusters file {tmp_path / 'clusters.yaml'}: ")
    assert sentence in said
    assert "'defaults' of 'pods' of cluster 'default'" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["cost center", "a/b", "", "-x", "n" * 64, "halfstep.io/x"])
def test_a_tasks_label_that_can_be_no_pods_label_is_refused(tmp_path, name):
    with pytest.raises(
        InvalidSettings, match="under 'task_labels' in 'pods' of cluster 'default' can't be the name of a pod's label"
    ):
        cluster_with(tmp_path, task_labels=[name])


@pytest.mark.parametrize("name", ["HALFSTEP_TASK_ID", "HALFSTEP_ATTEMPT", "HALFSTEP_CONNECTION_WAREHOUSE"])
def test_the_runtimes_variables_are_not_those_that_every_pod_has(tmp_path, name):
    with pytest.raises(InvalidSettings, match=f"The variable {name} in 'pods' of cluster 'default' is set by halfstep itself"):
        cluster_with(tmp_path, env={name: "x"})


def test_null_is_no_default(tmp_path):
    assert cluster_with(tmp_path, defaults={"labels": None, "on_oom": None}).pods == cluster_with(tmp_path).pods


# -- what is sent as it is

DOLLARS = ["$$", "$$$$", "$(NAME)", "$$(NAME)", "a$b", "$", "${NAME}", "100 $$ and $(MISSING)"]


@pytest.mark.parametrize("text", DOLLARS)
def test_dollar_signs_are_sent_as_they_are_and_kubernetes_reads_them(plan, text):
    pod = plan({"image": "x", "command": [text], "arguments": [text], "env": {"A": text}}, defaults={"env": {"B": text}})
    main = main_of(pod)
    assert (main["command"], main["args"], env_of(pod)["A"], env_of(pod)["B"]) == ([text], [text], text, text)
