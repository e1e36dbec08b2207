"""Pods as a hostile or a clumsy task may ask for, and what two launchers' policies say of each. The table of `hostile_pods` is
read twice: without a cluster (tests/unit) and against a real API server (tests/cluster).

`trespasses` looks at the pod that results, and knows nothing of the code that judged it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from halfstep.claims import Claim
from halfstep.outcomes import Failed
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults, SecretKey
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.quantities import quantity

Object = dict[str, Any]

IMAGE = "registry.example.com/team/app:1"
RUNTIME = "registry.example.com/ours/halfstep:1"
ATTEMPT = "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"
OWN = f"hs-{ATTEMPT}"
BOUNDS = {"cpu": Decimal(2), "memory": Decimal(2 * 1024**3), "ephemeral-storage": Decimal(4 * 1024**3)}

DEFAULT = LauncherPolicy()
STRICT = LauncherPolicy(
    strict=True,
    images=("registry.example.com/team/*", "alpine:3"),
    secrets=("report-*",),
    labels=("team",),
    annotations=(),
    tolerations=("pool",),
    node_labels=("pool",),
    max_resources=BOUNDS,
    max_grace_seconds=600,
    refused_fields=(
        "hostAliases", "dnsConfig", "dnsPolicy", "hostname", "subdomain", "setHostnameAsFQDN", "shareProcessNamespace",
        "securityContext.fsGroup*", "securityContext.supplementalGroups*", "topologySpreadConstraints", "readinessGates",
        "container.lifecycle", "container.*Probe",
    ),
)  # fmt: skip
POLICIES = {"default": DEFAULT, "strict": STRICT}


def cluster_of(namespace: str, under: Object | None = None) -> Cluster:
    """With everything that a task could reach for: a source volume that can be written, a connection, pull secrets."""
    pods = PodDefaults(
        namespace=namespace,
        image=RUNTIME,
        image_pull_secrets=("reg",),
        connections={"warehouse": SecretKey("warehouse", "url")},
        source="/source",
        source_volume={"persistentVolumeClaim": {"claimName": "source"}},
        under=under or {},
    )
    return Cluster(namespace=namespace, pods=pods)


class Row(NamedTuple):
    """What a task asks for. default, strict: words of the sentence that refuses it under that policy; None: it gets its pod."""

    args: Object
    default: str | None
    strict: str | None
    operator: str = "pod"


LIMITS = {"limits": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1Gi"}}


def limits(**others: Any) -> Object:
    return {"limits": LIMITS["limits"] | others}


def pod(default: str | None = None, strict: str | None = "=", **args: Any) -> Row:
    """A task of operator `pod` that asks for this besides an image and modest limits. strict "=": refused for the same."""
    return Row({"image": IMAGE, "resources": LIMITS} | args, default, default if strict == "=" else strict)


def spec(default: str | None = None, strict: str | None = "=", **fields: Any) -> Row:
    """The same with these fields in the spec of its template."""
    return pod(default, strict, template={"spec": fields})


def main(default: str | None = None, strict: str | None = "=", **fields: Any) -> Row:
    """The same with these fields in the container `main` of its template."""
    return spec(default, strict, containers=[{"name": "main"} | fields])


def volume(default: str | None = None, strict: str | None = "=", **source: Any) -> Row:
    """The same with a volume, mounted."""
    return spec(
        default, strict, volumes=[{"name": "v"} | source],
        containers=[{"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    )  # fmt: skip


def image(name: Any, default: str | None = None, strict: str | None = "=") -> Row:
    return pod(default, strict, image=name)


def beside(**fields: Any) -> Object:
    """Another container."""
    return {"name": "beside", "image": IMAGE, "resources": LIMITS} | fields


def sql(default: str | None, **settings: Any) -> Row:
    """A task of operator `sql` with a connection; the pod that it wants for itself."""
    args = {"connection": "warehouse", "statement": "SELECT 1", "pod": {"resources": LIMITS} | settings}
    return Row(args, default, default, "sql")


def bash(default: str | None, strict: str | None = "=", **settings: Any) -> Row:
    """A task of operator `bash`, which has no connection."""
    args = {"command": "true", "pod": {"resources": LIMITS} | settings}
    return Row(args, default, default if strict == "=" else strict, "bash")


def in_main(**fields: Any) -> Object:
    """A template whose container `main` has these fields."""
    return {"spec": {"containers": [{"name": "main"} | fields]}}


TO_SOURCE = [{"name": "halfstep-source", "mountPath": "/mine"}]
OURS = "halfstep's own"
ALONE = "A pod with connections runs the runtime's own image, alone and unchanged: leave out "
NO_NAME = "is no name of an image"
NEEDS = "the launcher's policy would have to list it under"
HOST = "allow_host_access"
SECRET = f"Secret 'db' may not be used by tasks; {NEEDS} 'secrets'"
MORE = "add up to more than"
ONCE = "an attempt runs once"
REFUSED_FIELD = "under 'refused_fields'"
FILE_OF_SOURCE = {"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "halfstep-source", "path": "x", "key": "A"}}}
DIGEST = "sha256:" + "a" * 64

ROWS: dict[str, Row] = {
    # -- the source folder
    "the source volume is mounted once more": bash(OURS, volume_mounts=TO_SOURCE),
    "the source volume is mounted by a template": bash(OURS, template=in_main(volumeMounts=TO_SOURCE)),
    "a folder of the source volume is mounted": bash(OURS, volume_mounts=[TO_SOURCE[0] | {"subPath": "jobs"}]),
    "a folder of the source volume is mounted by a variable": bash(
        OURS, template=in_main(volumeMounts=[TO_SOURCE[0] | {"subPathExpr": "$(HOME)"}])
    ),
    "the source volume is mounted in a sidecar": bash(OURS, sidecars=[beside(volumeMounts=TO_SOURCE)]),
    "the source volume is mounted in an init container": bash(OURS, init_containers=[beside(volumeMounts=TO_SOURCE)]),
    "the source volume is mounted in the first container of a template": bash(
        OURS, template={"spec": {"containers": [{"name": "app", "volumeMounts": TO_SOURCE}]}}
    ),
    "the source volume is a device": bash(
        OURS, template=in_main(volumeDevices=[{"name": "halfstep-source", "devicePath": "/dev/x"}])
    ),
    "a variable is read from a file of the source volume": bash(OURS, template=in_main(env=[FILE_OF_SOURCE])),
    "the source volume is mounted in an ephemeral container": bash(
        OURS, template={"spec": {"ephemeralContainers": [beside(volumeMounts=TO_SOURCE)]}}
    ),
    "the source volume is replaced": bash(OURS, volumes=[{"name": "halfstep-source", "emptyDir": {}}]),
    "the task's ConfigMap is replaced": bash(OURS, volumes=[{"name": "halfstep-task", "emptyDir": {}}]),
    "a volume of ours that is not there yet": pod(OURS, volumes=[{"name": "halfstep-later", "emptyDir": {}}]),
    "the task's folder is mounted over": bash(
        OURS, volumes=[{"name": "v", "emptyDir": {}}], volume_mounts=[{"name": "v", "mountPath": "/halfstep/task"}]
    ),
    "the source folder is mounted over, in other words": bash(
        OURS, volumes=[{"name": "v", "emptyDir": {}}], volume_mounts=[{"name": "v", "mountPath": "//tmp/../source/"}]
    ),
    "something is mounted inside of the source folder": bash(
        OURS, volumes=[{"name": "v", "emptyDir": {}}], volume_mounts=[{"name": "v", "mountPath": "/source/jobs"}]
    ),
    "the termination message is a file of the source folder": bash(
        OURS, template=in_main(terminationMessagePath="/source/jobs.py")
    ),
    "all files of the source volume get another group": bash("'fsGroup'", security_context={"fsGroup": 1000}),
    "all files of the source volume get another label": bash(
        "'seLinuxOptions'", security_context={"seLinuxOptions": {"level": "s0:c1,c2"}}
    ),
    "all files of the source volume get a container's label": bash(
        "'seLinuxOptions'", template=in_main(securityContext={"seLinuxOptions": {"level": "s0:c1,c2"}})
    ),
    "a claim of the source volume under another name": bash(
        "PersistentVolumeClaim 'source'", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "source"}}]
    ),
    "the source folder of operator pod, which has none": pod(OURS, volume_mounts=TO_SOURCE),
    "a bigger folder for temporary files": bash(
        None, volumes=[{"name": "v", "emptyDir": {}}], volume_mounts=[{"name": "v", "mountPath": "/tmp"}]
    ),
    # -- connections
    "a connection alone": sql(None),
    "a connection with resources, labels and a place": sql(
        None, labels={"team": "a"}, node_selector={"pool": "a"}, tolerations=[{"key": "pool", "operator": "Exists"}]
    ),
    "a connection with an init container": sql(ALONE + "'initContainers'", init_containers=[beside()]),
    "a connection with a sidecar": sql(ALONE + "container 'beside'", sidecars=[beside()]),
    "a connection with a hook": sql(
        ALONE + "'lifecycle' of 'main'", template=in_main(lifecycle={"postStart": {"exec": {"command": ["env"]}}})
    ),
    "a connection with a probe": sql(
        ALONE + "'livenessProbe' of 'main'", template=in_main(livenessProbe={"exec": {"command": ["env"]}})
    ),
    "a connection with another image": sql(ALONE + "'image' of 'main'", image=IMAGE),
    "a connection with another image in a template": sql(ALONE + "'image' of 'main'", template=in_main(image=IMAGE)),
    "a connection with a command": sql(ALONE + "'command' of 'main'", template=in_main(command=["sh"])),
    "a connection with arguments": sql(ALONE + "'args' of 'main'", template=in_main(args=["-c"])),
    "a connection with LD_PRELOAD": sql(ALONE + "'env' of 'main'", env={"LD_PRELOAD": "/tmp/x.so"}),
    "a connection with PYTHONPATH in a template": sql(
        ALONE + "'env' of 'main'", template=in_main(env=[{"name": "PYTHONPATH", "value": "/x"}])
    ),
    "a connection with variables of a ConfigMap": sql(ALONE + "'envFrom' of 'main'", config_maps=["m"]),
    "a connection with a proxy of the task's": sql(ALONE + "'env' of 'main'", env={"HTTPS_PROXY": "http://evil.example"}),
    "a connection with a volume": sql(ALONE + "'volumes'", volumes=[{"name": "v", "emptyDir": {}}]),
    "a connection with modules mounted over Python's": sql(
        ALONE + "'volumes', 'volumeMounts' of 'main'",
        volumes=[{"name": "v", "configMap": {"name": "m"}}], volume_mounts=[{"name": "v", "mountPath": "/usr/lib/python3"}],
    ),
    "a connection with a projected volume": sql(
        ALONE + "'volumes'", template={"spec": {"volumes": [{"name": "v", "projected": {"sources": []}}]}}
    ),
    "a connection with a generic ephemeral volume": sql(
        ALONE + "'volumes'", template={"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}}
    ),
    "a connection with another folder": sql(ALONE + "'workingDir' of 'main'", template=in_main(workingDir="/tmp")),
    "a connection with shared processes": sql(
        ALONE + "'shareProcessNamespace'", template={"spec": {"shareProcessNamespace": True}}
    ),
    "a connection whose host is somebody else": sql(
        ALONE + "'hostAliases'", template={"spec": {"hostAliases": [{"ip": "203.0.113.7", "hostnames": ["db.example.com"]}]}}
    ),
    "a connection with another name server": sql(
        ALONE + "'dnsConfig'", template={"spec": {"dnsConfig": {"nameservers": ["203.0.113.7"]}}}
    ),
    "a connection with a webhook's annotation": sql(
        ALONE + "annotation 'sidecar.istio.io/proxyImage'", annotations={"sidecar.istio.io/proxyImage": "evil"}
    ),
    "a connection with devices": sql(
        ALONE + "'resourceClaims'", template={"spec": {"resourceClaims": [{"name": "d", "resourceClaimName": "d"}]}}
    ),
    "a connection with a field that nobody knows": sql(ALONE + "'extra' of 'main'", template=in_main(extra={"a": 1})),
    "a connection in the first container of a template, with an image": sql(
        ALONE + "'image' of 'main'", template={"spec": {"containers": [{"name": "app", "image": IMAGE}]}}
    ),
    "a connection of the list under `pod`, with a sidecar": bash(ALONE, connections=["warehouse"], sidecars=[beside()]),
    "a connection under the task's own variable": bash(OURS, env={"HALFSTEP_CONNECTION_WAREHOUSE": "http://127.0.0.1"}),
    "a connection's Secret by its name": bash("Secret 'warehouse'", secrets=["warehouse"]),
    "a connection's Secret in a file": bash("Secret 'warehouse'", secrets=[{"name": "warehouse", "path": "/x"}]),
    # -- what is ours besides
    "the task's number": pod("HALFSTEP_TASK_ID", env={"HALFSTEP_TASK_ID": "1"}),
    "the attempt's number in a template": main("HALFSTEP_ATTEMPT", env=[{"name": "HALFSTEP_ATTEMPT", "value": "1"}]),
    "the source folder's variable": bash("HALFSTEP_SOURCE", env={"HALFSTEP_SOURCE": "/evil"}),
    "variables of ours by a prefix": bash(
        "HALFSTEP_CONN", env_from=[{"prefix": "HALFSTEP_CONN", "configMapRef": {"name": "m"}}]
    ),
    **{
        f"variables of ours by the prefix {prefix!r} and keys that go on": bash(
            OURS, env_from=[{"prefix": prefix, "configMapRef": {"name": "m"}}]
        )
        for prefix in ("H", "HALF", "HALFSTEP", "HALFSTEP_")
    },
    "variables of ours by a beginning of the prefix in a template": bash(
        OURS, template=in_main(envFrom=[{"prefix": "HALFSTEP", "configMapRef": {"name": "m"}}])
    ),
    "a prefix that is none of ours": bash("ConfigMap 'm'", env_from=[{"prefix": "HALF_", "configMapRef": {"name": "m"}}]),
    "no prefix": bash("ConfigMap 'm'", env_from=[{"prefix": "", "configMapRef": {"name": "m"}}]),
    "an init container called main": spec("can't be called 'main'", initContainers=[beside(name="main")]),
    "a main that is started again": main(ONCE, restartPolicy="Always"),
    "a first container that is started again": spec(ONCE, containers=[{"name": "app", "restartPolicy": "OnFailure"}]),
    "rules by which all containers start again": spec(
        ONCE, initContainers=[beside(restartPolicyRules=[{"action": "RestartAllContainers", "exitCodes": {"operator": "In"}}])]
    ),
    "labels of halfstep's own": pod(OURS, labels={"halfstep.io/task": "1"}),
    "marks, a name and owners in a template are ours": pod(
        None,
        template={"metadata": {
            "name": "x", "namespace": "kube-system", "generateName": "x", "labels": {"halfstep.io/keep": "true"},
            "finalizers": ["a/b"], "annotations": {"halfstep.io/queue": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "1"}],
        }},
    ),
    "a label of Kubernetes' own": pod(f"Label 'batch.kubernetes.io/job-name' may not be used by tasks; {NEEDS} 'labels'",
                                      labels={"batch.kubernetes.io/job-name": "x"}),
    "a label of Kubernetes' own in a template": pod("Label 'k8s.io/x'", template={"metadata": {"labels": {"k8s.io/x": "y"}}}),
    "an annotation of Kubernetes' own": pod(
        "Annotation 'kubernetes.io/config.mirror'", annotations={"kubernetes.io/config.mirror": "x"}
    ),
    "the bandwidth of a pod": pod(
        "Annotation 'kubernetes.io/egress-bandwidth'", annotations={"kubernetes.io/egress-bandwidth": "1P"}
    ),
    "a label that applications are meant to have": pod(
        None, "Label 'app.kubernetes.io/name'", labels={"app.kubernetes.io/name": "x"}
    ),
    "an annotation for a webhook": pod(None, "Annotation 'iam.example.com/role'", annotations={"iam.example.com/role": "admin"}),
    # -- Secrets
    "a Secret as variables": pod(SECRET, secrets=["db"]),
    "a Secret that the strict policy grants": pod("Secret 'report-a'", None, secrets=["report-a"]),
    "a Secret in a projected volume": volume(SECRET, projected={"sources": [{"secret": {"name": "db"}}]}),
    "a Secret for pulling": pod(SECRET, image_pull_secrets=["db"]),
    "the launcher's pull secrets for a sidecar's image": bash("Secret 'reg'", sidecars=[beside()]),
    "the launcher's pull secrets for an image volume": bash(
        "Secret 'reg'", volumes=[{"name": "v", "image": {"reference": IMAGE}}]
    ),
    "a Secret of an init container": pod(SECRET, init_containers=[beside(envFrom=[{"secretRef": {"name": "db"}}])]),
    "a Secret that is optional": main(
        SECRET, env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k", "optional": True}}}]
    ),
    "a Secret of a CSI driver": volume("of the kind csi", csi={"driver": "secrets-store.csi.k8s.io"}),
    "a Secret of a flex volume": volume("of the kind flexVolume", flexVolume={"driver": "x/y", "secretRef": {"name": "db"}}),
    "an account": pod("Service account 'admin'", service_account="admin"),
    "the token of the default account": spec("with its token", automountServiceAccountToken=True),
    "a token in a projected volume": volume("with its token", projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
    "a certificate in a projected volume": volume(
        "with its token", projected={"sources": [{"podCertificate": {"signerName": "a/b", "keyType": "ED25519"}}]}
    ),
    "public certificates": volume(
        None, projected={"sources": [{"clusterTrustBundle": {"name": "a", "path": "b", "optional": True}}]}
    ),
    # -- images
    "an image with a way up": image("registry.example.com/team/../../evil/x", None, NO_NAME),
    "an image with an empty part": image("registry.example.com/team//x", None, NO_NAME),
    "an image in capitals": image("registry.example.com/team/EVIL", None, NO_NAME),
    "an image with a control character": image("registry.example.com/team/x\u0001", None, NO_NAME),
    "an image with a zero-width space": image("registry.example.com/team/x\u200b", None, NO_NAME),
    "an image with a scheme": image("https://registry.example.com/team/x", None, NO_NAME),
    "an image with a digest that is none": image("registry.example.com/team/x@sha256:abc", None, NO_NAME),
    "the id of any image on the node": image(DIGEST, None, NO_NAME),
    "the digits of an image's id": image("a" * 64, None, NO_NAME),
    "an image that is a number": pod(NO_NAME, image=None, template=in_main(image=7)),
    "an image of another registry whose name goes on": image("registry.example.com.evil.org/team/x", None, "'images'"),
    "an image of another port": image("registry.example.com:5000/team/x", None, "'images'"),
    "a registry in capitals": image("REGISTRY.example.com/team/x", None, "'images'"),
    "an image by digest": image(f"registry.example.com/team/x@{DIGEST}", None),
    "an image by tag and digest": image(f"registry.example.com/team/x:1@{DIGEST}", None),
    "the allowed tag of another image by digest": image(f"alpine:3@{DIGEST}", None, "'images'"),
    "the allowed image in its full name": image("docker.io/library/alpine:3", None),
    "the allowed image's name on another registry": image("evil.org/library/alpine:3", None, "'images'"),
    "an image of Docker's registry that is called like the allowed one": image(
        "docker.io/registry.example.com/team/x:1", None, "'images'"
    ),
    "the same under library": image("docker.io/library/registry.example.com/team/x", None, "'images'"),
    "the same by the registry's other name": image("index.docker.io/registry.example.com/team/x", None, "'images'"),
    "a host that is called like the allowed image and its tag": image("alpine:3/x", None, "'images'"),
    "another image of a sidecar": pod(None, "Image 'evil/x'", sidecars=[beside(image="evil/x")]),
    "another image as a volume": volume(None, "Image 'evil/x'", image={"reference": "evil/x"}),
    "an image volume with a way up": volume(None, NO_NAME, image={"reference": "registry.example.com/team/../x"}),
    # -- resources
    "a limit for the pod above the policy": spec(None, MORE, resources={"limits": {"memory": "1000Gi"}}),
    "a request for the pod above the policy": spec(
        None, MORE, resources={"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi"}}
    ),
    "a small limit for the pod and large ones of its containers": pod(
        None, MORE, resources={"limits": {"cpu": 64, "memory": "1Gi", "ephemeral-storage": "1Gi"}},
        template={"spec": {"resources": {"limits": {"cpu": 64}}}},
    ),
    "no limit of memory": pod(None, "needs a limit of memory", resources={"limits": {"cpu": 1, "ephemeral-storage": "1Gi"}}),
    "a limit of nothing, which is none": pod(
        None, "needs a limit of memory", resources={"limits": {"cpu": 1, "memory": 0, "ephemeral-storage": "1Gi"}}
    ),
    "a limit of storage for the pod alone": pod(
        None, "needs a limit of ephemeral-storage", resources={"limits": {"cpu": 1, "memory": "1Gi"}},
        template={"spec": {"resources": {"limits": {"cpu": 1}}}},
    ),
    "three containers of 1Gi": pod(None, MORE, sidecars=[beside(), beside(name="other")]),
    "an init container beside a native sidecar": pod(
        None, MORE,
        init_containers=[beside(restartPolicy="Always"), beside(name="i", resources=limits(cpu="1.5"))],
        resources={"limits": {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "1Gi"}},
    ),
    "huge pages": pod(
        None, "Resource 'hugepages-2Mi'", resources=limits(**{"hugepages-2Mi": "4Gi"}) | {"requests": {"cpu": 1}}
    ),
    "a device that the policy does not name": pod(
        None, "Resource 'nvidia.com/gpu'", resources=limits(**{"nvidia.com/gpu": 8})
    ),
    "a device by claim": spec(
        f"Resource claim 'gpus' may not be used by tasks; {NEEDS} 'resource_claims'",
        resourceClaims=[{"name": "d", "resourceClaimTemplateName": "gpus"}],
    ),
    "a folder in memory that is larger than the policy": volume(
        None, "more memory than", emptyDir={"medium": "Memory", "sizeLimit": "100Gi"}
    ),
    "a folder on disk that is larger than the policy": volume(
        None, "more ephemeral-storage than", emptyDir={"sizeLimit": "100Gi"}
    ),
    "a generic ephemeral volume": volume("of the kind ephemeral", ephemeral={"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Ti"}}}}}),
    "overhead": spec("Field 'overhead'", overhead={"cpu": "100"}, runtimeClassName="x")._replace(
        default="Runtime class 'x'", strict="Runtime class 'x'"),
    "overhead without a class": spec("Field 'overhead'", overhead={"cpu": "500m"}),
    "resizing that starts containers again": main(
        "Field 'container.resizePolicy'", resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
    ),
    # -- where and when
    "a grace of 10^12 seconds": spec("to a year", terminationGracePeriodSeconds=10**12),
    "a grace of a year": spec("max_grace_seconds", terminationGracePeriodSeconds=31_536_000),
    "a grace of an hour": pod(None, "max_grace_seconds", grace_seconds=3600),
    "a probe's grace of a year": main(
        "max_grace_seconds", livenessProbe={"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 31_536_000}
    ),
    "another scheduler": spec(f"Scheduler 'mine' may not be used by tasks; {NEEDS} 'schedulers'", schedulerName="mine"),
    "a gate that nobody opens": spec("Field 'schedulingGates'", schedulingGates=[{"name": "a/b"}]),
    "a high priority as a number": spec("Field 'priority'", priority=2_000_000_000),
    "a high priority by class": pod("Priority class 'system-node-critical'", priority_class="system-node-critical"),
    "a group of pods": spec("Field 'schedulingGroup'", schedulingGroup={"podGroupName": "x"}),
    "somebody who answers evictions": spec("Field 'evictionResponders'", evictionResponders=[{"name": "x"}]),
    "all taints tolerated": pod(None, "Toleration of all taints", tolerations=[{"operator": "Exists"}]),
    "the control plane's taint tolerated": pod(
        None, "'node-role.kubernetes.io/control-plane'",
        tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
    ),
    "a node by its name": spec(HOST, nodeName="node1"),
    "a node by its label": pod(None, "'kubernetes.io/hostname'", node_selector={"kubernetes.io/hostname": "node1"}),
    "a node by affinity with its name": pod(None, "'metadata.name'", affinity={"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}]}}}),
    "spread over all nodes": spec(None, REFUSED_FIELD, topologySpreadConstraints=[
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]),
    "another namespace": pod("is not configured for tasks", namespace="kube-system"),
    "a deadline": pod(None, None, active_deadline_seconds=60),
    "never preempting": spec(None, None, preemptionPolicy="PreemptLowerPriority"),
    "conditions that nobody sets": spec(None, REFUSED_FIELD, readinessGates=[{"conditionType": "a/b"}]),
    # -- names and processes
    "a name of its own": spec(None, REFUSED_FIELD, hostname="db-0", subdomain="db", setHostnameAsFQDN=True),
    "a name that replaces all others": spec("Field 'hostnameOverride'", hostnameOverride="db.example.com"),
    "hosts that are others": spec(None, REFUSED_FIELD, hostAliases=[{"ip": "203.0.113.7", "hostnames": ["db.example.com"]}]),
    "name servers of its own": spec(None, REFUSED_FIELD, dnsPolicy="None", dnsConfig={"nameservers": ["203.0.113.7"]}),
    "processes shared with a sidecar": pod(None, REFUSED_FIELD, template={"spec": {"shareProcessNamespace": True}}),
    "a hook": main(None, REFUSED_FIELD, lifecycle={"preStop": {"exec": {"command": ["true"]}}}),
    "a hook that calls the node": main(HOST, lifecycle={"preStop": {"httpGet": {"host": "127.0.0.1", "port": 10250}}}),
    "a probe that calls the node": main(HOST, readinessProbe={"tcpSocket": {"host": "127.0.0.1", "port": 10250}}),
    # -- rights
    "the host's network": spec(HOST, hostNetwork=True),
    "the host's processes": spec(HOST, hostPID=True),
    "the host's memory": spec(HOST, hostIPC=True),
    "the host's files": volume(HOST, hostPath={"path": "/"}),
    "a port of the host": main(HOST, ports=[{"containerPort": 80, "hostPort": 80}]),
    "a privileged container": pod(HOST, security_context={"privileged": True}),
    "a privileged sidecar": pod(HOST, sidecars=[beside(securityContext={"privileged": True})]),
    "a capability": pod(HOST, security_context={"capabilities": {"add": ["SYS_ADMIN"]}}),
    "all capabilities in an init container": pod(
        HOST, init_containers=[beside(securityContext={"capabilities": {"add": ["ALL"]}})]
    ),
    "mounts that reach the node": main(
        HOST, volumeMounts=[{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]
    ),
    "no seccomp": pod(HOST, security_context={"seccompProfile": {"type": "Unconfined"}}),
    "no seccomp by a null": pod(HOST, security_context={"seccompProfile": None}),
    "no type of seccomp": pod(HOST, security_context={"seccompProfile": {"type": None}}),
    "no seccomp by a null in a template": spec(HOST, securityContext={"seccompProfile": None}),
    "no rights of the pod at all in a template": spec(HOST, securityContext=None),
    "no type of seccomp of a container": main(HOST, securityContext={"seccompProfile": {"type": None}}),
    "seccomp of main alone, beside a sidecar": spec(
        HOST, securityContext={"seccompProfile": None},
        containers=[{"name": "main", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, beside()],
    ),
    "seccomp of each container, and none of the pod": spec(
        None, None, securityContext={"seccompProfile": None},
        containers=[{"name": "main", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}],
    ),
    "a container's seccomp by a null, which is the pod's": main(None, None, securityContext={"seccompProfile": None}),
    "a connection without seccomp": sql(HOST, security_context={"seccompProfile": None}),
    "a connection without seccomp by a template": sql(HOST, template={"spec": {"securityContext": {"seccompProfile": None}}}),
    "a script without a type of seccomp": bash(HOST, security_context={"seccompProfile": {"type": None}}),
    "no AppArmor": pod(HOST, security_context={"appArmorProfile": {"type": "Unconfined"}}),
    "no AppArmor by an annotation": pod(
        HOST, annotations={"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
    ),
    "a type of SELinux": pod(HOST, security_context={"seLinuxOptions": {"type": "spc_t"}}),
    "an unmasked /proc": pod(HOST, security_context={"procMount": "Unmasked"}),
    "a setting of the kernel": pod(HOST, security_context={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    "a host process of Windows": pod(HOST, security_context={"windowsOptions": {"hostProcess": True}}),
    "an administrator of Windows": pod(HOST, security_context={"windowsOptions": {"runAsUserName": "ContainerAdministrator"}}),
    "Windows, where other rules hold": spec(HOST, os={"name": "windows"}),
    "Linux": spec(None, None, os={"name": "linux"}),
    "root": pod("allow_root", security_context={"runAsUser": 0}),
    "root as a fraction": pod("allow_root", security_context={"runAsUser": 0.0}),
    "root in a sidecar": pod("allow_root", sidecars=[beside(securityContext={"runAsUser": 0})]),
    "a way to more privileges": pod("allow_root", security_context={"allowPrivilegeEscalation": True}),
    "no word of root by a null": pod("allow_root", security_context={"runAsNonRoot": None}),
    "no word of more privileges by a null": pod("allow_root", security_context={"allowPrivilegeEscalation": None}),
    "no rights of a container at all": main("allow_root", securityContext=None),
    "no container at all, under the argument's": spec("allow_root", containers=None),
    "capabilities that are kept by a null": pod("allow_root", security_context={"capabilities": None}),
    "capabilities that are kept by a null inside": pod("allow_root", security_context={"capabilities": {"drop": None}}),
    "capabilities that are kept but one": main("allow_root", securityContext={"capabilities": {"drop": ["KILL"]}}),
    "capabilities that a sidecar keeps": pod(
        "allow_root", sidecars=[beside(securityContext={"capabilities": {"drop": []}})]
    ),
    "capabilities that a connection keeps": sql("allow_root", security_context={"capabilities": None}),
    "a token by a null": spec("with its token", automountServiceAccountToken=None),
    "a token by a null beside a connection": sql(
        "with its token", template={"spec": {"automountServiceAccountToken": None}}
    ),
    "the names of all services by a null": spec(None, None, enableServiceLinks=None),
    "the names of all services by a null beside a connection": sql(
        ALONE + "'enableServiceLinks'", template={"spec": {"enableServiceLinks": None}}
    ),
    "no names of services beside a connection": sql(None, template={"spec": {"enableServiceLinks": False}}),
    "a root file system by a null, as it may be written": bash(None, None, security_context={"readOnlyRootFilesystem": None}),
    "groups of its own": pod(None, REFUSED_FIELD, security_context={"supplementalGroups": [4000], "fsGroup": 4000}),
    "users of its own": spec(None, None, hostUsers=False),
    "two containers called main": bash("the same name", template={"spec": {"containers": [{"name": "main"}, {"name": "main"}]}}),
    "two volumes of one name": spec("the same name", volumes=[{"name": "v", "emptyDir": {}}, {"name": "v", "hostPath": {}}]),
    # -- what nobody knows
    "a field of the spec that nobody knows": spec(None, "does not know these fields of a pod: 'magic'", magic={"a": 1}),
    "two fields that nobody knows": main(
        None, "'container.securityContext.magic', 'container.magic'", magic=True, securityContext={"magic": 1}
    ),
    "a field of a volume that nobody knows": volume(None, "'volume.emptyDir.magic'", emptyDir={"magic": 1}),
    "a kind of volume that nobody knows": volume("of the kind magic", magic={"secret": 1}),
    "a field in other capitals": spec(None, "'HostNetwork'", HostNetwork=True),
}  # fmt: skip


def plan(row: Row, policy: LauncherPolicy, *, namespace: str = "halfstep-tasks", under: Object | None = None) -> Object | str:
    """The pod of this row, or the sentence that refuses it. under: the launcher's defaults."""
    claim = Claim(7, "t", "default", row.operator, json.dumps(row.args), 1, 0, 3, None, 1.0, 60.0, False, False, ATTEMPT)
    made = Planner(cluster_of(namespace, under), policy, "3a0a7c9c-51d5-4d3f-9d5c-2f1a63f4e001")(claim)
    if isinstance(made, Failed):
        return str(made.error)
    assert made.manifest is not None
    return made.manifest[0]


