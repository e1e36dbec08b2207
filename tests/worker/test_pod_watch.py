"""The watch of one cluster and namespace: it tells all, and nothing that a server does keeps it from going on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.values import Listed, Pod, PodGone, PodSeen
from halfstep_worker.kubernetes.watch import PodWatch, WatchTimes
from halfstep_worker.progress import Progress
from kubernetes_fake import Cut, Ends, FakeCluster, Says, Silent, TellsError
from waiting import is_within, wait_until

QUICK = WatchTimes(shortest=20, longest=20, slack=0.2, retry_first=0.02, retry_cap=0.1)
HASTY = WatchTimes(shortest=0.3, longest=0.3, slack=0.1, retry_first=0.02, retry_cap=0.1)
SELECTOR = "halfstep.io/installation=i"


def trim(pod: Pod) -> Pod:
    """About what a launcher keeps."""
    about, state = pod["metadata"], pod.get("status") or {}
    containers = [
        {"name": c["name"], "state": c.get("state") or {}, "restartCount": c.get("restartCount")}
        for c in state.get("containerStatuses") or []
    ]
    return {
        "metadata": {key: about[key] for key in ("name", "uid", "labels", "creationTimestamp") if key in about},
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName")},
        "status": {"phase": state.get("phase"), "containerStatuses": containers, "conditions": state.get("conditions") or []},
    }


class Story:
    """What a watch has told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.threads: set[str] = set()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread().name)

    def of(self, kind: type) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    def seen(self) -> list[str]:
        return [event.pod["metadata"]["name"] for event in self.of(PodSeen)]

    def gone(self) -> list[str]:
        return [event.pod["metadata"]["name"] for event in self.of(PodGone)]


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with closing(FakeCluster()) as made:
        yield made


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def watch(fake: FakeCluster, story: Story, tmp_path: Path) -> Iterator[Callable[..., PodWatch]]:
    with ExitStack() as stack:

        def start(*, times: WatchTimes = QUICK, **changes: Any) -> PodWatch:
            api = stack.enter_context(closing(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path))))
            given: dict[str, Any] = {"namespace": "jobs", "selector": SELECTOR, "trim": trim, "tell": story, "times": times}
            made = PodWatch(api, **(given | changes))
            made.start()
            stack.callback(made.stop)
            return made

        yield start


def phase(word: str) -> Callable[[Pod], None]:
    return lambda pod: pod.update(status={"phase": word})


def open_watches(fake: FakeCluster, number: int = 1) -> None:
    wait_until(lambda: len(fake.calls("watch")) >= number and fake.watching > 0, what=f"watch number {number}")


def test_what_is_there_is_listed_and_what_happens_is_told(fake: FakeCluster, story: Story, watch: Any) -> None:
    fake.store.put("a")
    fake.store.put("not-ours", labels={"halfstep.io/installation": "j"})
    fake.store.put("elsewhere", namespace="other")
    kept = watch()
    open_watches(fake)
    assert story.events[-1] == Listed("here", "jobs", frozenset({"a"}))
    fake.store.put("b")
    fake.store.change("b", phase("Running"))
    fake.store.remove("a")
    wait_until(lambda: story.gone() == ["a"], what="the end of a")
    assert story.seen() == ["a", "b", "b"]
    assert story.of(PodSeen)[-1] == PodSeen("here", "jobs", kept.pod("b"))
    assert kept.pod("b")["status"]["phase"] == "Running"
    assert kept.pod("a") is None
    assert len(kept) == 1
    assert story.threads == {"watch here/jobs"}
    assert kept.trouble is None


def test_a_long_list_comes_in_pages_and_is_listed_once(
    fake: FakeCluster, story: Story, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterApi.list_pods, "__kwdefaults__", {"page": "", "limit": 3})
    for n in range(8):
        fake.store.put(f"p{n}")
    watch()
    wait_until(lambda: story.of(Listed), what="the list")
    assert len(fake.calls("list")) == 3
    assert story.of(Listed)[0].names == {f"p{n}" for n in range(8)}


