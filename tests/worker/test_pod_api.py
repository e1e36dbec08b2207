"""The calls to one cluster, and what each answer of an API server is taken for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi, LogQuery
from halfstep_worker.kubernetes.names import ATTEMPT, FINALIZER, KEEP, MADE
from halfstep_worker.kubernetes.values import Created, Refused, Taken, TryLater, Unavailable
from kubernetes_fake import Drips, FakeCluster, Holds, LosesReply, Says, Silent
from waiting import PATIENCE, is_within, wait_until


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with closing(FakeCluster()) as made:
        yield made


@pytest.fixture
def api(fake: FakeCluster, tmp_path: Path) -> Iterator[ClusterApi]:
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path), context="fake")) as made:
        yield made


def manifest(attempt: str = "a1", **metadata: Any) -> dict[str, Any]:
    labels = {"halfstep.io/installation": "i", ATTEMPT: attempt}
    marks = {"labels": labels, "annotations": {MADE: f"mark of {attempt}"}, "finalizers": [FINALIZER]}
    return {"metadata": {"name": f"hs-{attempt}", **marks, **metadata}, "spec": {}}


def create(api: ClusterApi, *, seconds: float = 5, attempt: str = "a1") -> Any:
    return api.create_pod("jobs", manifest(attempt), seconds=seconds)


def test_a_pod_is_created_with_the_credentials_and_a_time_out_at_the_server(fake: FakeCluster, api: ClusterApi) -> None:
    made = create(api, seconds=500)
    assert made == Created(fake.store.get("jobs", "pods", "hs-a1")["metadata"]["uid"])
    call = fake.calls("create")[0]
    assert call.headers["authorization"] == "Bearer t0ken"
    assert 300_000 < int(call.query["timeout"].removesuffix("ms")) <= 400_000
    assert api.counts() == {("POST", 201): 1}


def test_a_config_map_is_created_the_same_way(fake: FakeCluster, api: ClusterApi) -> None:
    given = manifest() | {"data": {"task.json": "{}"}}
    assert isinstance(api.create_config_map("jobs", given, seconds=5), Created)
    assert api.create_config_map("jobs", given, seconds=5) == Created(
        fake.store.get("jobs", "configmaps", "hs-a1")["metadata"]["uid"], existed=True
    )


def test_a_second_create_of_the_same_attempt_finds_the_first_pod(fake: FakeCluster, api: ClusterApi) -> None:
    first = create(api)
    assert create(api) == Created(first.uid, existed=True)
    assert fake.accepted["hs-a1"] == 1


@pytest.mark.parametrize("attempt", ["a1", "somebody-else"])
def test_a_pod_of_that_name_that_no_launcher_made_has_taken_it(fake: FakeCluster, api: ClusterApi, attempt: str) -> None:
    there = fake.store.put("hs-a1", labels={ATTEMPT: attempt})
    made = create(api)
    assert isinstance(made, Taken)
    assert made.message == "Another pod has the name hs-a1 in namespace 'jobs' of cluster 'here', and no launcher made it."
    assert made.found["metadata"]["uid"] == there["metadata"]["uid"]


def test_a_config_map_of_that_name_is_the_pods_own_if_the_pod_owns_it(fake: FakeCluster, api: ClusterApi) -> None:
    owned = manifest(ownerReferences=[{"uid": "u-1"}])
    fake.store.create("jobs", "configmaps", manifest())
    assert "Another ConfigMap has the name hs-a1" in api.create_config_map("jobs", owned, seconds=5).message
    fake.store.create("jobs", "configmaps", manifest("b2", ownerReferences=[{"uid": "u-2"}]))
    theirs = manifest("b2", ownerReferences=[{"uid": "u-2"}])
    assert api.create_config_map("jobs", theirs, seconds=5).existed


def test_a_pod_that_existed_and_is_gone_when_it_is_looked_at_counts_as_created(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", Says(409, reason="AlreadyExists"))
    assert create(api) == Created("", existed=True)


def test_a_pod_that_exists_and_cannot_be_read_is_asked_for_later(fake: FakeCluster, api: ClusterApi) -> None:
    create(api)
    fake.meet("get", Says(500))
    outcome = create(api)
    assert isinstance(outcome, TryLater)
    assert outcome.unknown


@pytest.mark.parametrize(
    ("said", "delay", "unknown"),
    [
        (Says(429, headers={"Retry-After": "7"}), 7.0, False),
        (
            Says(403, 'pods "hs-a1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4'),
            15.0,
            False,
        ),
        (Says(409, 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified', "Conflict"), 2.0, False),
        (Says(500, "etcdserver: request timed out"), 2.0, True),
        (Says(502, body=b"<html>Bad Gateway</html>"), 2.0, True),
        (Says(503, headers={"Retry-After": "3"}), 3.0, True),
        (Says(504, "Timeout: request did not complete within the requested timeout"), 2.0, True),
        (Says(200, body=b"<html>please log in</html>"), 2.0, True),
    ],
)
def test_what_passes_is_tried_later(fake: FakeCluster, api: ClusterApi, said: Says, delay: float, unknown: bool) -> None:
    fake.meet("create", said)
    outcome = create(api)
    assert isinstance(outcome, TryLater)
    assert (outcome.delay, outcome.unknown) == (delay, unknown)
    assert len(fake.calls("create")) == 1


ABOVE = 'Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi'


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            Says(422, 'Pod "hs-a1" is invalid: spec: ...', causes=(("spec.containers[0].image", "Required value"),)),
            "The API server of cluster 'here', namespace 'jobs' refused it: spec.containers[0].image: Required value",
        ),
        (
            Says(403, 'pods "hs-a1" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'),
            'refused it: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)',
        ),
        (Says(400, "strict decoding error: unknown field"), "strict decoding error"),
        (
            Says(422, 'Pod "hs-a1" is invalid', causes=(("spec.containers[0].resources.requests", ABOVE),)),
            f"{ABOVE}. A container without a limit gets that of its namespace's LimitRange: give a limit, too, under 'limits'",
        ),
        (Says(413, body=b"Request entity too large:\n limit is 3145728"), "Request entity too large: limit is 3145728"),
    ],
)
def test_what_can_never_succeed_is_refused_with_a_sentence(fake: FakeCluster, api: ClusterApi, said: Says, words: str) -> None:
    fake.meet("create", said)
    outcome = create(api)
    assert isinstance(outcome, Refused)
    assert words in outcome.message


NOWHERE = {
    "a proxy's page": Says(404, body=b"<html>404 Not Found</html>"),
    "another server's words": Says(404, body=b"404 page not found"),
    "no such API": Says(404, "the server could not find the requested resource", "NotFound"),
    "a login page that is said to be fine": Says(200, body=b"<html>please log in</html>"),
    "something else that is fine": Says(200, body=b"[]"),
    "nothing": Says(200, body=b" "),
    "a redirect": Says(302, body=b"Found", headers={"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("call", ["get", "delete", "patch", "list"])
@pytest.mark.parametrize("said", NOWHERE.values(), ids=NOWHERE)
def test_nobody_but_an_api_server_is_believed_that_a_pod_is_gone_or_dealt_with(
    fake: FakeCluster, api: ClusterApi, call: str, said: Says
) -> None:
    uid = create(api).uid
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: api.get_pod("jobs", "hs-a1"),
        "delete": lambda: api.delete_pod("jobs", "hs-a1", uid=uid),
        "patch": lambda: api.release_pod("jobs", "hs-a1", keep=False),
        "list": lambda: api.list_pods("jobs", selector="a=b"),
    }
    fake.meet(call, said)
    with pytest.raises(ApiError):
        calls[call]()
    calls[call]()


OTHER_OBJECTS = {
    "an empty object": b"{}",
    "a login page's": b'{"error": "login required", "login_url": "https://sso.example.com"}',
    "a Status": b'{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}',
    "another pod": b'{"kind": "Pod", "metadata": {"name": "hs-a2", "uid": "u-2"}}',
    "a pod without a uid": b'{"kind": "Pod", "metadata": {"name": "hs-a1"}}',
    "a list": b'{"kind": "PodList", "metadata": {}, "items": []}',
    "odd metadata": b'{"metadata": "hs-a1"}',
}


@pytest.mark.parametrize("body", OTHER_OBJECTS.values(), ids=OTHER_OBJECTS)
def test_an_answer_that_is_not_the_pod_does_not_tell_that_it_is_gone(fake: FakeCluster, api: ClusterApi, body: bytes) -> None:
    made = create(api)
    fake.meet("get", Says(200, body=body))
    with pytest.raises(ApiError, match="no API server's answer"):
        api.get_pod("jobs", "hs-a1")
    fake.meet("get", Says(200, body=body))
    assert isinstance(create(api), TryLater), "nor whose the name is"
    assert create(api) == Created(made.uid, existed=True)


def troubled(api: ClusterApi) -> list[str]:
    return [trouble.part for trouble in api.troubles.standing()]


NO_RIGHT = Says(
    403, 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "jobs"', "Forbidden"
)


ANONYMOUS = Says(403, NO_RIGHT.message.replace('"u"', '"system:anonymous"'), "Forbidden")


def test_each_part_is_in_trouble_until_it_works_again(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", NO_RIGHT)
    fake.meet("log", NO_RIGHT)
    assert isinstance(create(api), Unavailable)
    with pytest.raises(ApiError) as caught:
        api.read_log(LogQuery("jobs", "x", "main"), seconds=5)
    assert caught.value.access
    assert sorted(troubled(api)) == ["create pods", "get pods/log"]
    assert "Role and RoleBinding" in (api.troubles.blocked("jobs") or "")
    assert api.troubles.blocked("etl") is None
    create(api)
    assert troubled(api) == ["get pods/log"]


def test_a_denial_and_a_used_up_quota_are_no_trouble(fake: FakeCluster, api: ClusterApi) -> None:
    denied = 'admission webhook "p.example.com" denied the request: no'
    fake.meet("create", NO_RIGHT, Says(403, denied), Says(403, 'pods "x" is forbidden: exceeded quota: q'), Says(422, "no"))
    create(api)
    assert isinstance(create(api), Refused)
    assert troubled(api) == [], "whoever judges requests makes pods again"
    assert isinstance(create(api), TryLater)
    assert isinstance(create(api), Refused)
    assert troubled(api) == []


def test_a_webhook_that_is_away_is_told_and_keeps_no_other_pod_from_being_made(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", Says(500, 'Internal error occurred: failed calling webhook "p.example.com": Post "https://p": refused'))
    assert isinstance(create(api), TryLater)
    assert troubled(api) == ["admission"]
    assert api.troubles.blocked("jobs") is None
    create(api)
    assert troubled(api) == []


def test_a_page_in_place_of_one_answer_stops_nothing_else(fake: FakeCluster, api: ClusterApi) -> None:
    """A firewall for applications may dislike this pod's script only."""
    fake.meet("create", Says(403, body=b"<html>request blocked</html>"))
    assert isinstance(create(api), Unavailable)
    assert api.troubles.blocked("jobs") is None


