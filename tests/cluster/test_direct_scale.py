"""Direct scale and busy-aware scale-in on a real API server with the real controllers: numbers, marks, and who is deleted.

Pods run on simulated nodes, and their workers are rows in SQL, so that forty of them cost nothing. The pilot has no more rights
than the manifests give it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from cluster.kube import Cluster, on_simulated_nodes, pod
from cluster.manifest_ground import kubectl, there
from halfstep.claims import Turn
from halfstep.claims import Wish as ClaimWish
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue, WorkerCard
from halfstep.scaling import ScalingBook
from halfstep_scaler.direct.course import Pace
from halfstep_scaler.direct.fleet import COST, LEAST_COST, MARK, pods_of
from halfstep_scaler.direct.pilot import Pilot
from halfstep_scaler.direct.steering import Name, Wish
from halfstep_scaler.settings import ScalerSettings
from kustomize import MANIFESTS
from scaler.conftest import channels, start_scaler  # noqa: F401, TID251  fixtures
from scaler.keda import Keda, ScalerProcess  # noqa: TID251
from waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

DEPLOYMENT = "halfstep-worker"
RUNS = int(os.environ.get("HALFSTEP_TEST_RUNS", "2"))
"""How often busy and idle workers are mixed anew."""
QUICK = Pace(watched=0.0, settle=0.3, rules=0.2, look=0.2, rest=0.2, pause=0.2, stand=1.0, retry=0.2, most_retry=1.0)
LEASE_SECONDS = 600.0
RESTART_SECONDS = 1.0
"""A kubelet needs longer for another container of a pod, and Python in it to begin."""


@dataclass(slots=True)
class Ground:
    """A Deployment, its ScaledObject, and an account with the rights of the two components."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    queue: Queue
    workers: dict[str, str] = field(default_factory=dict)

    def kubectl(self, *words: str) -> str:
        """In the namespace. What it prints."""
        answer = kubectl(f"--namespace={self.namespace}", *words)
        assert answer.code == 0, answer.err
        return answer.out

    def deployment(self) -> Any:
        return json.loads(self.kubectl("get", "deployment", DEPLOYMENT, "-o", "json"))

    def replicas(self) -> int:
        return int(self.deployment()["spec"]["replicas"])

    def wait_for_replicas(self, number: int) -> None:
        wait_until(lambda: self.replicas() == number, seconds=20, what=f"{number} replicas")

    def set_replicas(self, number: int) -> None:
        self.kubectl("scale", "deployment", DEPLOYMENT, f"--replicas={number}")

    def pods(self) -> dict[str, Any]:
        """Those that nobody has deleted, by name."""
        found = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        return {each["metadata"]["name"]: each for each in found if "deletionTimestamp" not in each["metadata"]}

    def ready(self) -> dict[str, Any]:
        def is_ready(each: Any) -> bool:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in each["status"].get("conditions", []))

        return {name: each for name, each in self.pods().items() if is_ready(each)}

    def settle(self, number: int) -> dict[str, Any]:
        """The pods, once there are so many, ready, and each has its worker."""
        wait_until(lambda: len(self.ready()) == number == len(self.pods()), seconds=90, what=f"{number} pods")
        pods = self.pods()
        for name in pods:
            if name not in self.workers:
                self.register(name)
        return pods

    def register(self, name: str) -> str:
        """A worker begins on that pod."""
        self.workers[name] = str(uuid.uuid4())
        self.queue.register(WorkerCard(self.workers[name], name, name, 1, "0", 1, lease_seconds=LEASE_SECONDS))
        return self.workers[name]

    def occupy(self, names: list[str]) -> None:
        """Each of them claims a task, and holds it."""
        enqueue_many(self.queue.database, [NewTask("bash", {}, {})] * len(names))
        for name in names:
            turn = Turn(self.workers[name], 0, ["default"], "worker", "")
            assert len(self.queue.exchange(turn, ClaimWish(1, str(uuid.uuid4()))).claims) == 1

    def mark(self, name: str, worker: str) -> None:
        (found,) = pods_of([self.pods()[name]], DEPLOYMENT)
        worker = found.mark_for(worker)
        self.kubectl("annotate", "pod", name, f"{COST}={LEAST_COST}", f"{MARK}={worker}")

    def marks(self) -> list[str]:
        return [name for name, each in self.pods().items() if MARK in each["metadata"].get("annotations", {})]


