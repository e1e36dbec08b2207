"""What real KEDA shows of a ScaledObject that the scaler refuses, and where else it is told: the manual's table, held to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.installation import SYSTEM, Installation, installed
from cluster.kube import RESTRICTED, Cluster, pod
from cluster.manifest_ground import kubectl
from waiting import wait_until

pytestmark = pytest.mark.cluster

ADDRESS = "halfstep-scaler.halfstep.svc:9443"
STRANGER = "halfstep-stranger"
"""A namespace that is not on the scaler's allow list."""
KEDA_SECONDS = 120
POLL = 5
FALLBACK = {"failureThreshold": 2, "replicas": 1, "behavior": "static"}
PREFIX = "rpc error: code = InvalidArgument desc = "

WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no queues": ({"slots": "4"}, "queues is missing"),
    "an unknown key": ({"queues": "*", "slot": "4"}, "There is no metadata key 'slot'; known are queues"),
    "a word that is none": ({"queues": "*", "placement": "Pod"}, "placement is worker or pod, not 'Pod'."),
    "hundreds of keys": ({"queues": "*"} | {f"k{n:03}": "x" for n in range(300)}, "'k000', 'k001', 'k002' and 297 more"),
    "ten thousand characters": ({"queues": "q" * 10_000}, "…' is no name of a queue."),
    "five long mistakes in letters of four bytes": (
        {"queues": ",".join("\U0001f600" * 60 + str(n) for n in range(9))},
        "is no name of a queue.",
    ),
    "a value that turns the line round": ({"queues": "*", "policy": "\u202elatency"}, "not '\\u202elatency'"),
}


def scaled(name: str, metadata: dict[str, str], *, namespace: str = SYSTEM, fallback: dict[str, Any] | None = None) -> list[Any]:
    """A Deployment that has no pods, and its ScaledObject."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod("unused")["spec"] | {"restartPolicy": "Always"}}
    where = {"name": name, "namespace": namespace}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    trigger = {"type": "external-push", "metadata": {"scalerAddress": ADDRESS} | metadata}
    wanted = {"scaleTargetRef": {"name": name}, "pollingInterval": POLL, "maxReplicaCount": 2, "triggers": [trigger]}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "spec": spec},
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": where,
            "spec": wanted | ({"fallback": fallback} if fallback else {}),
        },
    ]


@pytest.fixture(scope="module")
def here(cluster: Cluster, keda: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation, ready before anything wrong is applied."""
    with installed(cluster, tmp_path_factory.mktemp("overlay")) as here:
        yield here


@pytest.fixture
def apply(here: Installation) -> Iterator[Callable[..., None]]:
    """Applies objects; they are gone at the end."""
    applied: list[Any] = []

    def given(*objects: Any) -> None:
        applied.extend(objects)
        answer = kubectl("apply", "-f", "-", given=list(objects))
        assert answer.code == 0, answer.err

    yield given
    kubectl("delete", "--ignore-not-found", "--wait=true", "-f", "-", given=applied, seconds=120)


def notes(name: str, *, namespace: str = SYSTEM) -> list[str]:
    """Of the warnings that `kubectl describe scaledobject` lists."""
    selector = f"involvedObject.kind=ScaledObject,involvedObject.name={name},type=Warning"
    answer = kubectl("--namespace", namespace, "get", "events", "--field-selector", selector, "--output", "json")
    assert answer.code == 0, answer.err
    return [each["message"] for each in json.loads(answer.out)["items"] if each["reason"] == "KEDAScalerFailed"]


def conditions(name: str) -> dict[str, tuple[str, str]]:
    answer = kubectl("--namespace", SYSTEM, "get", "scaledobject", name, "--output", "json")
    found = json.loads(answer.out).get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each.get("reason", "")) for each in found}


def log() -> list[str]:
    answer = kubectl("--namespace", SYSTEM, "logs", "--selector", "app.kubernetes.io/component=scaler", "--prefix", "--tail=-1")
    return answer.out.splitlines()