def test_a_dry_run_finds_out_that_it_is_over_and_leaves_nothing(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", NO_RIGHT, NO_RIGHT)
    create(api)
    api.probe("jobs", "pods")
    assert troubled(api) == ["create pods"]
    api.probe("jobs", "pods")
    assert troubled(api) == []
    assert fake.calls("create")[-1].query == {"dryRun": "All"}
    assert not fake.accepted


@pytest.mark.parametrize("part", ["get pods", "get configmaps", "get pods/log", "delete pods", "patch pods"])
def test_a_part_that_needs_a_pod_is_asked_for_without_one(fake: FakeCluster, api: ClusterApi, part: str) -> None:
    """Or else a launcher would not be ready long after its right is back, as it has no pod to try it with."""
    verb = "log" if part == "get pods/log" else part.partition(" ")[0]
    fake.meet(verb, NO_RIGHT, NO_RIGHT)
    api.touch("jobs", part)
    api.touch("jobs", part)
    assert troubled(api) == [part]
    api.touch("jobs", part)
    assert troubled(api) == []
    assert verb in ("get", "log") or fake.calls(verb)[-1].query == {"dryRun": "All"}


def test_credentials_are_read_again_when_a_right_is_missing(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Somebody anonymous is told of no wrong token."""
    monkeypatch.setattr("halfstep_worker.kubernetes.connection.RELOAD_SECONDS", 0.0)
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path, token="old"))) as api:
        fake.kubeconfig(tmp_path, token="new")
        fake.meet("create", ANONYMOUS, NO_RIGHT)
        for _ in range(3):
            create(api)
    assert [seen.headers["authorization"] for seen in fake.calls("create")] == ["Bearer old", "Bearer new", "Bearer new"]


def test_a_kubeconfig_that_can_t_be_read_any_more_is_part_of_the_sentence(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("halfstep_worker.kubernetes.connection.RELOAD_SECONDS", 0.0)
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path))) as api:
        (tmp_path / "kubeconfig").write_text("[]")
        fake.meet("create", Says(401, "Unauthorized", "Unauthorized"))
        create(api)
        assert "could not be read from kubeconfig" in (api.troubles.blocked("jobs") or "")


def test_a_lost_reply_leaves_it_unknown_and_the_next_try_finds_the_pod(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", LosesReply())
    outcome = create(api)
    assert isinstance(outcome, TryLater)
    assert outcome.unknown
    assert len(fake.calls("create")) == 1, "a create is never repeated by itself"
    assert create(api).existed
    assert fake.accepted["hs-a1"] == 1


def test_a_create_ends_in_time_when_the_server_does_not_answer(fake: FakeCluster, api: ClusterApi) -> None:
    go = threading.Event()
    fake.meet("create", Holds(go))
    began = time.monotonic()
    outcome = create(api, seconds=0.4)
    assert is_within(1.5, time.monotonic() - began)
    assert isinstance(outcome, TryLater)
    assert outcome.unknown
    go.set()


def test_a_create_ends_in_time_when_the_answer_comes_drop_by_drop(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("create", Drips())
    began = time.monotonic()
    assert create(api, seconds=0.4).unknown
    assert is_within(1.5, time.monotonic() - began)


def test_nothing_was_made_where_nobody_listens(fake: FakeCluster, api: ClusterApi) -> None:
    fake.close()
    outcome = create(api)
    assert isinstance(outcome, TryLater)
    assert not outcome.unknown
    assert "cluster 'here'" in outcome.message
    assert api.counts() == {("POST", 0): 1}


def test_a_create_does_not_leave_after_its_time(fake: FakeCluster, api: ClusterApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a name can take longer than the call may."""
    import socket

    look_up, pause = socket.getaddrinfo, threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        pause.wait(0.5)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    outcome = create(api, seconds=0.3)
    assert isinstance(outcome, TryLater)
    assert not outcome.unknown
    assert fake.accepted["hs-a1"] == 0


def test_after_429_nobody_calls_until_the_server_allows_it(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("get", Says(429, headers={"Retry-After": "300"}))
    with pytest.raises(ApiError):
        api.get_pod("jobs", "hs-a1")
    outcome = create(api)
    assert isinstance(outcome, TryLater)
    assert 150 < outcome.delay <= 300
    assert not fake.calls("create")


def test_a_pod_is_deleted_by_its_uid_only(fake: FakeCluster, api: ClusterApi) -> None:
    uid = create(api).uid
    assert not api.delete_pod("jobs", "hs-a1", uid="another", grace=3)
    assert "deletionTimestamp" not in fake.store.get("jobs", "pods", "hs-a1")["metadata"]
    assert api.delete_pod("jobs", "hs-a1", uid=uid, grace=3)
    assert "deletionTimestamp" in fake.store.get("jobs", "pods", "hs-a1")["metadata"]
    assert fake.calls("delete")[1].body["gracePeriodSeconds"] == 3
    assert not api.delete_pod("jobs", "not-there", uid=uid)


def test_releasing_takes_our_finalizer_only(fake: FakeCluster, api: ClusterApi) -> None:
    fake.store.create("jobs", "pods", manifest(finalizers=["other/one", FINALIZER]))
    assert api.release_pod("jobs", "hs-a1", keep=True)
    about = fake.store.get("jobs", "pods", "hs-a1")["metadata"]
    assert about["finalizers"] == ["other/one"]
    assert about["labels"][KEEP] == "true"
    assert about["labels"][ATTEMPT] == "a1"


def test_releasing_a_deleted_pod_lets_it_go(fake: FakeCluster, api: ClusterApi) -> None:
    uid = create(api).uid
    api.delete_pod("jobs", "hs-a1", uid=uid, grace=0)
    assert not api.release_pod("jobs", "hs-a1", keep=False, uid="another")
    assert api.release_pod("jobs", "hs-a1", keep=False, uid=uid)
    assert api.get_pod("jobs", "hs-a1") is None
    assert not api.release_pod("jobs", "hs-a1", keep=False)


@pytest.mark.parametrize("call", ["get", "delete", "patch", "list", "log"])
def test_other_calls_raise_what_the_server_says(fake: FakeCluster, api: ClusterApi, call: str) -> None:
    fake.meet(call, Says(500, "the disk is full"))
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: api.get_pod("jobs", "x"),
        "delete": lambda: api.delete_pod("jobs", "x", uid=None),
        "patch": lambda: api.release_pod("jobs", "x", keep=False),
        "list": lambda: api.list_pods("jobs", selector="a=b"),
        "log": lambda: api.read_log(LogQuery("jobs", "x", "main"), seconds=5),
    }
    with pytest.raises(ApiError, match="the disk is full") as caught:
        calls[call]()
    assert caught.value.status == 500


def test_a_list_comes_in_pages(fake: FakeCluster, api: ClusterApi) -> None:
    for n in range(5):
        fake.store.put(f"p{n}")
    fake.store.put("not-ours", labels={})
    first = api.list_pods("jobs", selector="halfstep.io/installation=i", limit=3)
    fake.store.put("later")
    second = api.list_pods("jobs", selector="halfstep.io/installation=i", limit=3, page=first.more)
    assert [pod["metadata"]["name"] for pod in first.pods + second.pods] == ["p0", "p1", "p2", "p3", "p4"]
    assert first.version == second.version
    assert second.more == ""


def test_a_log_is_read_line_by_line_from_a_second_on(fake: FakeCluster, api: ClusterApi) -> None:
    fake.store.put("p")
    for n in range(4):
        fake.log("p", f"line {n}", at=1000 + n / 2)
    stream = api.read_log(LogQuery("jobs", "p", "main", since=1001), seconds=5)
    assert list(stream.lines()) == [
        b"1970-01-01T00:16:41.000000000Z line 2",
        b"1970-01-01T00:16:41.500000000Z line 3",
    ]


def test_a_silent_log_ends_in_time(fake: FakeCluster, api: ClusterApi) -> None:
    fake.meet("log", Silent())
    with pytest.raises(ApiError, match="does not answer"):
        list(api.read_log(LogQuery("jobs", "p", "main"), seconds=0.3).lines())


def test_connections_are_used_again(fake: FakeCluster, api: ClusterApi) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda n: create(api, attempt=str(n)), range(80)))
    assert all(isinstance(outcome, Created) for outcome in done)
    list(api.read_log(LogQuery("jobs", "hs-1", "main"), seconds=5).lines())
    assert len(fake._connections) <= 4


