"""What a trigger's metadata may say, and what a mistake in it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.demand import Bounds
from halfstep_scaler.errors import InvalidReference
from halfstep_scaler.metadata import KEYS, Target, parse_metadata

MISTAKES = {
    "no queues": ({}, "queues is missing"),
    "empty queues": ({"queues": " , "}, "queues is missing"),
    "all and some": ({"queues": "*,etl"}, 'either "*" or a list'),
    "no queue name": ({"queues": "a b"}, "'a b' is no name of a queue."),
    "too many queues": ({"queues": ",".join(f"q{n}" for n in range(101))}, "100 is the most"),
    "unknown key": ({"queues": "*", "slot": "4"}, "There is no metadata key 'slot'; known are queues, placement"),
    "given twice": ({"queues": "a", "queuesFromEnv": "b"}, "queues and queuesFromEnv are both given"),
    "placement": ({"queues": "*", "placement": "Pod"}, "placement is worker or pod, not 'Pod'."),
    "policy": ({"queues": "*", "policy": "age"}, "policy is backlog or latency, not 'age'."),
    "slots": ({"queues": "*", "slots": "0"}, "slots is a whole number from 1 to 20000, not '0'."),
    "slots of letters": ({"queues": "*", "slots": "four"}, "not 'four'"),
    "slots beyond integers": ({"queues": "*", "slots": "9" * 400}, "slots is a whole number"),
    "slots of other digits": ({"queues": "*", "slots": "٤"}, "slots is a whole number"),
    "replicas": ({"queues": "*", "maxReplicas": "-1"}, "maxReplicas is a whole number from 1 to 10000, not '-1'."),
    "replicas turned around": ({"queues": "*", "minReplicas": "5", "maxReplicas": "4"}, "minReplicas (5) is over"),
    "latency without a wait": ({"queues": "*", "policy": "latency"}, "policy latency needs targetWait, in seconds"),
    "no number of seconds": ({"queues": "*", "policy": "latency", "targetWait": "nan"}, "not 'nan'"),
    "endless wait": ({"queues": "*", "policy": "latency", "targetWait": "inf"}, "not 'inf'"),
    "pods of a launcher": ({"queues": "*", "podsPerLauncher": "1e3"}, "podsPerLauncher is a whole number"),
    "cluster": ({"queues": "*", "cluster": "a\nb"}, "cluster is the name of a cluster"),
}  # fmt: skip


@pytest.mark.parametrize(("metadata", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_in_a_sentence_that_names_the_key(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata(metadata)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400


def test_every_mistake_has_its_sentence() -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata({"slots": "x", "placement": "y"})
    assert str(refused.value).count(".") == 3


def test_a_flood_of_mistakes_makes_a_short_answer() -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata({f"key{n}" + "y" * 1000: "" for n in range(1000)})
    assert len(str(refused.value)) < 2000


def test_what_is_not_said_has_the_defaults_of_workers_and_launchers() -> None:
    assert parse_metadata({"queues": "*"}) == Target(None, "worker", "", Bounds(2, 0, 100))
    assert parse_metadata({"queues": "a", "placement": "pod"}) == Target(frozenset("a"), "pod", "", Bounds(2000, 0, 100))


def test_everything_can_be_said() -> None:
    said = {
        "scalerAddress": "halfstep-scaler:9443", "enableTLS": "true", "queues": "etl, mail", "placement": "pod", "cluster": "gpu",
        "slots": "8", "podsPerLauncher": "50", "policy": "latency", "targetWait": "2.5", "maxReplicas": "40", "minReplicas": "1",
    }  # fmt: skip
    assert parse_metadata(said) == Target(frozenset({"etl", "mail"}), "pod", "gpu", Bounds(50, 1, 40), 2.5)


def test_values_may_come_from_the_containers_environment() -> None:
    assert parse_metadata({"queuesFromEnv": "etl", "slotsFromEnv": "3"}).bounds.slots == 3


def test_the_default_cluster_has_two_names() -> None:
    assert parse_metadata({"queues": "*", "cluster": "default"}) == parse_metadata({"queues": "*", "cluster": ""})


@given(st.dictionaries(st.sampled_from([*KEYS, "scalerAddress", "x"]) | st.text(), st.text() | st.integers().map(str)))
def test_whatever_is_said_there_is_a_target_or_a_refusal(metadata: dict[str, str]) -> None:
    try:
        target = parse_metadata(metadata)
    except InvalidReference:
        return
    assert target.bounds.minimum <= target.bounds.maximum
    assert target.bounds.slots >= 1
