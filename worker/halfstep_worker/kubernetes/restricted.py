"""What a pod is like that asks for nothing: restricted, as the Pod Security Standards of Kubernetes have it."""

from __future__ import annotations

from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.values import Pod

GRACE_SECONDS = 30
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
TMP_VOLUME = "halfstep-tmp"


def spec_defaults(asked: Pod) -> Pod:
    """Under a spec of which all that is asked for is known: who asks for user 0, or an account, gets no contradiction."""
    root = _is_root(asked.get("securityContext"))
    return {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "enableServiceLinks": False,
        "automountServiceAccountToken": asked.get("serviceAccountName") not in (None, "", "default"),
        "securityContext": {
            "runAsNonRoot": not root,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{key: [_container_defaults(item) for item in asked[key]] for key in _CONTAINERS if asked.get(key)},
    }


def _container_defaults(asked: Pod) -> Pod:
    """Who asks for user 0 or for privileges gets no contradiction from us."""
    security: Pod = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    own = asked.get("securityContext")
    if isinstance(own, dict) and own.get("privileged"):
        security = {}
    if _is_root(own):
        security["runAsNonRoot"] = False
    return {"name": asked["name"], "terminationMessagePolicy": "FallbackToLogsOnError", "securityContext": security}


def _is_root(security: object) -> bool:
    return isinstance(security, dict) and security.get("runAsUser") == 0


def operator_defaults() -> Pod:
    """A root file system that can't be written, and a folder that can."""
    return {
        "volumes": [{"name": TMP_VOLUME, "emptyDir": {}}],
        "containers": [
            {
                "name": MAIN,
                "env": [{"name": "HOME", "value": "/tmp"}],
                "volumeMounts": [{"name": TMP_VOLUME, "mountPath": "/tmp"}],
                "securityContext": {"readOnlyRootFilesystem": True},
            }
        ],
    }
