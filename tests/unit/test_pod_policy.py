"""What a launcher lets tasks ask for. Every way round that is known is a row here."""

from __future__ import annotations

import pytest

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.manifest import build
from halfstep_worker.kubernetes.policy import LauncherPolicy, read_policy
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.request import read_pod
from halfstep_worker.kubernetes.values import Identity

IDENTITY = Identity("11111111-2222-3333-4444-555555555555", "abcdef00-2222-3333-4444-555555555555", 1, 1, "etl", "pod")
CLUSTER = Cluster(namespaces=("batch",))
SAFE = LauncherPolicy()


def refusal(args, policy=SAFE, cluster=CLUSTER):
    return policy.refusal(build(read_pod({"image": "x"} | args), IDENTITY, PodDefaults()).asked, cluster)


def not_listed(what, key):
    return f"{what} may not be used by tasks; the launcher's policy would have to list it under '{key}'."


def spec(**fields):
    return {"template": {"spec": fields}}


def main(**fields):
    return spec(containers=[{"name": "main", **fields}])


def volume(**source):
    return spec(volumes=[{"name": "v", **source}])


def test_a_plain_pod_passes_the_safe_policy():
    args = {
        "command": ["true"], "env": {"A": "1"}, "resources": {"limits": {"memory": "1Gi"}}, "service_account": "default",
        "volumes": [{"name": "v", "emptyDir": {}}], "sidecars": [{"name": "s", "image": "s"}], "node_selector": {"disk": "fast"},
        "security_context": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "runAsUser": 7},
    }  # fmt: skip
    assert refusal(args) is None


SECRETS = [
    {"secrets": ["s"]},
    {"secrets": [{"name": "s", "key": "k", "env": "A"}]},
    {"secrets": [{"name": "s", "path": "/s"}]},
    {"image_pull_secrets": ["s"]},
    {"env_from": [{"secretRef": {"name": "s"}}]},
    {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
    spec(imagePullSecrets=[{"name": "s"}]),
    volume(projected={"sources": [{"secret": {"name": "s"}}]}),
    main(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
    spec(initContainers=[{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]),
    spec(ephemeralContainers=[{"name": "e", "image": "e", "envFrom": [{"secretRef": {"name": "s"}}]}]),
    {"sidecars": [{"name": "c", "image": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]},
]


@pytest.mark.parametrize("args", SECRETS)
def test_a_secret_is_refused_wherever_it_is_named_until_the_policy_lists_it(args):
    assert refusal(args) == not_listed("Secret 's'", "secrets")
    assert refusal(args, LauncherPolicy(secrets=("s*",))) is None


@pytest.mark.parametrize(
    "source",
    [
        {"csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}},
        {"flexVolume": {"driver": "d", "secretRef": {"name": "s"}}},
        {"azureFile": {"secretName": "s", "shareName": "x"}},
        {"iscsi": {"secretRef": {"name": "s"}}},
    ],
)
def test_volumes_that_carry_secrets_are_refused_by_kind_and_then_by_name(source):
    kind = next(iter(source))
    assert refusal(volume(**source)) == not_listed(f"Volume 'v' of the kind {kind}", "volume_kinds")
    assert refusal(volume(**source), LauncherPolicy(volume_kinds=(kind,))).startswith("Secret 's'")


CONFIG_MAPS = [
    {"config_maps": ["m"]},
    {"config_maps": [{"name": "m", "path": "/m"}]},
    {"env_from": [{"configMapRef": {"name": "m"}}]},
    main(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]),
    volume(projected={"sources": [{"configMap": {"name": "m"}}]}),
]


@pytest.mark.parametrize("args", CONFIG_MAPS)
def test_config_maps_too(args):
    assert refusal(args).startswith("ConfigMap 'm' may not be used by tasks;")
    assert refusal(args, LauncherPolicy(config_maps=("m",))) is None


def test_so_are_claims_of_volumes_and_their_clones():
    claim = volume(persistentVolumeClaim={"claimName": "data"})
    assert refusal(claim).startswith("PersistentVolumeClaim 'data' may not be used")
    assert refusal(claim, LauncherPolicy(volume_claims=("*",))) is None
    source = {"kind": "PersistentVolumeClaim", "name": "data"}
    clone = volume(ephemeral={"volumeClaimTemplate": {"spec": {"dataSource": source}}})
    assert "of the kind ephemeral" in refusal(clone)
    assert refusal(clone, LauncherPolicy(volume_kinds=("ephemeral",))).startswith("PersistentVolumeClaim 'data'")


TOKENS = [
    ({"service_account": "runner"}, "Service account 'runner' with its token"),
    (spec(serviceAccount="runner"), "Service account 'runner' with its token"),
    (spec(serviceAccountName="runner", automountServiceAccountToken=False), "Service account 'runner'"),
    (spec(automountServiceAccountToken=True), "Service account 'default' with its token"),
    (spec(automountServiceAccountToken=None), "Service account 'default' with its token"),
    (volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}), "Service account 'default' with its token"),
    (volume(projected={"sources": [{"podCertificate": {"signerName": "t"}}]}), "Service account 'default' with its token"),
]


@pytest.mark.parametrize(("args", "what"), TOKENS)
def test_service_accounts_and_their_tokens_are_refused_until_listed(args, what):
    assert refusal(args) == not_listed(what, "service_accounts")
    assert refusal(args, LauncherPolicy(service_accounts=("runner", "default"))) is None


def test_a_listed_account_passes_alone():
    assert refusal({"service_account": "runner"}, LauncherPolicy(service_accounts=("runner",))) is None


HOST = [
    (spec(hostNetwork=True), "hostNetwork"),
    (spec(hostPID=True), "hostPID"),
    (spec(hostIPC=True), "hostIPC"),
    (spec(nodeName="node1"), "nodeName"),
    (volume(hostPath={"path": "/"}), "volume 'v' of the kind hostPath"),
    (main(ports=[{"containerPort": 80, "hostPort": 80}]), "hostPort of container 'main'"),
    ({"security_context": {"privileged": True}}, "privileged container 'main'"),
    ({"security_context": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "capability SYS_ADMIN of container 'main'"),
    ({"security_context": {"seccompProfile": {"type": "Unconfined"}}}, "unconfined seccompProfile of the pod"),
    (main(securityContext={"seccompProfile": {"type": "Unconfined"}}), "unconfined seccompProfile of container 'main'"),
    ({"security_context": {"appArmorProfile": {"type": "Unconfined"}}}, "unconfined appArmorProfile of the pod"),
    ({"security_context": {"procMount": "Unmasked"}}, "procMount of container 'main'"),
    ({"security_context": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "0"}]}}, "sysctls of the pod"),
    ({"security_context": {"seLinuxOptions": {"type": "spc_t"}}}, "seLinuxOptions of the pod"),
    ({"security_context": {"windowsOptions": {"hostProcess": True}}}, "hostProcess of the pod"),
    ({"annotations": {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}},
     "annotation container.apparmor.security.beta.kubernetes.io/main"),
    (spec(initContainers=[{"name": "i", "image": "i", "securityContext": {"privileged": True}}]), "privileged container 'i'"),
    ({"sidecars": [{"name": "s", "image": "s", "securityContext": {"capabilities": {"add": ["NET_RAW"]}}}]},
     "capability NET_RAW of container 's'"),
    (main(lifecycle={"preStop": {"httpGet": {"host": "169.254.169.254", "port": 80}}}),
     "a probe or hook with a host of container 'main'"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "what"), HOST)
