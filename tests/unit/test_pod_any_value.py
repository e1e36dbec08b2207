"""Whatever JSON comes from a task, a cluster or a program: values come out of it, and exceptions never."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfstep.claims import Claim
from halfstep.outcomes import Cancelled, Failed, Lost, Retry, Succeeded
from halfstep.pods import Past
from halfstep.visible import visible_line
from halfstep_worker.children.storable import json_text, plain
from halfstep_worker.kubernetes.answers import ApiError, Reply, created, message_of, reason_of
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.frames import Frames, opened
from halfstep_worker.kubernetes.logposition import Stamps
from halfstep_worker.kubernetes.pending import hopeless, is_gated, silence, startup_expired, waiting_reason
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.podevents import event_of
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.quotas import held_by, never_fits
from halfstep_worker.kubernetes.record import facts_of, inherit, poison
from halfstep_worker.kubernetes.request import ARGUMENTS, SETTINGS
from halfstep_worker.kubernetes.timeline import facts, trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Created, Refused, TryLater, Unavailable
from halfstep_worker.kubernetes.verdict import Known, judge
from halfstep_worker.kubernetes.waits import Waits
from pod_builders import ENDED_PODS, LIVING, preparing

TIME = "2026-11-23T05:00:00Z"
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "\0", "\ud800", "main", "name", "x" * 5000, "1e999999", TIME, "0001-01-01T00:00:00+14:00"]),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 200), st.sampled_from([10**400, -(10**400), 10**4200]), st.floats(), texts
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


def places(thing: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value."""
    inner = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    return [path, *(deeper for key, value in inner for deeper in places(value, (*path, key)))]