def doctor(here: Installation, *words: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its findings by name."""
    line = [sys.executable, "-m", "halfstep_cli.main", "--database", here.dsn, "doctor", "--json", *words]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, {each["name"]: each for each in json.loads(ended.stdout)["checks"]}


@pytest.mark.parametrize(("metadata", "words"), WRONG.values(), ids=WRONG)
def test_a_refusal_is_an_event_that_names_what_is_wrong(
    metadata: dict[str, str], words: str, here: Installation, apply: Callable[..., None]
) -> None:
    apply(*scaled("wrong", metadata))
    told = wait_until(lambda: [note for note in notes("wrong") if words in note], seconds=KEDA_SECONDS, what="KEDA's event")
    assert told[0].startswith(PREFIX)
    assert len(told[0].encode()) <= 1024
    refused = ("False", "TriggerError")
    wait_until(lambda: conditions("wrong").get("Ready") == refused, seconds=KEDA_SECONDS, what="the condition")


def test_a_refusal_is_logged_once_listed_by_doctor_and_gone_when_it_is_mended(
    here: Installation, apply: Callable[..., None]
) -> None:
    apply(*scaled("mended", {"queues": "a b"}))
    sentence = "'a b' is no name of a queue."
    wait_until(lambda: notes("mended"), seconds=KEDA_SECONDS, what="KEDA's event")
    expected = f"halfstep/mended: {sentence}"
    wait_until(lambda: expected in doctor(here)[1]["scaled objects"]["detail"], seconds=60, what="the scaler's list")
    code, found = doctor(here, "--kubernetes", "--kubeconfig", str(here.cluster.kubeconfig))
    assert code == 1
    assert sentence in found["ScaledObject halfstep/mended"]["detail"]
    assert "ScaledObject halfstep/halfstep-worker" not in found
    lines = [line for line in log() if f"ScaledObject halfstep/mended is refused (INVALID_ARGUMENT): {sentence}" in line]
    assert len(lines) == len({line.partition("]")[0] for line in lines}) <= 2, "once for each of the two scalers"
    apply(*scaled("mended", {"queues": "a"}))
    wait_until(lambda: conditions("mended").get("Ready", ("",))[0] == "True", seconds=KEDA_SECONDS, what="readiness")
    wait_until(lambda: doctor(here)[1]["scaled objects"]["ok"], seconds=240, what="an empty list")


def test_with_a_fallback_keda_stays_ready_and_falls_back(here: Installation, apply: Callable[..., None]) -> None:
    apply(*scaled("fallen", {"queues": "a b"}, fallback=FALLBACK))
    wait_until(lambda: notes("fallen"), seconds=KEDA_SECONDS, what="KEDA's event")
    wait_until(lambda: conditions("fallen").get("Fallback", ("",))[0] == "True", seconds=KEDA_SECONDS, what="the fallback")
    assert conditions("fallen")["Ready"][0] == "True"
    _, found = doctor(here, "--kubernetes", "--kubeconfig", str(here.cluster.kubeconfig))
    assert "Fallback is True" in found["ScaledObject halfstep/fallen"]["detail"]


def test_a_stranger_is_told_that_it_is_not_on_the_allow_list(here: Installation, apply: Callable[..., None]) -> None:
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STRANGER, "labels": RESTRICTED}})
    apply(*scaled("stranger", {"queues": "*"}, namespace=STRANGER))
    said = f"ScaledObject {STRANGER}/stranger is not on this scaler's allow list (--allow)."
    wait_until(
        lambda: any(said in note for note in notes("stranger", namespace=STRANGER)), seconds=KEDA_SECONDS, what="KEDA's event"
    )


def test_metadata_that_no_call_can_hold_are_found_by_doctor(here: Installation, apply: Callable[..., None]) -> None:
    apply(*scaled("huge", {"queues": "*"} | {f"k{n}": "x" * 10_000 for n in range(10)}))
    wait_until(lambda: conditions("huge").get("Ready", ("",))[0] == "False", seconds=KEDA_SECONDS, what="the condition")
    assert notes("huge") == [] or all("InvalidArgument" not in note for note in notes("huge"))
    _, found = doctor(here, "--kubernetes", "--kubeconfig", str(here.cluster.kubeconfig))
    assert "longer than 64 KiB" in found["ScaledObject halfstep/huge"]["detail"]