def test_what_reaches_out_of_the_containers_is_refused(args, what):
    assert refusal(args) == f"Tasks may not have {what}; the launcher's policy would need 'allow_host_access: true'."
    assert refusal(args, LauncherPolicy(allow_host_access=True, allow_root=True)) is None


ROOT = [
    ({"security_context": {"runAsUser": 0}}, "container 'main' running as root"),
    ({"security_context": {"runAsNonRoot": False}}, "container 'main' running as root"),
    ({"security_context": {"runAsNonRoot": None}}, "container 'main' running as root"),
    (main(securityContext={"runAsUser": 0, "runAsNonRoot": True}), "container 'main' running as root"),
    (spec(securityContext="none"), "container 'main' running as root"),
    ({"security_context": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation of container 'main'"),
    ({"security_context": {"allowPrivilegeEscalation": None}}, "allowPrivilegeEscalation of container 'main'"),
    ({"init_containers": [{"name": "i", "image": "i", "securityContext": {"runAsUser": 0}}]}, "container 'i' running as root"),
]


@pytest.mark.parametrize(("args", "what"), ROOT)
def test_root_is_refused_until_the_policy_allows_it(args, what):
    assert refusal(args) == f"Tasks may not have {what}; the launcher's policy would need 'allow_root: true'."
    assert refusal(args, LauncherPolicy(allow_root=True)) is None


@pytest.mark.parametrize(
    "args",
    [
        {"image": "evil/x"},
        {"image": "good/x", "sidecars": [{"name": "s", "image": "evil/x"}]},
        {"image": "good/x", "init_containers": [{"name": "s", "image": "evil/x"}]},
        {"image": "good/x"} | volume(image={"reference": "evil/x"}),
    ],
)
def test_images_of_all_containers_and_volumes_must_be_listed(args):
    policy = LauncherPolicy(images=("good/*",))
    assert refusal(args, policy) == not_listed("Image 'evil/x'", "images")
    assert refusal({"image": "good/x:1"}, policy) is None


def test_priority_and_runtime_classes_must_be_listed():
    assert refusal({"priority_class": "system-node-critical"}).startswith("Priority class 'system-node-critical' may not be used")
    assert refusal({"priority_class": "low"}, LauncherPolicy(priority_classes=("low",))) is None
    assert refusal(spec(runtimeClassName="plain")).startswith("Runtime class 'plain' may not be used")


def test_only_configured_namespaces_that_the_policy_lists_may_be_named():
    assert refusal({"namespace": "kube-system"}, LauncherPolicy(namespaces=("*",))) == (
        "Namespace 'kube-system' is not configured for tasks in cluster 'default'; configured: halfstep-tasks, batch."
    )
    assert refusal({"namespace": "batch"}).startswith("Namespace 'batch' may not be used by tasks;")
    assert refusal({"namespace": "batch"}, LauncherPolicy(namespaces=("batch",))) is None


def test_clusters_can_be_narrowed():
    assert refusal({}, LauncherPolicy(clusters=("eu-*",))).startswith("Cluster 'default' may not be used by tasks;")
    assert refusal({}, LauncherPolicy(clusters=("eu-*",)), Cluster(name="eu-1")) is None


LIMITS = LauncherPolicy(max_resources={"memory": quantity("2Gi"), "nvidia.com/gpu": quantity(1)})


def limits(memory, **more):
    return {"resources": {"limits": {"memory": memory} | more}}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (limits("2Gi"), None),
        ({}, "Container 'main' needs a limit of memory, as the launcher's policy has 'max_resources'."),
        (limits("2049Mi"), "The limits of memory of the pod add up to more than"),
        (limits("1Gi") | {"sidecars": [{"name": "s", "image": "s"} | limits("1.5Gi")]}, "The limits of memory of the pod add up"),
        (limits("1Gi") | {"init_containers": [{"name": "i", "image": "i"} | limits("2Gi")]}, None),
        (limits("1Gi") | {"init_containers": [{"name": "i", "image": "i"} | limits("3Gi")]}, "The limits of memory"),
        (
            limits("1Gi") | {"init_containers": [{"name": "i", "image": "i", "restartPolicy": "Always"} | limits("2Gi")]},
            "The limits",
        ),
        (limits("lots"), "The limits of memory of the pod add up"),
        (limits("1Gi", **{"nvidia.com/gpu": 2}), "The limits of nvidia.com/gpu of the pod add up"),
        (spec(resources={"limits": {"memory": "1Gi"}}), None),
        (spec(resources={"limits": {"memory": "3Gi"}}), "The limits of memory of the pod add up"),
    ],
)
def test_the_limits_of_a_pod_are_added_up(args, sentence):
    said = refusal(args, LIMITS)
    assert said is None if sentence is None else said.startswith(sentence)


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("2", "2"), (1.5, "1.5"), ("1Ki", "1024"), ("1.5Gi", "1610612736"), ("1e3", "1000"), ("1E", "1e18"),
     ("1E2", "100"), ("100n", "1e-7"), ("", None), ("-1", None), ("1Q", None), ("1e999", None), (True, None), (None, None)],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_does(text, number):
    assert quantity(text) == (None if number is None else pytest.approx(type(quantity(1))(number)))