def with_value(thing: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which this stands at the place."""
    if not path:
        return value
    copy = dict(thing) if isinstance(thing, dict) else list(thing)
    copy[path[0]] = with_value(copy[path[0]], path[1:], value)
    return copy


PODS = [*LIVING.values(), *ENDED_PODS.values()]


@st.composite
def bent_pods(draw: st.DrawFn) -> Any:
    """A pod as there are, with anything in up to three places of it."""
    pod = draw(st.sampled_from(PODS))
    for _ in range(draw(st.integers(1, 3))):
        pod = with_value(pod, draw(st.sampled_from(places(pod))), draw(anything))
    return pod if isinstance(pod, dict) else {"status": pod}


# -- args


WORDS = [argument.name for argument in (*ARGUMENTS, *SETTINGS)]
KEYS = ["name", "image", "env", "key", "path", "mountPath", "securityContext", "resources", "limits", "cpu", "emptyDir"]
ITEMS = st.dictionaries(st.sampled_from(KEYS), anything, max_size=5)
SPEC = ["volumes", "initContainers", "securityContext", "imagePullSecrets", "serviceAccountName", "terminationGracePeriodSeconds"]
lists = st.lists(ITEMS | anything, max_size=3)
requests = st.dictionaries(
    st.sampled_from(WORDS), anything | ITEMS | lists | st.dictionaries(texts, texts, max_size=3), max_size=5
)
specs = st.fixed_dictionaries({"containers": lists}, optional=dict.fromkeys(SPEC, anything | ITEMS | lists))
templates = st.fixed_dictionaries({"spec": specs | anything}, optional={"metadata": anything | ITEMS, "kind": texts})


def planner(**policy: Any) -> Planner:
    cluster = Cluster(pods=PodDefaults(image="runtime", source="/source", source_volume={"emptyDir": {}}))
    return Planner(cluster, LauncherPolicy(**policy), "i")


def claim(args: str, operator: str) -> Claim:
    return Claim(
        7, "t", "default", operator, args, 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"
    )


def check_plan(args: str, operator: str, plan: Planner) -> None:
    made = plan(claim(args, operator))
    if isinstance(made, Flight):
        assert made.manifest is not None
        json.dumps(made.manifest, allow_nan=False)
        return
    assert made.final
    assert made.error == plain(made.error)
    assert "can't make sense" not in made.error, f"nobody has thought of this: {made.error}"


@given(st.one_of(anything, requests, requests.map(lambda args: {"image": "x"} | args)), st.booleans())
def test_any_args_of_a_pod_are_a_plan_or_a_refusal(args: Any, loose: bool) -> None:
    plan = planner(allow_host_access=loose, allow_root=loose, max_resources={} if loose else {"cpu": quantity("2")})
    check_plan(json.dumps(args), "pod", plan)


@given(templates, st.sampled_from([{}, {"env": {"A": "b"}, "sidecars": [{"name": "c", "image": "x"}], "secrets": ["s"]}]))
def test_any_template_is_a_plan_or_a_refusal(template: Any, args: dict[str, Any]) -> None:
    check_plan(json.dumps(args | {"template": template}), "pod", planner(allow_root=True, secrets=("*",)))
    check_plan(json.dumps(args | {"template": json.dumps(template)}), "pod", planner(allow_root=True, secrets=("*",)))


@given(st.text(max_size=60) | st.text("{}[]:,-? \n&*!|>'\"01.xe#", max_size=40))
@example("? [a]\n: b")
@example("!!timestamp '9'")
def test_any_text_of_a_template_is_a_plan_or_a_refusal(text: str) -> None:
    check_plan(json.dumps({"template": text, "image": "x"}), "pod", planner())
    check_plan(json.dumps({"template": "spec: " + text, "image": "x"}), "pod", planner())


@given(anything, st.one_of(anything, requests), anything)
def test_any_args_of_another_operator_s_pod_are_a_plan_or_a_refusal(value: Any, settings: Any, connection: Any) -> None:
    for args in ({"a": value, "pod": settings}, {"connection": connection, "pod": None}, {"connection": {"a": value}}):
        check_plan(json.dumps(args), "python", planner())


@given(st.text(max_size=50))
def test_args_that_a_person_s_hand_made_no_object_are_refused(text: str) -> None:
    for args in (json.dumps(text), "[]", "7", "null", "[" * 5000 + "]" * 5000, "1" * 5000):
        for operator in ("pod", "bash"):
            assert isinstance(planner()(claim(args, operator)), Failed | Flight)


# -- pods


def check_outcome(outcome: Any) -> None:
    match outcome:
        case Succeeded(result=text):
            json_text(json.loads(text), 10**6)
        case Failed() | Retry() | Cancelled() | Lost():
            assert outcome.error == plain(outcome.error)
        case _:
            raise AssertionError(outcome)


knowledge = st.builds(
    Known,
    stop_reason=st.sampled_from([None, "timeout", "cancelled", "startup"]),
    gave_up=st.none() | st.just(Failed("no", "image")),
    began=st.booleans(),
    deleted_while_running=st.booleans(),
    timeout=st.none() | st.just(5.0),
    gone=st.booleans(),
    forced_for=st.none() | st.floats(0, 100),
)


@given(bent_pods(), knowledge)
def test_any_pod_has_a_verdict_or_none_and_the_same_when_trimmed(pod: Any, known: Known) -> None:
    verdicts = [judge(there, known) for there in (pod, trim(pod))]
    for verdict in verdicts:
        if verdict is not None:
            check_outcome(verdict.outcome)
    assert type(verdicts[0]) is type(verdicts[1])


@given(bent_pods())
def test_any_pod_is_trimmed_once_and_for_all_and_told_in_words(pod: Any) -> None:
    there = trim(pod)
    assert trim(there) == there
    for thing in (pod, there):
        assert isinstance(waiting_reason(thing), str | None)
        assert isinstance(hopeless(thing), Failed | None)
        assert isinstance(startup_expired(thing, 5.0), Failed | None)
        facts(thing).as_json()


event_words = st.sampled_from(["FailedMount", "Pulling", "FailedCreatePodSandBox", "FailedToRetrieveImagePullSecret", "Other"])
any_event = st.fixed_dictionaries(
    {"involvedObject": st.just({"uid": preparing()["metadata"]["uid"]}) | anything, "reason": event_words | anything},
    optional={
        "type": st.just("Warning") | anything,
        "message": st.text() | anything,
        "series": anything,
        "lastTimestamp": st.just("2026-11-23T05:00:00Z") | anything,
        "eventTime": anything,
    },
)


@given(bent_pods() | st.just(preparing()), st.lists(any_event | anything, max_size=5))
def test_any_events_of_any_pod_are_a_sentence_or_nothing(pod: Any, events: list[Any]) -> None:
    found = event_of(events, trim(pod))
    assert found is None or visible_line(found.sentence) == found.sentence
    assert found is None or len(found.sentence) < 2000
    assert isinstance(startup_expired(trim(pod), 5.0, event=found), Failed | None)


@given(bent_pods(), bent_pods())
def test_the_clocks_go_on_whatever_is_seen(first: Any, second: Any) -> None:
    flight, waits = Flight(claim("{}", "pod"), "tasks"), Waits(Timers())
    waits.parked(flight, 0.0)
    for now, pod in enumerate((first, second)):
        there = waits.seen(flight, trim(pod), float(now))
        assert visible_line(silence(there).sentence) == silence(there).sentence
        assert (flight.queued_since is None, flight.startable_since is None) == (not is_gated(there), is_gated(there))


@given(st.text() | st.text("exceeded quota: q, requested: cpu=1, used: limited:=,4", max_size=90))
def test_any_refusal_is_waited_for_or_not(said: str) -> None:
    assert held_by(said) in (None, "quota", "webhook")
    assert never_fits(said) in (True, False)
    assert never_fits(f"exceeded quota: q, requested: {said}, used: {said}, limited: {said}") in (True, False)


@given(bent_pods())
def test_what_sql_is_told_of_any_pod_can_be_stored(pod: Any) -> None:
    flight = Flight(claim("{}", "pod"), "tasks", pod=trim(pod), waiting=waiting_reason(trim(pod)), gave_up=hopeless(trim(pod)))
    json_text(facts_of(flight), 10**6)


@given(
    st.dictionaries(
        st.sampled_from(["waited_seconds", "ran_seconds", "queued_seconds", "stopping", "gave_up", "poison"]), anything
    )
)
def test_whatever_stands_in_the_facts_is_inherited_or_not(told: dict[str, Any]) -> None:
    flight = Flight(claim("{}", "pod"), "tasks")
    inherit(flight, Past(facts=told), 7.0)
    assert isinstance(flight.parked_at, float | None)
    assert isinstance(flight.queued_since, float | None)
    assert isinstance(poison(Past(facts=told)), Failed | None)


# -- texts


@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_termination_message_is_an_outcome_or_none_of_ours(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for operator in ("pod", "python"):
        for code in (0, 1):
            pod = {
                "metadata": {"annotations": {"halfstep.io/operator": operator}},
                "status": {"phase": "Succeeded", "containerStatuses": [
                    {"name": "main", "state": {"terminated": {"exitCode": code, "message": text}}}
                ]},
            }  # fmt: skip
            verdict = judge(pod)
            assert verdict is not None
            check_outcome(verdict.outcome)


@given(
    st.sampled_from(["succeeded", "failed", "retry", "cancelled", "lost", "", "other"]) | anything, anything, st.lists(anything)
)
def test_any_outcome_that_user_code_leaves_is_one_or_none_of_ours(kind: Any, body: Any, fields: list[Any]) -> None:
    for inner in (body, json.dumps(body), json.dumps(fields)):
        left = opened(json.dumps({"halfstep": 1, "kind": kind, "body": inner}))
        if left is not None:
            check_outcome(left)


@given(st.lists(st.text(max_size=30) | anything.map(json.dumps), max_size=4))
def test_any_line_is_a_line_and_progress_is_always_json(lines: list[str]) -> None:
    frames = Frames()
    for line in lines:
        frames.take(line)
        frames.take(f"\x1fhalfstep progress 1/1 {line}")
        frames.take(f"\x1fhalfstep outcome 1/1 {line}")
    if frames.progress is not None:
        json_text(json.loads(frames.progress), 20_000)
    frames.outcome("none")


@given(st.binary(max_size=60) | st.tuples(texts, texts).map(lambda two: f"{two[0]} {two[1]}".encode(errors="replace")))
@example(b"0001-01-01T00:00:00+14:00 x")
@example(b"9999-12-31T23:59:59-14:00 x")
def test_any_line_of_a_log_has_a_time_or_none(line: bytes) -> None:
    found = Stamps().split(line)
    assert found is None or isinstance(found[0], int)


@given(
    st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([200, 201, 400, 403, 409, 422, 500]),
)
def test_any_answer_of_an_api_server_is_an_outcome(body: bytes, status: int) -> None:
    made = created(Reply(status, body), where="here")
    assert isinstance(made, Created | Refused | TryLater | Unavailable)
    assert message_of(body)
    reason_of(body)
    try:
        Reply(status, body).json()
    except ApiError:
        return


@pytest.mark.parametrize(
    "value", ["1e999999", "9" * 5000, 10**4299, 1e308, float("inf"), True, None, [], "1e-99", "-1", "\ud800"]
)
def test_any_quantity_is_a_number_or_none(value: Any) -> None:
    found = quantity(value)
    assert found is None or found >= 0