def test_refused_credentials_are_read_again(fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep_worker.kubernetes.connection.RELOAD_SECONDS", 0.0)
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path, token="old"))) as api:
        fake.kubeconfig(tmp_path, token="new")
        fake.meet("get", Says(401, "Unauthorized"))
        with pytest.raises(ApiError):
            api.get_pod("jobs", "x")
        api.get_pod("jobs", "x")
    assert [seen.headers["authorization"] for seen in fake.calls("get")] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("token", ["to\nken", "\u5bb6", "a\x1b"])
def test_a_token_that_no_header_takes_is_told_and_no_tasks_fault(fake: FakeCluster, tmp_path: Path, token: str) -> None:
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path, token=token))) as api:
        made = create(api)
        assert isinstance(made, TryLater)
        assert "the token or password holds what no header can" in made.message
        assert token not in made.message
        with pytest.raises(ApiError, match="no header can"):
            api.list_pods("jobs", selector="x")


def test_the_end_of_a_line_behind_a_token_is_not_sent(fake: FakeCluster, tmp_path: Path) -> None:
    with closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path, token="t0ken\n"))) as api:
        assert isinstance(create(api), Created)
    assert fake.requests[0].headers["authorization"] == "Bearer t0ken"


def test_whoever_turns_to_another_cluster_takes_no_launcher_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubectl config use-context`: the other cluster would be believed that none of our pods is there."""
    monkeypatch.setattr("halfstep_worker.kubernetes.connection.RELOAD_SECONDS", 0.0)
    with closing(FakeCluster()) as ours, closing(FakeCluster()) as other:
        file = Path(ours.kubeconfig(tmp_path))
        known = json.loads(file.read_text())
        with closing(ClusterApi("here", kubeconfig=str(file))) as api:
            made = create(api)
            theirs = json.loads(Path(other.kubeconfig(tmp_path)).read_text())
            known["clusters"].append(theirs["clusters"][0] | {"name": "other"})
            known["contexts"].append({"name": "other", "context": {"cluster": "other", "user": "u"}})
            file.write_text(json.dumps(known | {"current-context": "other"}))
            ours.meet("get", Says(401, "Unauthorized"))
            with pytest.raises(ApiError):
                api.get_pod("jobs", "hs-a1")
            found = api.get_pod("jobs", "hs-a1")
        assert found is not None
        assert found["metadata"]["uid"] == made.uid
        assert not other.requests


def test_a_bad_kubeconfig_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "config"
    with pytest.raises(InvalidSettings, match="context 'x'"):
        ClusterApi("here", kubeconfig=str(file), context="x")
    file.write_text(json.dumps([1]))
    with pytest.raises(InvalidSettings):
        ClusterApi("here", kubeconfig=str(file))
    with pytest.raises(InvalidSettings, match="service account"):
        ClusterApi("here", kubeconfig=None)


def test_a_closed_stream_ends_at_once_in_another_thread(fake: FakeCluster, api: ClusterApi) -> None:
    stream = api.watch_pods("jobs", selector="a=b", version="100", seconds=60, silence=60)
    ended = threading.Event()
    reader = threading.Thread(target=lambda: (list(stream.events()), ended.set()), daemon=True)
    reader.start()
    wait_until(lambda: fake.watching == 1, what="the watch")
    stream.close()
    assert ended.wait(PATIENCE)
    stream.release()
    stream.close()