def test_a_list_that_expires_between_two_pages_begins_again(
    fake: FakeCluster, story: Story, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterApi.list_pods, "__kwdefaults__", {"page": "", "limit": 1})
    fake.store.put("a")
    fake.store.put("b")
    expired = iter([True])

    def tell(event: Any) -> None:
        story(event)
        if next(expired, False):
            fake.store.expire()

    watch(tell=tell)
    wait_until(lambda: story.of(Listed), what="the list")
    assert story.seen() == ["a", "a", "b"]
    assert len(story.of(Listed)) == 1


def test_a_watch_that_ends_goes_on_where_it_was(fake: FakeCluster, story: Story, watch: Any) -> None:
    watch()
    open_watches(fake)
    fake.store.put("a")
    wait_until(lambda: story.seen() == ["a"], what="a")
    version = fake.store.version
    fake.store.end_watches()
    open_watches(fake, 2)
    assert fake.calls("watch")[1].query["resourceVersion"] == str(version)
    fake.store.put("b")
    wait_until(lambda: story.seen() == ["a", "b"], what="b")
    assert len(fake.calls("list")) == 1


def test_a_bookmark_moves_the_place_where_it_goes_on(fake: FakeCluster, story: Story, watch: Any) -> None:
    kept = watch()
    open_watches(fake)
    heard = kept.last_heard
    fake.store.put("elsewhere", namespace="other")
    fake.store.bookmark()
    wait_until(lambda: kept.last_heard > heard, what="the bookmark")
    fake.store.end_watches()
    open_watches(fake, 2)
    assert fake.calls("watch")[1].query["resourceVersion"] == str(fake.store.version)
    assert story.events == [Listed("here", "jobs")]


@pytest.mark.parametrize(
    "fault",
    [TellsError(410), TellsError(500, "no PrevKv"), Says(410), Says(504, "Too large resource version"), Says(400)],
)
def test_a_version_that_is_too_old_means_a_new_list(fake: FakeCluster, story: Story, watch: Any, fault: Any) -> None:
    fake.store.put("stays")
    fake.store.put("vanishes")
    fake.meet("watch", Ends(), fault)
    kept = watch(tell=lambda event: (story(event), _once(story, lambda: fake.store.remove("vanishes"))))
    wait_until(lambda: len(story.of(Listed)) == 2, what="the second list")
    assert story.of(Listed)[1].names == {"stays"}
    assert story.gone() == ["vanishes"]
    open_watches(fake, 3)
    fake.store.put("new")
    wait_until(lambda: "new" in story.seen(), what="what comes after")
    assert kept.restarts["stale"] == 1


def _once(story: Story, act: Callable[[], None]) -> None:
    if isinstance(story.events[-1], Listed) and len(story.of(Listed)) == 1:
        act()


def test_what_happened_while_the_history_expired_is_told(fake: FakeCluster, story: Story, watch: Any) -> None:
    fake.store.put("a")
    go = threading.Event()
    fake.meet("watch", Says(503), Says(503))
    watch(tell=lambda event: (story(event), isinstance(event, Listed) and go.wait(10)))
    wait_until(lambda: story.of(Listed), what="the list")
    fake.store.remove("a")
    fake.store.put("b")
    fake.store.expire()
    go.set()
    wait_until(lambda: story.gone() == ["a"] and "b" in story.seen(), what="both changes")


def test_a_silent_watch_is_opened_again(fake: FakeCluster, story: Story, watch: Any) -> None:
    fake.meet("watch", Silent())
    kept = watch(times=HASTY)
    wait_until(lambda: fake.calls("watch"), what="the silent watch")
    fake.store.put("a")
    wait_until(lambda: story.seen() == ["a"], what="a, told by the next watch")
    assert len(fake.calls("list")) == 1
    assert kept.restarts["away"] >= 1