def deployment(namespace: str) -> dict[str, Any]:
    labels = {"app": DEPLOYMENT}
    template = {"metadata": {"labels": labels}, "spec": on_simulated_nodes(pod("unused"))["spec"]}
    template["spec"]["restartPolicy"] = "Always"
    template["spec"]["terminationGracePeriodSeconds"] = 0
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": DEPLOYMENT, "namespace": namespace}, "spec": spec}


def scaled_object(namespace: str) -> dict[str, Any]:
    disabled = {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": DEPLOYMENT, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": DEPLOYMENT},
            "minReplicaCount": 1,
            "maxReplicaCount": 60,
            "advanced": {"horizontalPodAutoscalerConfig": disabled},
            "triggers": [{"type": "external-push", "metadata": {"scalerAddress": "x:1", "queues": "*"}}],
        },
    }


def rights(namespace: str) -> list[dict[str, Any]]:
    """Those of the components, here."""
    found = []
    for component in ("direct-scale", "busy-aware"):
        for each in yaml.safe_load_all((MANIFESTS / "components" / component / "rights.yaml").read_text()):
            if each["kind"] in ("Role", "RoleBinding"):
                each["metadata"]["namespace"] = namespace
                for subject in each.get("subjects", []):
                    subject["namespace"] = namespace
                found.append(each)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "halfstep-scaler", "namespace": namespace}}
    return [account, *found]


@pytest.fixture
def policy(namespace: str) -> Iterator[str]:
    """The admission policy of the component, for the account here; its name."""
    text = (MANIFESTS / "components" / "busy-aware" / "rights.yaml").read_text()
    name = f"halfstep-busy-aware-{namespace}"
    given = [each for each in yaml.safe_load_all(text) if each["kind"].startswith("ValidatingAdmissionPolicy")]
    for each in given:
        each["metadata"]["name"] = name
        each["spec"] |= {"policyName": name} if "policyName" in each["spec"] else {}
        if "matchConstraints" in each["spec"]:
            each["spec"]["matchConstraints"]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = namespace
            (condition,) = each["spec"]["matchConditions"]
            condition["expression"] = condition["expression"].replace(":halfstep:", f":{namespace}:")
    with there(name, given):
        yield name


def kubeconfig_of(account: str, cluster: Cluster, namespace: str, file: Path) -> Path:
    """A kubeconfig with a token of that account."""
    token = kubectl(f"--namespace={namespace}", "create", "token", account).out.strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "scaler", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = "scaler"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def ground(cluster: Cluster, namespace: str, simulated_nodes: list[str], queue: Queue, tmp_path: Path) -> Ground:
    given = [*rights(namespace), deployment(namespace), scaled_object(namespace)]
    answer = kubectl("apply", "-f", "-", given=given)
    assert answer.code == 0, answer.err
    return Ground(cluster, namespace, kubeconfig_of("halfstep-scaler", cluster, namespace, tmp_path / "token"), queue)


class Steered:
    """Pilots in this process, told the same wish over and over, as by snapshots."""

    def __init__(self, ground: Ground, url: str) -> None:
        self.name = Name(ground.namespace, DEPLOYMENT)
        self._url, self._ground = url, ground
        self._stack = ExitStack()
        self._over = threading.Event()
        self._wish: Wish | None = None
        self._pilots: list[Pilot] = []
        threading.Thread(target=self._tell, daemon=True).start()

    def start(self, *, name: str = "one", **flags: bool) -> Pilot:
        """flags: direct_scale, busy_aware; both unless told otherwise."""
        mine = (str(self.name),)
        settings = ScalerSettings(
            self._url, kubeconfig=str(self._ground.kubeconfig), name=name,
            direct_scale=mine if flags.get("direct_scale", True) else (),
            busy_aware=mine if flags.get("busy_aware", True) else (),
        )  # fmt: skip
        pilot = Pilot(settings, pace=QUICK)
        pilot.start()
        self._stack.callback(pilot.stop)
        self._pilots.append(pilot)
        return pilot

    def want(self, now: int, *, steady: int | None = None, **changes: Any) -> None:
        """The wish from now on."""
        usual = Wish(now, now if steady is None else steady, "worker", 1, time.monotonic(), 0.0)
        self._wish = replace(usual, **changes)

    def close(self) -> None:
        self._over.set()
        self._stack.close()

    def _tell(self) -> None:
        while not self._over.wait(0.05):
            if self._wish is not None:
                told: Mapping[Name, Wish] = {self.name: replace(self._wish, taken_at=time.monotonic())}
                for pilot in list(self._pilots):
                    pilot.note(told)


