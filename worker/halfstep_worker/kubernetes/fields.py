"""The fields of a pod's spec, as far as they are known here, and which of them are usual. For the launcher's policy.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ON_REQUEST = frozenset(
    {
        "container.resizePolicy", "evictionResponders", "hostnameOverride", "overhead", "priority", "schedulingGates",
        "schedulingGroup", "workloadRef",
    }
)  # fmt: skip
"""Only if the policy lists them: they reach into what the cluster decides, or hold a pod back. All others are usual."""
OF_EVERY_POD = frozenset(
    {
        "automountServiceAccountToken", "containers", "enableServiceLinks", "restartPolicy", "securityContext",
        "securityContext.runAsNonRoot", "securityContext.runAsUser", "securityContext.seccompProfile",
        "securityContext.seccompProfile.type", "terminationGracePeriodSeconds", "volumes", "volume.name", "volume.emptyDir",
        "container.name", "container.image", "container.env", "container.env.name", "container.env.value",
        "container.securityContext", "container.securityContext.allowPrivilegeEscalation",
        "container.securityContext.capabilities", "container.securityContext.capabilities.drop",
        "container.securityContext.readOnlyRootFilesystem", "container.securityContext.runAsNonRoot",
        "container.terminationMessagePolicy", "container.volumeMounts", "container.volumeMounts.name",
        "container.volumeMounts.mountPath",
    }
)  # fmt: skip
"""What a launcher sets itself. No policy can refuse them."""
_HARMLESS = {"priority": (0,)}
"""Values as they stand in a manifest that was read from a cluster, and that ask for nothing."""


def _plain(names: str) -> dict[str, Any]:
    """Fields whose inside is not looked at."""
    return dict.fromkeys(names.split())


_PROFILES = {"seccompProfile": _plain("type localhostProfile"), "appArmorProfile": _plain("type localhostProfile")}
_SECURITY = {
    **_plain("runAsUser runAsGroup runAsNonRoot"),
    **_PROFILES,
    "seLinuxOptions": _plain("user role type level"),
    "windowsOptions": _plain("gmsaCredentialSpecName gmsaCredentialSpec runAsUserName hostProcess"),
}
_POD_SECURITY = {
    **_SECURITY,
    **_plain("fsGroup fsGroupChangePolicy seLinuxChangePolicy supplementalGroups supplementalGroupsPolicy"),
    "sysctls": _plain("name value"),
}
_CONTAINER_SECURITY = {
    **_SECURITY,
    **_plain("allowPrivilegeEscalation privileged procMount readOnlyRootFilesystem"),
    "capabilities": _plain("add drop"),
}
_FIELD_REFERENCES = {
    "fieldRef": _plain("apiVersion fieldPath"),
    "resourceFieldRef": _plain("containerName resource divisor"),
}
_CALL = {
    "exec": _plain("command"),
    "httpGet": {**_plain("host path port scheme"), "httpHeaders": _plain("name value")},
    "tcpSocket": _plain("host port"),
}
_PROBE = {
    **_CALL,
    "grpc": _plain("port service"),
    **_plain("failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds terminationGracePeriodSeconds"),
}
_HOOK = {**_CALL, "sleep": _plain("seconds")}
_RESOURCES = {**_plain("limits requests"), "claims": _plain("name request")}
_KEYS = {"items": _plain("key path mode user"), **_plain("optional")}
_DOWNWARD = {"items": {**_plain("path mode user"), **_FIELD_REFERENCES}}
_CONTAINER = {
    **_plain("name image command args workingDir imagePullPolicy terminationMessagePath terminationMessagePolicy"),
    **_plain("restartPolicy stdin stdinOnce tty"),
    "env": {
        **_plain("name value"),
        "valueFrom": {
            **_FIELD_REFERENCES,
            "configMapKeyRef": _plain("name key optional"),
            "secretKeyRef": _plain("name key optional"),
            "fileKeyRef": _plain("volumeName path key optional"),
        },
    },
    "envFrom": {**_plain("prefix"), "configMapRef": _plain("name optional"), "secretRef": _plain("name optional")},
    "lifecycle": {"postStart": _HOOK, "preStop": _HOOK, **_plain("stopSignal")},
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "ports": _plain("name containerPort hostPort hostIP protocol"),
    "resizePolicy": _plain("resourceName restartPolicy"),
    "resources": _RESOURCES,
    "securityContext": _CONTAINER_SECURITY,
    "volumeDevices": _plain("name devicePath"),
    "volumeMounts": _plain("name mountPath subPath subPathExpr readOnly recursiveReadOnly mountPropagation"),
}
_VOLUME = {
    **_plain("name azureDisk azureFile awsElasticBlockStore cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk"),
    **_plain("gitRepo glusterfs hostPath iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos"),
    **_plain("vsphereVolume"),
    "configMap": {**_plain("name defaultMode defaultUser"), **_KEYS},
    "downwardAPI": {**_DOWNWARD, **_plain("defaultMode defaultUser")},
    "emptyDir": _plain("medium sizeLimit mode"),
    "image": _plain("reference pullPolicy"),
    "persistentVolumeClaim": _plain("claimName readOnly"),
    "projected": {
        **_plain("defaultMode defaultUser"),
        "sources": {
            "clusterTrustBundle": _plain("name signerName labelSelector optional path user"),
            "configMap": {**_plain("name"), **_KEYS},
            "downwardAPI": _DOWNWARD,
            "podCertificate": _plain(
                "signerName keyType maxExpirationSeconds credentialBundlePath keyPath certificateChainPath userAnnotations user"
            ),
            "secret": {**_plain("name"), **_KEYS},
            "serviceAccountToken": _plain("audience expirationSeconds path user"),
        },
    },
    "secret": {**_plain("secretName defaultMode defaultUser"), **_KEYS},
}
_SPEC = {
    **_plain("activeDeadlineSeconds automountServiceAccountToken dnsPolicy enableServiceLinks evictionResponders hostIPC"),
    **_plain("hostNetwork hostPID hostUsers hostname hostnameOverride nodeName nodeSelector overhead preemptionPolicy priority"),
    **_plain("priorityClassName restartPolicy runtimeClassName schedulerName serviceAccount serviceAccountName"),
    **_plain("schedulingGroup setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds workloadRef"),
    "affinity": _plain("nodeAffinity podAffinity podAntiAffinity"),
    "containers": _CONTAINER,
    "initContainers": _CONTAINER,
    "dnsConfig": {**_plain("nameservers searches"), "options": _plain("name value")},
    "hostAliases": _plain("ip hostnames"),
    "imagePullSecrets": _plain("name"),
    "os": _plain("name"),
    "readinessGates": _plain("conditionType"),
    "resourceClaims": _plain("name resourceClaimName resourceClaimTemplateName"),
    "resources": _RESOURCES,
    "schedulingGates": _plain("name"),
    "securityContext": _POD_SECURITY,
    "tolerations": _plain("key operator value effect tolerationSeconds"),
    "topologySpreadConstraints": _plain(
        "maxSkew topologyKey whenUnsatisfiable labelSelector minDomains nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys"
    ),
    "volumes": _VOLUME,
}
_CALLED = {"containers": "container", "initContainers": "container", "volumes": "volume"}
"""How a field inside of these is named: `container.lifecycle`, `volume.emptyDir.mode`."""


def known_fields() -> Iterator[str]:
    """The dotted names of all of them."""
    yield from _names(_SPEC, "")


def _names(shape: dict[str, Any], path: str) -> Iterator[str]:
    for key, inner in shape.items():
        yield path + key
        yield from _names(inner or {}, _below(path, key))


def fields_of(spec: Any) -> Iterator[tuple[str, bool]]:
    """Each field that asks for something, by its dotted name, and whether it is known. What is not is not looked into."""
    yield from _inside(spec, _SPEC, "")


def _inside(value: Any, shape: Any, path: str) -> Iterator[tuple[str, bool]]:
    if isinstance(value, list):
        for item in value:
            yield from _inside(item, shape, path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if inner is None or inner in _HARMLESS.get(path + key, ()):
                continue
            yield path + key, key in shape
            if shape.get(key):
                yield from _inside(inner, shape[key], _below(path, key))


def _below(path: str, key: str) -> str:
    return f"{path}{key}." if path else f"{_CALLED.get(key, key)}."
