"""What a trigger's metadata may say, and what a mistake in it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.demand import Bounds
from halfstep_scaler.errors import TOLD_BYTES, InvalidReference, Refused
from halfstep_scaler.metadata import FROM_ENV, KEYS, Target, before_variables, parse_metadata

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
    "a cluster that no task could name": ({"queues": "*", "cluster": "x" * 64}, "name of a cluster (1 to 63 letters"),
    "a cluster in other letters": ({"queues": "*", "cluster": "größe"}, "not 'größe'"),
    "a placement that turns the line round": ({"queues": "*", "placement": "pod\u202e"}, "not 'pod\\u202e'"),
    "a NUL in a queue": ({"queues": "a\x00b"}, "'a\\x00b' is no name of a queue."),
    "ten thousand characters of a number": ({"queues": "*", "slots": "1" * 10_000}, "not '" + "1" * 40 + "…'"),
    "ten thousand characters of a queue": ({"queues": "q" * 10_000}, "…' is no name of a queue."),
    "ten thousand characters of a key": ({"queues": "*", "k" * 10_000: "1"}, "There is no metadata key 'kkk"),
    "ten thousand escapes": ({"queues": "*", "policy": "\U000e0001" * 10_000}, "not '\\U000e0001"),
    "a negative wait": ({"queues": "*", "policy": "latency", "targetWait": "-1"}, "not '-1'"),
    "no wait at all": ({"queues": "*", "policy": "latency", "targetWait": "0"}, "not '0'"),
    "a wait in another language's digits": ({"queues": "*", "policy": "latency", "targetWait": "٤"}, "not '٤'"),
    "a wait as Python writes it": ({"queues": "*", "policy": "latency", "targetWait": "1_0"}, "not '1_0'"),
    "a wait beyond numbers": ({"queues": "*", "policy": "latency", "targetWait": "1e999"}, "not '1e999'"),
    "a wait with a unit": ({"queues": "*", "policy": "latency", "targetWait": "30s"}, "not '30s'"),
    "a fraction of a slot": ({"queues": "*", "slots": "1.5"}, "not '1.5'"),
    "a sign before a number": ({"queues": "*", "slots": "+4"}, "not '+4'"),
    "a hexadecimal number": ({"queues": "*", "slots": "0x10"}, "not '0x10'"),
    "true for a number": ({"queues": "*", "maxReplicas": "true"}, "not 'true'"),
    "a key in other case": ({"Queues": "*"}, "There is no metadata key 'Queues'"),
    "a key with a space": ({"queues": "*", "slots ": "4"}, "There is no metadata key 'slots '"),
    "a key of another scaler": ({"queues": "*", "targetQueryValue": "1"}, "There is no metadata key 'targetQueryValue'"),
    "hundreds of keys": ({"queues": "*"} | {f"k{n:03}": "" for n in range(500)}, "key 'k000', 'k001', 'k002' and 497 more;"),
    "an empty name": ({"queues": "*", "": "1"}, "There is no metadata key ''"),
    "more replicas than anybody has": ({"queues": "*", "maxReplicas": "10001"}, "maxReplicas is a whole number from 1 to 10000"),
}  # fmt: skip


@pytest.mark.parametrize(("metadata", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_in_a_sentence_that_names_the_key(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata(metadata)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400


KEDAS_WORDS = "rpc error: code = PermissionDenied desc = "
"""Longer than those of other codes."""
NOTE_BYTES = 1024
"""The longest note of an event that an API server takes."""


@pytest.mark.parametrize(("metadata", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_refusal_passes_through_kedas_event_and_names_what_is_wrong(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata(metadata)
    assert words in refused.value.told
    assert len((KEDAS_WORDS + refused.value.told).encode()) <= NOTE_BYTES
    assert refused.value.told.isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3000))
def test_what_is_sent_of_a_refusal_is_bounded_whatever_it_says(text: str) -> None:
    told = Refused(text).told
    assert len(told.encode()) <= TOLD_BYTES
    assert told == text or text.startswith(told.partition("… (the rest")[0])


def test_a_missing_key_is_told_before_those_that_nobody_knows() -> None:
    with pytest.raises(InvalidReference) as refused:
        parse_metadata({f"unknown{n}": "x" for n in range(100)})
    assert refused.value.told.startswith("queues is missing")
    assert "'unknown0'" in refused.value.told


def test_the_same_mistakes_make_the_same_sentence_in_whatever_order_the_keys_come() -> None:
    keys = ["slots", "maxReplicas", "minReplicas", "policy", "foo", "bar", "placement"]
    said = set()
    for order in (keys, keys[::-1]):
        with pytest.raises(InvalidReference) as refused:
            parse_metadata(dict.fromkeys(order, "?"))
        said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.parametrize("key", KEYS)
def test_a_value_that_only_keda_can_read_is_no_mistake_where_the_object_is_read(key: str) -> None:
    metadata = {"queues": "*", "policy": "latency", "targetWait": "5"} | {key + FROM_ENV: "NO_SUCH_VALUE"}
    metadata.pop(key, None)
    assert parse_metadata(before_variables(metadata))


def test_a_key_that_nobody_reads_is_a_mistake_from_a_variable_too() -> None:
    with pytest.raises(InvalidReference, match="no metadata key 'queueFromEnv'"):
        parse_metadata(before_variables({"queues": "*", "queueFromEnv": "X"}))


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