def trespasses(made: Object, policy: LauncherPolicy, *, namespace: str = "halfstep-tasks") -> Iterator[str]:
    """What this pod, as built or as stored, would do that no task may. It is no use to the code under test."""
    inside: Object = made["spec"]
    kinds = ("containers", "initContainers", "ephemeralContainers")
    containers = [item for kind in kinds for item in inside.get(kind) or []]
    if made["metadata"]["namespace"] != namespace or made["metadata"]["name"] != OWN or "ownerReferences" in made["metadata"]:
        yield "it is not its own"
    if made["metadata"]["finalizers"] != ["halfstep.io/verdict"] or inside["restartPolicy"] != "Never":
        yield "it does not run once"
    for container in containers:
        yield from _of_container(container, alone=len(containers) == 1)
        yield from _rights_of(container, inside.get("securityContext") or {})
    claims = [item.get("persistentVolumeClaim", {}).get("claimName") for item in inside.get("volumes") or []]
    if claims.count("source") > 1 or ("source" in claims and (inside.get("securityContext") or {}).get("fsGroup")):
        yield "the source volume is at its hands"
    if inside.get("automountServiceAccountToken") is not False or inside.get("serviceAccountName") not in (None, "default"):
        yield "it has an account"
    if any(inside.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "nodeName", "overhead", "resourceClaims")):
        yield "it is outside of its containers"
    text = json.dumps(inside)
    if "db" in set(_secrets(inside)) or "hostPath" in text or "serviceAccountToken" in text:
        yield "it reads what it was not given"
    if policy.max_resources:
        for resource, most in BOUNDS.items():
            if sum(_limit(item, resource) for item in containers) > most:
                yield f"it takes more {resource}"
        if inside.get("resources"):
            yield "it has resources besides"