@pytest.fixture
def steered(ground: Ground, database_url: str) -> Iterator[Steered]:
    made = Steered(ground, database_url)
    yield made
    made.close()


# -- rights


def test_the_policy_lets_a_pod_be_marked_and_nothing_else_be_changed(ground: Ground, policy: str) -> None:
    ground.set_replicas(1)
    wait_until(lambda: ground.pods(), seconds=30, what="a pod")
    (name,) = ground.pods()
    refused = {
        "what a pod runs": {"spec": {"activeDeadlineSeconds": 1}},
        "a pod's labels": {"metadata": {"labels": {"a": "b"}}},
        "whose a pod is": {"metadata": {"ownerReferences": None}},
        "what keeps it": {"metadata": {"finalizers": ["a.b/c"]}},
        "may only mark a pod": {"metadata": {"annotations": {"a": "b"}}},
    }
    for words, patch in refused.items():
        wait_until(lambda w=words, p=patch: w in _patched(ground, name, p), seconds=60, what=words)  # type: ignore[misc]
    assert "patched" in _patched(ground, name, {"metadata": {"annotations": {COST: LEAST_COST, MARK: "w@1.0"}}})
    assert "patched" in _patched(ground, name, {"metadata": {"annotations": {COST: None, MARK: None}}})


def _patched(ground: Ground, name: str, patch: dict[str, Any]) -> str:
    words = (f"--kubeconfig={ground.kubeconfig}", f"--namespace={ground.namespace}", "patch", "pod", name)
    answer = kubectl(*words, "--type=merge", f"--patch={json.dumps(patch)}", "--dry-run=server")
    return answer.out + answer.err


# -- up


