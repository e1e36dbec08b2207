"""The scaler that scales directly: what it is told, whom it listens to, and that it answers KEDA whatever the API server does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from halfstep.database import Database
from halfstep.demand import Backlog
from halfstep.errors import InvalidSettings
from halfstep.producer import enqueue
from halfstep_cli.commands.scaler import Direct, Door, Pace, Shown, _settings
from halfstep_cli.session import Session
from halfstep_scaler.direct.pilot import Pilot, errands
from halfstep_scaler.direct.steering import Name
from halfstep_scaler.direct.wishes import ASKED_SECONDS, Wishes
from halfstep_scaler.objects import AllowList, ScaledObjects
from halfstep_scaler.proto.externalscaler_pb2 import ScaledObjectRef
from halfstep_scaler.settings import ScalerSettings
from halfstep_scaler.snapshot import Snapshot, snapshot_of
from scaler.keda import Keda, ScalerProcess  # noqa: TID251
from waiting import is_within, wait_until

URL = "postgresql://me:secret@127.0.0.1:1/x"
SESSION = Session(environment={"HALFSTEP_DATABASE_URL": URL})


def test_flags_name_scaled_objects() -> None:
    direct = Direct(["shop/a,shop/b", "shop/c"], ["shop/b"], "file")
    settings = _settings(SESSION, Door(), Pace(), Shown(), direct)
    settings.check()
    assert settings.kubeconfig == "file"
    assert {(str(one.name), one.raises, one.lowers) for one in errands(settings)} == {
        ("shop/a", True, False), ("shop/b", True, True), ("shop/c", True, False),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["workers", "shop/*", "a/b/c", "shop/b=c"])
def test_a_name_that_could_mean_several_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="named NAMESPACE/NAME"):
        ScalerSettings(URL, direct_scale=[name]).check()


def test_without_a_way_to_the_api_server_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"needs the API server; kubeconfig '.*none' can't be used"):
        Pilot(ScalerSettings(URL, busy_aware=["shop/a"], kubeconfig=str(tmp_path / "none")))


# -- wishes


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(clock: Clock) -> ScaledObjects:
    return ScaledObjects(AllowList(["*/*"]), clock=clock, on_change=lambda: None)


NAME = Name("shop", "workers")


def ref(**metadata: str) -> ScaledObjectRef:
    return ScaledObjectRef(namespace="shop", name="workers", scalerMetadata={"queues": "*", "slots": "1"} | metadata)


def reading(ready: int, *, at: float = 0.0, queue: str = "a") -> Snapshot:
    return snapshot_of([Backlog(queue, 1, False, ready, 0, 0, 0, 0)], taken_at=at, cap=1000, means={})


def test_nobody_wishes_anything_before_keda_has_asked(objects: ScaledObjects, clock: Clock) -> None:
    wishes = Wishes(objects, [NAME], clock=clock)
    assert wishes.of(reading(5)) == {}
    objects.find(ref())
    clock.now += 2
    assert wishes.of(reading(5))[NAME].now == 5


def test_more_is_wanted_at_once_and_less_only_after_a_while(objects: ScaledObjects, clock: Clock) -> None:
    wishes = Wishes(objects, [NAME], clock=clock)
    objects.find(ref())
    seen = [(wishes.of(reading(5))[NAME], clock.now)]
    for ready in (9, 2):
        clock.now += 2
        seen.append((wishes.of(reading(ready))[NAME], clock.now))
    assert [(wish.now, wish.steady) for wish, _ in seen] == [(5, 5), (9, 9), (2, 9)]
    assert {wish.since for wish, _ in seen} == {1000.0}


def test_a_minimum_is_no_wish_while_there_is_nothing_to_do(objects: ScaledObjects, clock: Clock) -> None:
    objects.find(ref(minReplicas="3"))
    wishes = Wishes(objects, [NAME], clock=clock)
    assert wishes.of(reading(0))[NAME].now == 0
    clock.now += 2
    assert wishes.of(reading(1))[NAME].now == 3


def test_the_largest_of_several_triggers_counts(objects: ScaledObjects, clock: Clock) -> None:
    objects.find(ref(queues="a"))
    objects.find(ref(queues="b"))
    wish = Wishes(objects, [NAME], clock=clock).of(reading(4, queue="b"))[NAME]
    assert (wish.now, wish.triggers, wish.placement) == (4, 2, "worker")


def test_who_does_not_ask_any_more_has_no_wish(objects: ScaledObjects, clock: Clock) -> None:
    wishes = Wishes(objects, [NAME], clock=clock)
    objects.find(ref(slots="1"))
    clock.now += ASKED_SECONDS + 1
    objects.find(ref(slots="2"))
    wish = wishes.of(reading(4))[NAME]
    assert (wish.now, wish.triggers, wish.since) == (2, 1, clock.now)


# -- the API server is away


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nobody answers: connections are neither taken nor refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(0)
        yield taken.getsockname()[1]


def test_keda_is_answered_while_the_api_server_hangs(
    start_scaler: Callable[..., ScalerProcess],
    channels: Callable[..., grpc.Channel],
    database: Database,
    nobody: int,
    tmp_path: Path,
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{nobody}"}}],
            "users": [{"name": "u", "user": {}}],
        })
    )  # fmt: skip
    scaler = start_scaler(direct_scale=["shop/workers"], busy_aware=["shop/workers"], kubeconfig=str(file))
    keda = Keda(channels(scaler.address))
    wait_until(lambda: "The API server does not answer" in scaler.said(), what="the outage in the log")
    enqueue(database, "bash")
    wait_until(lambda: keda.wanted() == 1, what="the task to be seen")
    begun = time.monotonic()
    assert scaler.stop() == 0
    assert is_within(10, time.monotonic() - begun)
    assert scaler.said().count("The API server does not answer") == 1
