"""`on_oom`: how memory grows after attempts that ran out of it, and what keeps it from that."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.claims import Before, Claim
from halfstep.errors import InvalidTask
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.more_memory import MoreMemory, grown, read_more_memory
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy, read_policy
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.request import check_pod, check_settings

Gi = 2**30
CLAIM = Claim(7, "token", "etl", "pod", "{}", 4, 3, 9, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11")
DOUBLE = {"memory": "x2", "max": "16Gi"}
IT = "rgument 'on_oom' of operator 'pod'"
NO_GROWTH = f"'memory' in a{IT} must be a factor above 1 and at most 100, such as x2 or x1.5, or a step such as +2Gi, not "


def told(limit=None, request=None):
    found = {"limits": {"memory": limit}, "requests": {"memory": request}}
    return {kind: amounts for kind, amounts in found.items() if amounts["memory"] is not None}


# -- what is refused at the door

BAD = [
    ("nothing", {}, f"A{IT} needs 'memory': a factor such as x2, or a step such as +2Gi."),
    ("no most", {"memory": "x2"}, f"A{IT} needs 'max': the most memory that an attempt may get, such as 16Gi."),
    ("a null for the most", {"memory": "x2", "max": None}, f"A{IT} needs 'max'"),
    ("no growth", {"max": "16Gi"}, f"A{IT} needs 'memory'"),
    ("another key", DOUBLE | {"cpu": "x2"}, f"A{IT} has no key 'cpu'; known: memory, max."),
    ("a factor of 0", DOUBLE | {"memory": "x0"}, NO_GROWTH + "'x0'."),
    ("a factor of 1", DOUBLE | {"memory": "x1"}, NO_GROWTH + "'x1'."),
    ("a factor of 1.000", DOUBLE | {"memory": "x1.000"}, NO_GROWTH),
    ("a factor below 1", DOUBLE | {"memory": "x0.5"}, NO_GROWTH),
    ("a factor below 0", DOUBLE | {"memory": "x-2"}, NO_GROWTH + "'x-2'."),
    ("no number", DOUBLE | {"memory": "xNaN"}, NO_GROWTH + "'xNaN'."),
    ("infinity", DOUBLE | {"memory": "xInfinity"}, NO_GROWTH),
    ("the x behind", DOUBLE | {"memory": "2x"}, NO_GROWTH + "'2x'."),
    ("a capital X", DOUBLE | {"memory": "X2"}, NO_GROWTH),
    ("a blank in it", DOUBLE | {"memory": "x 2"}, NO_GROWTH),
    ("a line's end behind it", DOUBLE | {"memory": "x2\n"}, NO_GROWTH),
    ("digits of another script", DOUBLE | {"memory": "x٢"}, NO_GROWTH),
    ("a huge factor", DOUBLE | {"memory": "x101"}, NO_GROWTH),
    ("a very long factor", DOUBLE | {"memory": "x" + "9" * 5000}, NO_GROWTH),
    ("an exponent", DOUBLE | {"memory": "x1e3"}, NO_GROWTH),
    ("a number", DOUBLE | {"memory": 2}, NO_GROWTH + "2."),
    ("true", DOUBLE | {"memory": True}, NO_GROWTH + "True."),
    ("a list", DOUBLE | {"memory": ["x2"]}, NO_GROWTH),
    ("an empty text", DOUBLE | {"memory": ""}, NO_GROWTH),
    ("an amount without a sign", DOUBLE | {"memory": "2Gi"}, NO_GROWTH),
    ("a step of nothing", DOUBLE | {"memory": "+0"}, NO_GROWTH),
    ("a step down", DOUBLE | {"memory": "-2Gi"}, NO_GROWTH),
    ("a step with two signs", DOUBLE | {"memory": "+-2Gi"}, NO_GROWTH),
    ("a step in no unit", DOUBLE | {"memory": "+2GB"}, NO_GROWTH),
    ("a step beyond counting", DOUBLE | {"memory": "+8Ei"}, NO_GROWTH),
    ("a most in no unit", DOUBLE | {"max": "16GB"}, f"'max' in a{IT} must be an amount of memory such as 16Gi, not '16GB'."),
    ("a most below 0", DOUBLE | {"max": "-1Gi"}, f"'max' in a{IT} must be an amount"),
    ("a most of 0", DOUBLE | {"max": 0}, f"'max' in a{IT} must be an amount of memory such as 16Gi, not 0."),
    ("a most that is true", DOUBLE | {"max": True}, f"'max' in a{IT} must be an amount"),
    ("a most beyond counting", DOUBLE | {"max": "8Ei"}, f"'max' in a{IT} must be an amount"),
    ("a most of many digits", DOUBLE | {"max": "9" * 31}, f"'max' in a{IT} must be an amount"),
    ("an object for the most", DOUBLE | {"max": {}}, f"'max' in a{IT} must be an amount"),
    ("a text", "x2", f"A{IT} must be an object, not a string."),
    ("a list of it", [DOUBLE], f"A{IT} must be an object, not a list."),
    ("false", False, f"A{IT} must be an object, not true or false."),
    ("a most below the limit", DOUBLE | {"max": "1Gi"},
     f"'max' in a{IT} is below the memory that 'resources' begins with; raise it, or leave 'on_oom' out."),
]  # fmt: skip
RESOURCES = {"limits": {"memory": "2Gi"}}


@pytest.mark.parametrize(("on_oom", "sentence"), [pytest.param(value, said, id=name) for name, value, said in BAD])
def test_what_cannot_be_meant_is_refused_in_one_sentence(on_oom, sentence):
    for check, args in ((check_pod, {"image": "x"}), (check_settings, {})):
        with pytest.raises(InvalidTask) as caught:
            check(args | {"resources": RESOURCES, "on_oom": on_oom})
        assert str(caught.value).startswith(sentence)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.from_regex(r"[x+][0-9.]{1,4}(Gi)?"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["memory", "max", "x"]), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["memory", "max"]), VALUES))
def test_any_value_is_taken_or_refused(on_oom):
    try:
        check_pod({"image": "x", "on_oom": on_oom})
    except InvalidTask:
        return
    assert isinstance(read_more_memory(on_oom), MoreMemory)


# -- how it grows


@pytest.mark.parametrize(
    ("given", "on_oom", "ends", "result"),
    [
        pytest.param(told("1Gi"), DOUBLE, 0, told("1Gi"), id="nothing ran out yet"),
        pytest.param(told("1Gi"), DOUBLE, 1, told("2Gi"), id="a limit doubles"),
        pytest.param(told("1Gi"), DOUBLE, 3, told("8Gi"), id="and doubles each time"),
        pytest.param(told("1Gi"), DOUBLE, 4, told("16Gi"), id="up to the most"),
        pytest.param(told("1Gi"), DOUBLE, 999, told("16Gi"), id="and stays there"),
        pytest.param(told("3Gi"), DOUBLE, 3, told("16Gi"), id="the most is no multiple"),
        pytest.param(told("16Gi"), DOUBLE, 1, told("16Gi"), id="it is at the most already"),
        pytest.param(told("2Gi", "1Gi"), DOUBLE, 1, told("4Gi", "2Gi"), id="the request grows with its limit"),
        pytest.param(told("12Gi", "3Gi"), DOUBLE, 1, told("16Gi", "4Gi"), id="in proportion, at the most too"),
        pytest.param(told("2Gi", "2Gi"), DOUBLE, 1, told("4Gi", "4Gi"), id="a guaranteed pod stays one"),
        pytest.param(told(None, "1Gi"), DOUBLE, 2, told(None, "4Gi"), id="a request alone"),
        pytest.param(told("1Gi"), {"memory": "x1.5", "max": "16Gi"}, 1, told("1536Mi"), id="by a half"),
        pytest.param(told("1Gi"), {"memory": "+2Gi", "max": "16Gi"}, 2, told("5Gi"), id="by a step"),
        pytest.param(told("2Gi", "1Gi"), {"memory": "+2Gi", "max": "16Gi"}, 1, told("4Gi", "2Gi"), id="a step, in proportion"),
        pytest.param(told("1G"), DOUBLE, 1, told("1908Mi"), id="decimal units are rounded up to whole MiB"),
        pytest.param(told("1Gi", "4Gi"), {"memory": "x100", "max": "16Gi"}, 3, told("16Gi", "16Gi"), id="no request above"),
        pytest.param(told(1000), {"memory": "x2", "max": "1500"}, 1, told("1500"), id="never above the most"),
        pytest.param({"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": 1}}, DOUBLE, 1,
                     {"limits": {"cpu": 1, "memory": "2Gi"}, "requests": {"cpu": 1}}, id="nothing else changes"),
        pytest.param(told("much"), DOUBLE, 1, told("much"), id="what is no amount is left to the API server"),
        pytest.param({}, DOUBLE, 1, {}, id="no memory to begin with"),
    ],
)  # fmt: skip
def test_memory_grows_by_the_ends_before(given, on_oom, ends, result):
    assert grown(given, read_more_memory(on_oom), ends) == result


@pytest.mark.parametrize(
    ("given", "admitted", "result"),
    [
        pytest.param(told(None, "512Mi"), "1Gi", told("2Gi", "1Gi"), id="a request alone gets the limit that killed it, doubled"),
        pytest.param(told(None, "2Gi"), "1Gi", told("4Gi", "4Gi"), id="never one below the request"),
        pytest.param({}, "1Gi", told("2Gi"), id="a container that says nothing"),
        pytest.param(told("3Gi"), "1Gi", told("6Gi"), id="its own limit counts"),
        pytest.param(told(None, "1Gi"), "\x00much", told(None, "2Gi"), id="what is no amount counts for nothing"),
    ],
)
def test_a_limit_of_the_namespace_grows_too(given, admitted, result):
    assert grown(given, read_more_memory(DOUBLE), 1, admitted=admitted) == result


AMOUNTS = st.integers(1, 2**50)


@given(AMOUNTS, AMOUNTS, st.sampled_from(["x2", "x1.001", "x100", "+1", "+3Gi"]), AMOUNTS, st.integers(0, 1000))
def test_whatever_grows_stays_between_where_it_began_and_the_most(request, limit, memory, most, ends):
    request = min(request, limit)
    new = grown(told(limit, request), read_more_memory({"memory": memory, "max": most}), ends)
    wide, low = int(quantity(new["limits"]["memory"])), int(quantity(new["requests"]["memory"]))
    assert limit <= wide <= max(limit, most)
    assert request <= low <= wide
    if ends and limit < most:
        assert wide > limit


# -- in a launcher


def planned(args, *, ooms=1, policy=None, operator="pod", limit=None, **pods):
    claim = CLAIM._replace(args=json.dumps(args), operator=operator, before=Before(ooms=ooms, limit=limit))
    return Planner(Cluster(pods=PodDefaults(image="runtime:1", **pods)), policy or LauncherPolicy(), "i")(claim)


def memory_in(made):
    assert isinstance(made, Flight), made
    return made.manifest[0]["spec"]["containers"][0].get("resources", {})


ONE = {"image": "x", "resources": {"limits": {"memory": "1Gi"}}}


def test_the_next_attempts_pod_has_more():
    assert memory_in(planned(ONE | {"on_oom": DOUBLE}, ooms=2)) == told("4Gi")
    assert memory_in(planned(ONE, ooms=2)) == told("1Gi"), "nobody asked for it"
    assert memory_in(planned(ONE | {"on_oom": None}, ooms=2)) == told("1Gi")


def test_a_pod_of_another_operator_too():
    settings = {"resources": {"limits": {"memory": "1Gi"}}, "on_oom": DOUBLE}
    assert memory_in(planned({"command": "true", "pod": settings}, operator="bash")) == told("2Gi")


def test_a_template_says_what_it_grows_from():
    template = {"spec": {"containers": [{"name": "main", "image": "x", "resources": told("2Gi", "1Gi")}]}}
    assert memory_in(planned({"template": template, "on_oom": DOUBLE})) == told("4Gi", "2Gi")


def test_the_launchers_default_holds_for_tasks_that_say_nothing_and_fails_none():
    default = read_more_memory({"memory": "x4", "max": "8Gi"})
    assert memory_in(planned(ONE, on_oom=default)) == told("4Gi")
    assert memory_in(planned(ONE | {"on_oom": DOUBLE}, on_oom=default)) == told("2Gi")
    assert memory_in(planned({"image": "x"}, on_oom=default)) == {}
    assert memory_in(planned({"image": "x"}, on_oom=default, limit="1Gi")) == told("4Gi")
    large = {"image": "x", "resources": {"limits": {"memory": "64Gi"}}}
    assert memory_in(planned(large, on_oom=default)) == told("64Gi")


@pytest.mark.parametrize("ooms", [0, 1])
@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        pytest.param({"image": "x"}, "needs a memory limit or request to begin with; give one in 'resources'.", id="no memory"),
        pytest.param(
            {"image": "x", "resources": {"limits": {"cpu": 1}}}, "needs a memory limit or request", id="only processors"
        ),
        pytest.param(
            {"template": {"spec": {"containers": [{"name": "main", "image": "x", "resources": told("32Gi")}]}}},
            "is below the memory that 'resources' begins with",
            id="a template with more than the most",
        ),
        pytest.param(
            ONE | {"template": {"spec": {"resources": told("4Gi")}}},
            "is for the memory of 'main', but the pod has one as a whole; leave one out.",
            id="a pod that has memory as a whole",
        ),
    ],
)
def test_what_cannot_grow_is_refused_before_it_ran_out(args, sentence, ooms):
    failed = planned(args | {"on_oom": DOUBLE}, ooms=ooms)
    assert (failed.reason, failed.final) == ("invalid", True)
    assert sentence in failed.error


def bounded(tmp_path, memory):
    file = tmp_path / "policy.yaml"
    file.write_text(f"max_resources: {{memory: {memory}}}")
    return read_policy(file)


SIDE = {"name": "side", "image": "s", "resources": {"limits": {"memory": "1Gi"}}}


@pytest.mark.parametrize(
    ("args", "most", "result"),
    [
        pytest.param(ONE, "3Gi", told("3Gi"), id="the policy is the most"),
        pytest.param(ONE, "1Gi", told("1Gi"), id="there is no room, and the task is not refused for it"),
        pytest.param(ONE, "64Gi", told("8Gi"), id="the policy has room"),
        pytest.param(ONE | {"sidecars": [SIDE]}, "4Gi", told("3Gi"), id="a sidecar takes its part"),
        pytest.param(ONE | {"init_containers": [SIDE]}, "4Gi", told("4Gi"), id="an init container is gone by then"),
        pytest.param(ONE | {"init_containers": [SIDE | {"restartPolicy": "Always"}]}, "4Gi", told("3Gi"), id="a native sidecar"),
    ],
)
def test_memory_grows_as_far_as_the_policy_lets_the_pod(tmp_path, args, most, result):
    assert memory_in(planned(args | {"on_oom": DOUBLE}, ooms=3, policy=bounded(tmp_path, most))) == result
