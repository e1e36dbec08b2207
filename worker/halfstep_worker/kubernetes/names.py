"""What our objects are called and how they are marked. The attempt's id names the pod: a second create of it can't succeed."""

from __future__ import annotations

DOMAIN = "halfstep.io"
INSTALLATION = f"{DOMAIN}/installation"
"""Label: the UUID of the database's installation; two installations in one namespace never touch each other's pods."""
ATTEMPT = f"{DOMAIN}/attempt"
TASK = f"{DOMAIN}/task"
KEEP = f"{DOMAIN}/keep"
"""Label, "true": the pod was left on purpose after its verdict; where our finalizer is off, garbage collection passes it by."""
QUEUE = f"{DOMAIN}/queue"
OPERATOR = f"{DOMAIN}/operator"
FUNCTION = f"{DOMAIN}/function"
"""These three: labels as far as labels can hold them, annotations with the whole text."""
TASK_LABELS = f"task.{DOMAIN}/"
"""Before a label of the task's that the launcher was told to copy; label and annotation, as those."""
MADE = f"{DOMAIN}/made"
"""Annotation: what tells a pod that a launcher made from a copy, and from one that somebody else made (identity.py)."""
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""Annotation: which container kubectl shows."""
FINALIZER = f"{DOMAIN}/verdict"
"""Keeps the pod object, and with it the evidence, until the verdict is in SQL."""
MAIN = "main"
"""The container whose end is the task's end."""


def is_ours(key: str) -> bool:
    """Whether a label or annotation is in our domain, or one below it: nobody else says what stands there."""
    domain, slash, _ = key.partition("/")
    return bool(slash) and (domain == DOMAIN or domain.endswith(f".{DOMAIN}"))


def pod_name(attempt_id: str) -> str:
    """The name of the attempt's pod, and of its ConfigMap."""
    return f"hs-{attempt_id.lower()}"