def _of_container(container: Object, *, alone: bool) -> Iterator[str]:
    name = container["name"]
    mounts = [item for item in container.get("volumeMounts") or [] if item.get("name") == "halfstep-source"]
    if len(mounts) > (name == "main") or any(not item.get("readOnly") or item["mountPath"] != "/source" for item in mounts):
        yield f"{name} writes the source folder"
    connected = "warehouse" in set(_secrets(container))
    if connected and (not alone or name != "main" or container["image"] != RUNTIME):
        yield f"{name} has a connection"
    if connected and {"lifecycle", "livenessProbe", "envFrom", "args", "workingDir"} & container.keys():
        yield "a connection is where something else runs"
    if name == "main" and container.get("restartPolicy"):
        yield "main starts again"


def _rights_of(container: Object, general: Object) -> Iterator[str]:
    own = container.get("securityContext") or {}
    security = general | {key: value for key, value in own.items() if value is not None}
    if (security.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{container['name']} has no seccomp"
    if security.get("runAsNonRoot") is not True or security.get("allowPrivilegeEscalation") is not False:
        yield f"{container['name']} may become root"
    if (security.get("capabilities") or {}).get("drop") != ["ALL"]:
        yield f"{container['name']} has capabilities"


def _secrets(value: Any) -> Iterator[str]:
    """Names of Secrets, by the ends of the keys that hold them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "secretName":
                yield inner
            elif key.lower().endswith(("secret", "secretref", "secretkeyref")) and isinstance(inner, dict):
                yield inner.get("name") or inner.get("secretName") or ""
            elif key == "imagePullSecrets":
                yield from (item["name"] for item in inner)
            yield from _secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner)


def _limit(container: Object, resource: str) -> Decimal:
    found = quantity((container.get("resources") or {}).get("limits", {}).get(resource))
    return found or Decimal("Infinity")