# -- the file


def test_without_a_file_the_policy_is_the_safe_one():
    assert read_policy(None) == SAFE


def test_a_policy_file_changes_what_it_names(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("images: [reg.example/*]\nsecrets: [db]\nallow_root: true\nmax_resources: {cpu: 4, memory: 8Gi}\nclusters:\n")
    policy = read_policy(file)
    assert (policy.images, policy.secrets, policy.allow_root) == (("reg.example/*",), ("db",), True)
    assert (policy.allow_host_access, policy.clusters) == (False, ("*",))
    assert policy.max_resources == {"cpu": 4, "memory": 8 * 1024**3}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image: [a]", "has no key 'image'; known: images, service_accounts,"),
        ("images: a", "'images' in the policy file .* must be a list, not 'a'."),
        ("images: [1]", "'images' in the policy file .* must be a list of strings, not with 1."),
        ("allow_root: 1", "'allow_root' in the policy file .* must be true or false, not 1."),
        ("max_resources: {cpu: much}", "'cpu' under 'max_resources' in the policy file .* must be a quantity such as 2 or 8Gi."),
        ("a: [", r"The policy file .* is no YAML \(line 1\)."),
        ("- a", "The policy file .* must hold lines `key: value`."),
    ],
)
def test_a_wrong_policy_file_is_refused(tmp_path, text, sentence):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InvalidSettings, match=sentence):
        read_policy(tmp_path / "policy.yaml")


def test_a_missing_policy_file_is_refused_and_not_taken_for_the_safe_policy(tmp_path):
    with pytest.raises(InvalidSettings, match="can't be read: No such file or directory"):
        read_policy(tmp_path / "none.yaml")