def test_a_watch_without_a_single_word_is_doubted(fake: FakeCluster, story: Story, watch: Any) -> None:
    watch(times=WatchTimes(shortest=0.9, longest=0.9, slack=5, mute=0.5))
    wait_until(lambda: len(story.of(Listed)) == 2, what="the second list")


def test_a_watch_that_breaks_within_an_event_is_opened_again(fake: FakeCluster, story: Story, watch: Any) -> None:
    fake.meet("watch", Cut())
    watch()
    open_watches(fake, 2)
    fake.store.put("a")
    wait_until(lambda: story.seen() == ["a"], what="a")
    assert len(fake.calls("list")) == 1


def test_an_answer_that_is_no_json_does_not_end_the_watch(fake: FakeCluster, story: Story, watch: Any) -> None:
    fake.meet("list", Says(200, body=b"<html>please log in</html>"), Says(200, body=b"[]"))
    fake.meet("watch", Says(200, body=b"<html>\n</html>\n"))
    watch()
    open_watches(fake, 2)
    fake.store.put("a")
    wait_until(lambda: "a" in story.seen(), what="a")


def test_an_exception_of_the_launcher_does_not_end_the_watch(fake: FakeCluster, story: Story, watch: Any) -> None:
    failures = iter([ValueError("a bug")])

    def tell(event: Any) -> None:
        if isinstance(event, PodSeen) and (error := next(failures, None)):
            raise error
        story(event)

    kept = watch(tell=tell)
    open_watches(fake)
    fake.store.put("a")
    wait_until(lambda: "a" in story.seen(), what="a, told by a new list")
    assert len(story.of(Listed)) == 2
    assert kept.restarts["error"] == 1


def test_doubt_means_a_new_list(fake: FakeCluster, story: Story, watch: Any) -> None:
    kept = watch()
    open_watches(fake)
    fake.store.put("a")
    wait_until(lambda: kept.pod("a"), what="a")
    asked = time.monotonic()
    for _ in range(20):
        kept.request_relist()
    wait_until(lambda: len(story.of(Listed)) >= 2, what="the second list")
    assert kept.list_began > asked
    assert story.of(Listed)[1].names == {"a"}
    open_watches(fake, 2)
    assert len(fake.calls("list")) <= 3


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("fault", [Says(500), Says(403, "forbidden"), Says(401), Ends(), Says(429, headers={"Retry-After": "0"})])
def test_a_server_in_trouble_is_not_hammered(fake: FakeCluster, watch: Any, verb: str, fault: Any) -> None:
    fake.meet(verb, *[fault] * 1000)
    kept = watch(times=WatchTimes(retry_first=0.05, retry_cap=30))
    wait_until(lambda: len(fake.calls(verb)) >= 4, what="some tries")
    at = [seen.at for seen in fake.calls(verb)]
    assert at[3] - at[0] >= (0.05 + 0.1 + 0.2) / 2
    assert kept.trouble or isinstance(fault, Ends)


def test_retry_after_is_obeyed(fake: FakeCluster, watch: Any) -> None:
    fake.meet("watch", Says(429, headers={"Retry-After": "1"}))
    watch()
    wait_until(lambda: len(fake.calls("watch")) == 2, what="the second watch")
    first, second = fake.calls("watch")
    assert second.at - first.at >= 0.99


