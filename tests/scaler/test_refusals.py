"""Who is refused: told in the log once, listed while it lasts, and sent to KEDA where KEDA shows it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from halfstep.database import Database
from halfstep.scaling import ScalingBook
from halfstep_scaler.errors import InvalidReference
from halfstep_scaler.metadata import Target, parse_metadata
from halfstep_scaler.objects import AllowList, ScaledObjects
from halfstep_scaler.proto.externalscaler_pb2 import ScaledObjectRef
from halfstep_scaler.refusals import FORGET_SECONDS, LINES_SECONDS, MOST_LINES, MOST_REFUSALS, Refusals
from halfstep_scaler.waiting import MOST_REFUSED, MOST_TARGETS, standing
from ports import free_port
from scaler.keda import Keda, ScalerProcess, refusal  # noqa: TID251
from waiting import wait_until

Start = Callable[..., ScalerProcess]
Channels = Callable[..., grpc.Channel]
WRONG = {"queues": "a b"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock=clock)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level("INFO", "halfstep")
    return lambda: [record.getMessage() for record in caplog.records]


def ref(name: str = "workers", **metadata: str) -> ScaledObjectRef:
    return ScaledObjectRef(namespace="shop", name=name, scalerMetadata=metadata)


def listed(refusals: Refusals) -> list[tuple[str, str, str]]:
    return [(each.namespace, each.name, each.sentence) for each in refusals.listed]


def test_a_refusal_is_logged_once_until_it_changes(refusals: Refusals, lines: Callable[[], list[str]]) -> None:
    for sentence in ("One.", "One.", "Two.", "Two.", "One."):
        refusals.note("shop", "workers", InvalidReference(sentence))
    assert lines() == [f"ScaledObject shop/workers is refused (INVALID_ARGUMENT): {said}" for said in ("One.", "Two.")]


def test_two_wrong_triggers_of_one_object_are_told_once_each_however_they_take_turns(
    refusals: Refusals, lines: Callable[[], list[str]]
) -> None:
    for number in range(100):
        refusals.note("shop", "workers", InvalidReference(f"{number % 2}."))
    assert len(lines()) == 2


def test_what_is_not_repeated_is_forgotten_and_logged_anew_when_it_comes_back(
    refusals: Refusals, clock: Clock, lines: Callable[[], list[str]]
) -> None:
    refusals.note("shop", "workers", InvalidReference("One."))
    clock.now += FORGET_SECONDS - 1
    refusals.age()
    assert len(refusals.listed) == 1
    clock.now += 2
    refusals.age()
    assert refusals.listed == ()
    refusals.note("shop", "workers", InvalidReference("One."))
    assert len(lines()) == 2


def test_what_is_listed_and_logged_is_bounded_however_many_are_refused(
    refusals: Refusals, clock: Clock, lines: Callable[[], list[str]]
) -> None:
    for number in range(MOST_REFUSALS + 500):
        refusals.note("shop", f"w{number}", InvalidReference("One."))
    assert len(refusals.listed) == MOST_REFUSALS
    assert len(lines()) == MOST_LINES
    clock.now += LINES_SECONDS
    refusals.note("shop", "later", InvalidReference("One."))
    assert lines()[-2] == f"{MOST_REFUSALS + 500 - MOST_LINES} more refusals were not told here; see halfstep doctor."
    assert "shop/later" in lines()[-1]


NAMES = {
    "a line of its own": ("shop\nERROR all is lost", "shop ERROR all is lost"),
    "escapes of a terminal": ("\x1b[2J", "\\x1b[2J"),
    "characters that turn the line round": ("a\u202eb", "a\\u202eb"),
    "ten thousand characters": ("x" * 10_000, "x" * 63 + "…"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)
def test_a_name_of_a_stranger_is_shown_on_one_line_and_cut(
    name: str, shown: str, refusals: Refusals, lines: Callable[[], list[str]]
) -> None:
    refusals.note(name, name, InvalidReference("One."))
    assert lines() == [f"ScaledObject {shown}/{shown} is refused (INVALID_ARGUMENT): One."]
    assert listed(refusals) == [(shown, shown, "One.")]


def test_an_object_that_was_mended_is_listed_no_more(clock: Clock) -> None:
    objects = ScaledObjects(AllowList(["shop/*"]), clock=clock, on_change=lambda: None)
    with pytest.raises(InvalidReference):
        objects.find(ref(queues="a b"))
    with pytest.raises(InvalidReference):
        objects.find(ref("other", queues="a b"))
    objects.find(ref(queues="a"))
    assert [each.name for each in objects.refusals.listed] == ["other"]


def test_what_a_scaler_says_of_itself_is_bounded_and_fits_any_database(refusals: Refusals) -> None:
    for number in range(MOST_REFUSED + 5):
        refusals.note("shop", f"w{number}", InvalidReference("größe…"))
    said = standing([], refusals.listed)
    assert len(said.refused) == MOST_REFUSED
    assert said.refused[-1] == {"namespace": "shop", "name": f"w{MOST_REFUSED + 4}", "sentence": "gr\\xf6\\xdfe..."}
    assert standing([parse_metadata({"queues": f"q{n}"}) for n in range(MOST_TARGETS + 1)], []).targets is None


def test_a_kind_of_work_is_said_once_for_however_many_objects() -> None:
    made: list[Target] = [parse_metadata({"queues": "b,a", "slots": str(n + 1)}) for n in range(5)]
    made.append(parse_metadata({"queues": "*", "placement": "pod", "cluster": "gpu"}))
    assert standing(made, []).targets == [
        {"placement": "pod", "cluster": "gpu", "queues": None},
        {"placement": "worker", "cluster": "", "queues": ["a", "b"]},
    ]


def test_keda_gets_a_spec_always_and_the_refusal_where_it_shows_one(start_scaler: Start, channels: Channels) -> None:
    scaler = start_scaler(allow=["shop/*"])
    channel = channels(scaler.address)
    for keda, code in (
        (Keda(channel, WRONG), grpc.StatusCode.INVALID_ARGUMENT),
        (Keda(channel, namespace="else"), grpc.StatusCode.PERMISSION_DENIED),
    ):
        assert keda.spec() == Keda(channel, name="valid").spec()
        for call in (keda.metrics, keda.is_active):
            assert refusal(call)[0] is code
        assert keda.activity().end() is code
        assert keda.specs().end() is code
    line = "ScaledObject shop/workers is refused (INVALID_ARGUMENT): 'a b' is no name of a queue."
    assert scaler.said().count(line) == 1
    assert scaler.said().count("ScaledObject else/workers is refused (PERMISSION_DENIED)") == 1


def test_a_refused_object_is_counted_and_listed_in_sql_until_it_is_mended(
    start_scaler: Start, channels: Channels, database: Database
) -> None:
    address = f"127.0.0.1:{free_port()}"
    channel = channels(start_scaler(metrics=address, exporter=False).address)
    book = ScalingBook(database)

    def gauge() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            return next(
                line for line in answer.read().decode().splitlines() if line.startswith("halfstep_scaler_refused_objects ")
            )

    assert gauge().endswith(" 0.0")
    refusal(Keda(channel, WRONG).metrics)
    assert gauge().endswith(" 1.0")
    expected = {"namespace": "shop", "name": "workers", "sentence": "'a b' is no name of a queue."}
    wait_until(lambda: [dict(row) for row in book.refused_objects()] == [expected], what="the refusal in SQL")
    assert Keda(channel).is_active() is False
    wait_until(lambda: not book.refused_objects(), what="the mended one to be gone")
    assert gauge().endswith(" 0.0")


def test_a_scaler_says_for_what_it_would_have_workers_started(
    start_scaler: Start, channels: Channels, database: Database
) -> None:
    channel = channels(start_scaler().address)
    Keda(channel, {"queues": "etl", "placement": "pod", "cluster": "gpu"}).spec()

    def said() -> list[tuple[Any, ...]]:
        return [(each.kind, each.placement, each.cluster, each.queues) for each in ScalingBook(database).serving()]

    wait_until(lambda: said() == [("scaler", "pod", "gpu", ["etl"])], what="the target in SQL")
