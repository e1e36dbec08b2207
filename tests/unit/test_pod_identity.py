"""What makes a pod ours, as it is planned, stored, seen and remembered."""

from __future__ import annotations

import json

import pytest

from halfstep.claims import Claim
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.identity import belongs, lacking
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.timeline import trim

INSTALLATION = "3a0a7c9c-51d5-4d3f-9d5c-2f1a63f4e001"
CLAIM = Claim(
    7, "token-1", "default", "pod", "{}", 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"
)  # fmt: skip
TASKS = {
    "any image": ("pod", {"image": "x"}, "default"),
    "an image that is kept": ("pod", {"image": "x", "on_finish": "keep_on_failure"}, "default"),
    "a function": ("python", {"function": "jobs:train"}, "default"),
    "a queue whose name no label holds": ("bash", {"command": "true"}, "q" * 63 + "." * 100),
}


@pytest.mark.parametrize(("operator", "args", "queue"), TASKS.values(), ids=TASKS)
def test_a_pod_as_it_was_made_is_ours_and_lacks_nothing(operator: str, args: dict[str, str], queue: str) -> None:
    planner = Planner(Cluster(pods=PodDefaults(image="runtime:1")), LauncherPolicy(), INSTALLATION)
    planned = planner(CLAIM._replace(operator=operator, args=json.dumps(args), queue=queue))
    assert isinstance(planned, Flight)
    assert planned.manifest is not None
    made = planned.manifest[0]
    seen = trim({"metadata": {**made["metadata"], "uid": "u-1"}, "spec": made["spec"], "status": {"phase": "Pending"}})
    assert belongs(seen, planned, INSTALLATION)
    assert lacking(seen, planned, INSTALLATION) == {}