def test_a_server_that_comes_back_is_heard_again(
    fake: FakeCluster, story: Story, watch: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kubeconfig = fake.kubeconfig(tmp_path)
    address = fake._server.server_address
    fake.close()
    api = ClusterApi("here", kubeconfig=kubeconfig)
    kept = PodWatch(api, namespace="jobs", selector=SELECTOR, trim=trim, tell=story, times=QUICK)
    with caplog.at_level("WARNING", logger="halfstep"), closing(api):
        kept.start()
        wait_until(lambda: kept.restarts["away"] >= 4, what="some tries")
        assert "does not answer" in (kept.trouble or "")
        with closing(FakeCluster(port=address[1])) as again:
            again.store.put("a")
            wait_until(lambda: story.of(Listed), what="the list")
            assert kept.trouble is None
            kept.stop()
    assert [record.getMessage().startswith("Cluster 'here'") for record in caplog.records] == [True]


def test_a_stop_ends_a_quiet_watch_at_once(fake: FakeCluster, watch: Any) -> None:
    fake.meet("watch", Silent())
    kept = watch(times=WatchTimes())
    open_watches(fake)
    began = time.monotonic()
    kept.stop()
    assert is_within(2, time.monotonic() - began)
    assert not kept.is_alive()
    kept.stop()


def test_a_stop_ends_a_back_off_at_once_and_may_come_before_the_start(fake: FakeCluster, watch: Any, tmp_path: Path) -> None:
    fake.meet("list", Says(503, headers={"Retry-After": "60"}))
    kept = watch()
    wait_until(lambda: kept.trouble, what="the back-off")
    began = time.monotonic()
    kept.stop()
    assert is_within(2, time.monotonic() - began)
    PodWatch(
        ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path)), namespace="jobs", selector="a=b", trim=trim, tell=print
    ).stop()


def test_two_thousand_pods_cost_little_memory_and_one_thread(fake: FakeCluster, story: Story, watch: Any) -> None:
    many = 2000
    for n in range(many):
        fake.store.put(f"hs-{n:036}", **_typical(n))
    before = threading.active_count()
    kept = watch(tell=lambda event: None)
    wait_until(lambda: kept.list_began and fake.watching, what="the list")
    assert threading.active_count() - before <= 3, "the watch, and the fake server's own"
    assert len(kept) == many
    held = _size([kept.pod(f"hs-{n:036}") for n in range(many)], set())
    assert held / many < 5 * 1024, f"{held / many:.0f} bytes a pod"


def _size(thing: Any, known: set[int]) -> int:
    """Bytes of all that hangs on it; what is shared counts once."""
    if id(thing) in known:
        return 0
    known.add(id(thing))
    inner = [*thing, *thing.values()] if isinstance(thing, dict) else thing if isinstance(thing, list) else []
    return sys.getsizeof(thing) + sum(_size(part, known) for part in inner)


def _typical(n: int) -> dict[str, Any]:
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:00Z"}
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "", "message": ""}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    status = {"phase": "Running", "conditions": conditions, "podIP": "10.0.0.1"}
    status["containerStatuses"] = [{"name": "main", "restartCount": 0, "image": "i", "state": {"running": times}}]
    return {
        "labels": {"halfstep.io/installation": "i", "halfstep.io/attempt": f"{n:036}", "halfstep.io/task": str(n)},
        "spec": {"nodeName": "node1", "containers": [{"name": "main", "image": "i", "env": [{"name": "A", "value": "b" * 500}]}]},
        "status": status,
    }


def test_a_watch_that_falls_is_told_and_named(
    fake: FakeCluster, watch: Callable[..., PodWatch], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """By an error where none can be, so that no list could mend it."""

    def fall(self: PodWatch) -> float:
        raise ZeroDivisionError("so the test wants it")

    monkeypatch.setattr(PodWatch, "_pause", fall)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    progress = Progress()
    fake.meet("list", Says(500))
    kept = watch(part=progress.part("watch jobs", bound=1000.0))
    wait_until(lambda: not kept.is_alive(), what="its end")
    assert [late.part for late in progress.late()] == ["watch jobs"]
    assert "so the test wants it" in caplog.text


def test_a_watch_turns_with_each_word_and_rests_between_its_tries(fake: FakeCluster, watch: Callable[..., PodWatch]) -> None:
    progress = Progress()
    part = progress.part("watch jobs", bound=1000.0)
    watch(part=part)
    wait_until(lambda: fake.watching == 1, what="the watch")
    assert part.seconds(time.monotonic() + 10) >= 10
    fake.standing = {"list": Says(403), "watch": Says(403)}
    wait_until(lambda: fake.store.end_watches() or part.seconds(time.monotonic() + 10) == 0, what="a pause")  # type: ignore[func-returns-value]