def test_a_commit_sets_the_number_long_before_the_hpa_would(
    ground: Ground,
    database: Database,
    start_scaler: Callable[..., ScalerProcess],  # noqa: F811
    channels: Callable[..., grpc.Channel],  # noqa: F811
) -> None:
    name = f"{ground.namespace}/{DEPLOYMENT}"
    scaler = start_scaler(direct_scale=[name], kubeconfig=str(ground.kubeconfig), poll_seconds=1.0)
    metadata = {"queues": "*", "slots": "5", "maxReplicas": "60"}
    keda = Keda(channels(scaler.address), metadata, namespace=ground.namespace, name=DEPLOYMENT)
    enqueue_many(database, [NewTask("bash", {}, {})] * 50)
    wait_until(lambda: "this scaler sets its number" in scaler.said(), seconds=30, what="the election")
    assert ground.replicas() == 0  # nobody has asked yet: KEDA may not even run
    keda.activity()
    ground.wait_for_replicas(10)
    taken = []
    for more in range(1, 6):
        enqueue_many(database, [NewTask("bash", {}, {})] * 30)
        begun = time.monotonic()
        ground.wait_for_replicas(10 + 6 * more)
        taken.append(time.monotonic() - begun)
    print(f"COMMIT to spec.replicas, s: {', '.join(f'{each:.3f}' for each in taken)}")
    assert sorted(taken)[len(taken) // 2] < 5.0  # the machine may be shared; benchmarks have the figure
    ground.kubectl("annotate", "scaledobject", DEPLOYMENT, "autoscaling.keda.sh/paused=true")
    wait_until(lambda: "it is paused" in scaler.said(), seconds=20, what="the pause to be seen")
    enqueue_many(database, [NewTask("bash", {}, {})] * 50)
    wait_until(lambda: keda.wanted() == 50, what="50 wanted")
    assert ground.replicas() == 40
    ground.kubectl("annotate", "scaledobject", DEPLOYMENT, "autoscaling.keda.sh/paused-")
    ground.wait_for_replicas(50)
    assert scaler.stop() == 0


def test_the_number_is_never_lowered_by_direct_scale_alone(ground: Ground, steered: Steered) -> None:
    ground.set_replicas(5)
    steered.start(busy_aware=False)
    steered.want(2)
    ground.settle(5)
    steered.want(70)
    ground.wait_for_replicas(60)  # the ScaledObject's maximum
    assert not ground.marks()


# -- down


@pytest.mark.parametrize("run", range(RUNS))
def test_of_forty_workers_the_twenty_idle_ones_leave_and_no_other(
    run: int, ground: Ground, steered: Steered, policy: str
) -> None:
    ground.set_replicas(40)
    names = sorted(ground.settle(40))
    busy = names[run % 2 :: 2]
    ground.occupy(busy)
    steered.start()
    steered.want(5)
    ground.wait_for_replicas(20)
    wait_until(lambda: len(ground.pods()) == 20, seconds=30, what="20 pods")
    assert sorted(ground.pods()) == sorted(busy)
    assert not ground.marks()


def test_drained_workers_that_leave_at_once_and_begin_anew_change_nothing(
    ground: Ground, steered: Steered, connect: Callable[[], Database]
) -> None:
    """So a kubelet does: the container of a worker that left is started again."""
    ground.set_replicas(12)
    names = sorted(ground.settle(12))
    ground.occupy(names[::2])
    over = threading.Event()
    restarting = threading.Thread(target=_restart_drained, args=(connect(), over))
    restarting.start()
    try:
        steered.start()
        steered.want(1)
        wait_until(lambda: sorted(ground.pods()) == names[::2], seconds=60, what="the idle ones to leave")
    finally:
        over.set()
        restarting.join()
    assert ground.replicas() == 6


def _restart_drained(database: Database, over: threading.Event) -> None:
    queue, book = Queue(database), ScalingBook(database)
    begins: dict[str, float] = {}
    while not over.wait(0.01):
        for load in book.loads():
            if load.leaving and not load.held:
                queue.deregister(load.id)
                begins[load.host] = time.monotonic() + RESTART_SECONDS
        for host in [host for host, at in begins.items() if at <= time.monotonic()]:
            del begins[host]
            queue.register(WorkerCard(str(uuid.uuid4()), host, host, 1, "0", 1, lease_seconds=LEASE_SECONDS))


def test_a_busy_pod_that_is_not_ready_holds_everything_up_until_it_is(
    ground: Ground, steered: Steered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="halfstep")
    ground.set_replicas(4)
    names = sorted(ground.settle(4))
    ground.occupy(names[:1])
    _set_ready(ground, names[0], ready=False)
    steered.start()
    steered.want(1)
    wait_until(lambda: "is not ready and would go first" in caplog.text, seconds=20, what="the reason")
    assert (ground.replicas(), ground.marks()) == (4, [])
    _set_ready(ground, names[0], ready=True)
    wait_until(lambda: sorted(ground.pods()) == names[:1], seconds=30, what="the others to leave")


def _set_ready(ground: Ground, name: str, *, ready: bool) -> None:
    condition = {"type": "Ready", "status": str(ready)}
    ground.cluster.core.patch_namespaced_pod_status(name, ground.namespace, {"status": {"conditions": [condition]}})
    wait_until(lambda: (name in ground.ready()) is ready, what="the pod's state")


def test_what_a_dead_leader_left_is_finished_or_taken_off(ground: Ground, steered: Steered, database: Database) -> None:
    ground.set_replicas(5)
    names = sorted(ground.settle(5))
    (drained,) = ScalingBook(database).drain_idle(1, hosts=names)
    ground.mark(drained.host, drained.id)
    busy = [name for name in names if name != drained.host]
    ground.occupy(busy)
    ground.mark(busy[0], str(uuid.uuid4()))  # its worker left; the pod's next one is at work
    steered.start()
    steered.want(1)
    wait_until(lambda: sorted(ground.pods()) == busy, seconds=30, what="the drained one to leave")
    assert ground.replicas() == 4
    assert not ground.marks()


def test_old_marks_are_taken_off_also_when_all_are_wanted(ground: Ground, steered: Steered) -> None:
    ground.set_replicas(2)
    names = sorted(ground.settle(2))
    ground.mark(names[0], str(uuid.uuid4()))
    steered.start()
    steered.want(2)
    wait_until(lambda: not ground.marks(), seconds=20, what="the mark to go")
    assert ground.replicas() == 2


def test_a_deletion_cost_of_somebody_else_is_left_and_its_pod_stays(ground: Ground, steered: Steered) -> None:
    ground.set_replicas(3)
    names = sorted(ground.settle(3))
    ground.kubectl("annotate", "pod", names[0], f"{COST}=5")
    steered.start()
    steered.want(0)
    ground.wait_for_replicas(1)
    wait_until(lambda: sorted(ground.pods()) == names[:1], seconds=30, what="the others to leave")
    assert ground.pods()[names[0]]["metadata"]["annotations"] == {COST: "5"}


def test_of_two_replicas_one_acts_and_the_other_takes_over(ground: Ground, steered: Steered) -> None:
    first = steered.start(name="first")
    steered.want(3)
    ground.wait_for_replicas(3)
    steered.start(name="second")
    first.stop()
    steered.want(6)
    ground.wait_for_replicas(6)
