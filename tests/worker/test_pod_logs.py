"""The logs of pods: collected while they run, complete at their end, by few threads and few requests."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from halfstep.pods import StreamEnd
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.frames import Frames, frame
from halfstep_worker.kubernetes.logplan import Attempt, LogSource, LogTimes, Plan, Reader
from halfstep_worker.kubernetes.logposition import Position
from halfstep_worker.kubernetes.podlogs import PodLogCollector
from kubernetes_fake import FakeCluster, LosesReply, Says, Silent
from waiting import NEVER, PATIENCE, is_within, wait_until

QUICK = LogTimes(interval=0.02, rate=1000, first=0.0, read=2, final=5, retry=0.02)
START = 1_700_000_000.0
LATE = LogTimes(first=1000, final=5, retry=0.02)
"""Only last reads happen."""


class Store:
    """What was delivered, by attempt."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, list[tuple[float, str, str]]] = defaultdict(list)
        self.full: set[str] = set()

    def __call__(self, key: str, lines: list[tuple[float, str, str]]) -> bool | None:
        self.lines[key] += lines
        return key not in self.full

    def texts(self, key: str = "a") -> list[str]:
        return [text for _, stream, text in list(self.lines[key]) if stream != "log"]

    def markers(self, key: str = "a") -> list[str]:
        return [text for _, stream, text in list(self.lines[key]) if stream == "log"]


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with closing(FakeCluster()) as made:
        made.store.put("pa")
        yield made


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def collect(fake: FakeCluster, store: Store, tmp_path: Path) -> Iterator[Callable[..., PodLogCollector]]:
    started: list[PodLogCollector] = []

    def start(times: LogTimes = QUICK, **changes: Any) -> PodLogCollector:
        api = ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path))
        started.append(PodLogCollector(api, times=times, **({"deliver": store} | changes)))
        started[-1].start()
        return started[-1]

    yield start
    for collector in started:
        collector.stop()


def source(key: str = "a", **more: Any) -> LogSource:
    return LogSource(key, "jobs", f"p{key}", **more)


def finish(collector: PodLogCollector, given: LogSource) -> None:
    done = threading.Event()
    collector.finish(given, done.set)
    assert done.wait(PATIENCE), "the last read did not end"


def test_lines_come_while_the_pod_runs_and_each_once(fake: FakeCluster, store: Store, collect: Any) -> None:
    collector = collect()
    collector.follow(source())
    expected = []
    for n in range(12):
        for part in range(3):
            fake.log("pa", f"line {n}.{part}", at=START + n * 0.3)
            expected.append(f"line {n}.{part}")
        wait_until(lambda: len(store.texts()) == len(expected), what=f"the lines of round {n}")
    finish(collector, source())
    assert store.texts() == expected
    assert store.lines["a"][3] == (START + 0.3, "stdout", "line 1.0")
    assert not store.markers()
    assert len(collector) == 0


def test_the_rest_is_read_when_the_pod_has_ended(fake: FakeCluster, store: Store, collect: Any) -> None:
    collector = collect(LATE)
    collector.follow(source())
    fake.log("pa", "first", at=START)
    fake.logs["pa", "main"].append((round(START * 1e9) + 5, b"not ended"))
    finish(collector, source())
    assert store.texts() == ["first", "not ended"]


def test_a_pod_that_was_never_followed_can_be_finished(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.log("pa", "only", at=START)
    finish(collect(LATE), source())
    assert store.texts() == ["only"]


def test_a_line_that_is_not_ended_waits_until_it_is(fake: FakeCluster, store: Store, collect: Any) -> None:
    collector = collect()
    fake.log("pa", "whole", at=START)
    fake.logs["pa", "main"].append((round(START * 1e9) + 5, b"half"))
    collector.follow(source())
    wait_until(lambda: len(fake.calls("log")) > 3, what="some reads")
    assert store.texts() == ["whole"]
    fake.logs["pa", "main"][-1] = (round(START * 1e9) + 5, b"half and half\n")
    wait_until(lambda: store.texts() == ["whole", "half and half"], what="the whole line")


def test_each_container_is_a_stream(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.log("pa", "from main", at=START)
    fake.log("pa", "from side", at=START, container="side")
    fake.log("pa", "from init", at=START - 1, container="init")
    finish(collect(LATE), source(containers=("init", "main", "side")))
    assert {(stream, text) for _, stream, text in store.lines["a"]} == {
        ("stdout", "from main"), ("side", "from side"), ("init", "from init"),
    }  # fmt: skip


@pytest.mark.parametrize("code", [400, 404])
def test_a_log_that_is_not_there_leaves_a_marker(fake: FakeCluster, store: Store, collect: Any, code: int) -> None:
    fake.meet("log", Says(code, 'container "main" in pod "pa" is waiting to start: trying and failing to pull image'))
    finish(collect(LATE), source())
    assert len(fake.calls("log")) == 1
    (marker,) = store.markers()
    assert marker.startswith("[halfstep: the log was not available: ")
    assert "waiting to start" in marker


def test_a_log_that_the_kubelet_has_removed_leaves_a_marker(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.log("pa", "seen in time", at=START)
    collector = collect()
    collector.follow(source())
    wait_until(lambda: store.texts(), what="the line")
    fake.meet("log", *[Says(200, body=b"unable to retrieve container logs for containerd://0123")] * 20)
    wait_until(lambda: len(fake.calls("log")) > 3, what="reads that bring nothing")
    finish(collector, source())
    assert store.texts() == ["seen in time"]
    assert store.markers() == [
        "[halfstep: the rest of the log was not available: unable to retrieve container logs for containerd://0123]"
    ]


def test_a_last_read_is_tried_again(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.log("pa", "all", at=START)
    fake.meet("log", Says(500, "error dialing backend"), Says(503), Says(429, headers={"Retry-After": "0"}))
    finish(collect(LATE), source())
    assert store.texts() == ["all"]
    assert not store.markers()


def test_a_last_read_ends_even_if_no_try_succeeds(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.meet("log", *[Says(500, "error dialing backend")] * 1000)
    finish(collect(LogTimes(first=1000, final=0.2, retry=0.02)), source())
    assert "error dialing backend" in store.markers()[0]


NO_RIGHT = Says(403, 'pods "pa" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "jobs"')


@pytest.mark.parametrize(
    "fault", [NO_RIGHT, Says(401, "Unauthorized"), Says(404, body=b"<html>not here</html>"), LosesReply()], ids=repr
)
@pytest.mark.parametrize(("patient", "needed"), [(NEVER, False), (0.0, True)], ids=["any log", "the outcome stands in it"])
def test_a_log_that_the_api_server_shows_nobody_is_waited_for(
    fake: FakeCluster, store: Store, collect: Any, fault: Any, patient: float, needed: bool
) -> None:
    fake.log("pa", "all", at=START)
    fake.standing["log"] = fault
    done = threading.Event()
    collector = collect(LogTimes(first=1000, final=0.0, patient=patient, needed=NEVER, retry=0.02, final_cap=0.02))
    collector.finish(source(), done.set, needed=needed)
    wait_until(lambda: len(fake.calls("log")) > 5, what="some tries")
    assert not done.is_set()
    fake.standing.clear()
    assert done.wait(PATIENCE)
    assert (store.texts(), store.markers()) == (["all"], [])


def test_but_not_for_ever(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.standing["log"] = NO_RIGHT
    finish(collect(LogTimes(first=1000, final=0.0, patient=0.1, retry=0.02)), source())
    assert "Role and RoleBinding" in store.markers()[0]


def test_a_thread_that_stumbles_over_one_log_reads_the_next(
    fake: FakeCluster, store: Store, collect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    fake.store.put("pb")
    fake.log("pb", "of b", at=START)
    end = PodLogCollector._end

    def stumble(self: PodLogCollector, reader: Reader, error: Any) -> None:
        if reader.attempt.source.key == "a":
            raise ZeroDivisionError("so the test wants it")
        end(self, reader, error)

    monkeypatch.setattr(PodLogCollector, "_end", stumble)
    collector = collect(LATE, threads=1)
    finish(collector, source("a"))
    finish(collector, source("b"))
    assert store.texts("b") == ["of b"]
    assert "ZeroDivisionError" in caplog.text or "so the test wants it" in caplog.text
    assert len(collector) == 0


def test_a_silent_kubelet_holds_up_one_read_only(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.meet("log", Silent())
    fake.log("pa", "later", at=START)
    collector = collect(LogTimes(interval=0.02, rate=1000, first=0.0, read=0.2))
    collector.follow(source())
    wait_until(lambda: store.texts() == ["later"], what="the line")


def test_a_rotated_log_leaves_a_marker_and_goes_on(fake: FakeCluster, store: Store, collect: Any) -> None:
    collector = collect()
    fake.log("pa", "before", at=START)
    collector.follow(source())
    wait_until(lambda: store.texts(), what="the line")
    fake.logs["pa", "main"] = [(round(START * 1e9) + 10**9, b"after\n")]
    wait_until(lambda: len(store.texts()) == 2, what="the line after the rotation")
    finish(collector, source())
    before, marker, after = [text for _, _, text in store.lines["a"]]
    assert (before, after) == ("before", "after")
    assert "lines may be missing here" in marker


def test_an_adopter_goes_on_after_what_is_stored(fake: FakeCluster, store: Store, collect: Any) -> None:
    for n in range(6):
        fake.log("pa", f"line {n}", at=START + n / 10)
    finish(collect(LATE), source(stored={"stdout": StreamEnd(int(START) - 1, 4, START + 0.3)}))
    assert store.texts() == ["line 4", "line 5"]
    assert fake.calls("log")[0].query["sinceTime"] == "2023-11-14T22:13:18Z"


def test_an_adopter_goes_on_in_each_container_where_that_one_was_left(fake: FakeCluster, store: Store, collect: Any) -> None:
    for n in range(6):
        fake.log("pa", f"main {n}", at=START + n)
        fake.log("pa", f"side {n}", at=START + n, container="side")
        fake.log("pa", f"other {n}", at=START + n, container="other")
    stored = {"stdout": StreamEnd(int(START) + 3, 2, START + 4), "side": StreamEnd(int(START), 2, START + 1)}
    finish(collect(LATE), source(containers=("main", "side", "other"), stored=stored))
    assert [text for _, stream, text in store.lines["a"] if stream == "stdout"] == ["main 5"]
    assert [text for _, stream, text in store.lines["a"] if stream == "side"] == [f"side {n}" for n in range(2, 6)]
    assert [text for _, stream, text in store.lines["a"] if stream == "other"] == [f"other {n}" for n in range(6)]
    assert not store.markers()


def test_lines_of_one_time_and_parts_of_one_line_are_stored_once_each(fake: FakeCluster, store: Store, collect: Any) -> None:
    for text in ("first", "x" * 40_000, "last"):
        fake.log("pa", text, at=START)
    finish(collect(LATE), source(stored={"stdout": StreamEnd(int(START) - 1, 2, START)}))
    assert [len(text) for text in store.texts()] == [16384, 40_000 - 2 * 16384, 4]


def test_a_line_that_was_written_a_little_late_is_not_lost_at_an_adoption(fake: FakeCluster, store: Store, collect: Any) -> None:
    for n, at in enumerate((START + 0.5, START + 1.1, START + 0.9)):
        fake.log("pa", f"line {n}", at=at)
    finish(collect(LATE), source(stored={"stdout": StreamEnd(int(START), 2, START + 1.1)}))
    assert store.texts() == ["line 2"]


def test_a_log_that_was_rotated_before_the_adoption_leaves_a_marker(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.log("pa", "after", at=START + 60)
    finish(collect(LATE), source(stored={"stdout": StreamEnd(int(START) - 1, 3, START)}))
    marker, after = [text for _, _, text in store.lines["a"]]
    assert ("lines may be missing here" in marker, after) == (True, "after")


def test_an_adopters_hook_sees_what_was_stored_before_too(fake: FakeCluster, store: Store, collect: Any) -> None:
    for n in range(6):
        fake.log("pa", f"line {n}", at=START + n)
    heard: list[str] = []
    stored = {"stdout": StreamEnd(int(START) + 2, 2, START + 3)}
    finish(collect(LATE), source(stored=stored, hook=lambda text: heard.append(text) or text))
    assert store.texts() == ["line 4", "line 5"]
    assert heard == [f"line {n}" for n in range(6)]


def test_the_hook_sees_whole_lines_of_main_only_and_decides_what_is_stored(fake: FakeCluster, store: Store, collect: Any) -> None:
    progress = '"' + "x" * 15_000 + '"'
    fake.log("pa", "before", at=START)
    for n, line in enumerate(frame("progress", progress)):
        fake.log("pa", line, at=START + 1 + n / 1000)
    fake.log("pa", "after", at=START + 2)
    fake.log("pa", frame("progress", "not this")[0], at=START + 3, container="side")
    frames = Frames()
    finish(collect(LATE), source(containers=("main", "side"), hook=frames.take))
    assert [text for _, stream, text in store.lines["a"] if stream == "stdout"] == ["before", "after"]
    assert len(store.texts()) == 3, "the side's line is stored as it is"
    assert frames.progress == progress


def test_what_a_node_says_in_place_of_a_log_can_be_stored_whatever_it_is(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.meet("log", *[Says(200, body=b"unable \0 to read \xff")] * 3)
    finish(collect(LATE), source())
    ((_, stream, text),) = store.lines["a"]
    assert (stream, "unable" in text, "\0" in text) == ("log", True, False)


def test_a_full_log_is_read_to_its_end_when_its_pod_has_ended_and_all_the_time_where_a_hook_wants_it(
    fake: FakeCluster, store: Store, collect: Any
) -> None:
    fake.store.put("pb")
    store.full = {"a", "b"}
    for n in range(3000):
        fake.log("pa", f"line {n}", at=START)
        fake.log("pb", f"line {n}", at=START)
    heard: list[str] = []
    collector = collect()
    collector.follow(source())
    collector.follow(source("b", hook=lambda text: heard.append(text) or text))
    wait_until(lambda: len(heard) == 3000, what="all lines of the one with a hook")
    for n in range(10):
        fake.log("pb", f"later {n}", at=START + 1)
    wait_until(lambda: len(heard) == 3010, what="later lines")
    wait_until(lambda: store.texts("a"), what="the beginning of the other")
    assert len(store.texts("a")) == 500, "the other is not read while its pod runs"
    finish(collector, source())
    assert store.texts("a") == [f"line {n}" for n in range(3000)]


def test_odd_lines_are_made_storable(fake: FakeCluster, store: Store, collect: Any) -> None:
    fake.logs["pa", "main"] = [(round(START * 1e9), line) for line in (b"\n", b"nul \0 and \xff\r\n", b"y" * 40_000 + b"\n")]
    finish(collect(LATE), source())
    assert store.texts()[:2] == ["", "nul \ufffd and \ufffd"]
    assert [len(text) for text in store.texts()[2:]] == [16384, 16384, 40_000 - 2 * 16384]


def test_a_forgotten_pod_is_read_no_more(fake: FakeCluster, store: Store, collect: Any) -> None:
    collector = collect()
    collector.follow(source())
    wait_until(lambda: fake.calls("log"), what="a read")
    collector.forget("a")
    collector.forget("a")
    reads = len(fake.calls("log"))
    fake.store.put("pb")
    collector.follow(source("b"))
    wait_until(lambda: len([seen for seen in fake.calls("log") if "/pb/" in seen.path]) > 3, what="reads of another")
    assert len([seen for seen in fake.calls("log") if "/pa/" in seen.path]) <= reads + 1


def test_an_exception_of_the_owner_costs_one_read(fake: FakeCluster, store: Store, collect: Any) -> None:
    failures = iter([ValueError("a bug")])

    def hook(text: str) -> str:
        if error := next(failures, None):
            raise error
        return text

    fake.log("pa", "line", at=START)
    collector = collect()
    collector.follow(source(hook=hook))
    fake.log("pa", "more", at=START + 1)
    wait_until(lambda: "more" in store.texts(), what="the later line")
    finish(collector, source(hook=hook))


def test_stopping_ends_silent_reads_at_once(fake: FakeCluster, collect: Any) -> None:
    fake.meet("log", *[Silent()] * 4)
    collector = collect(LogTimes(first=0.0, rate=1000, read=60))
    for key in "abcd":
        collector.follow(source(key))
    wait_until(lambda: fake.watching == 4, what="four silent reads")
    began = time.monotonic()
    collector.stop()
    assert is_within(2, time.monotonic() - began)


def test_finishing_twice_ends_once(fake: FakeCluster, store: Store, collect: Any) -> None:
    ended: list[str] = []
    collector = collect(LATE)
    fake.log("pa", "line", at=START)
    collector.finish(source(), lambda: ended.append("first"))
    collector.finish(source(), lambda: ended.append("second"))
    wait_until(lambda: ended and not len(collector), what="the end")
    assert len(ended) == 1 or ended == ["first", "second"], "the second call found nothing left of the first"


def test_many_pods_take_few_threads_and_requests(fake: FakeCluster, store: Store, collect: Any) -> None:
    before = threading.active_count()
    collector = collect(LogTimes(interval=0.05, rate=40, first=0.0))
    names = [str(n) for n in range(200)]
    for key in names:
        fake.store.put(f"p{key}")
        fake.log(f"p{key}", "hello", at=START)
        collector.follow(source(key))
    wait_until(lambda: len(fake.calls("log")) >= 40, what="some reads")
    at = [seen.at for seen in fake.calls("log")]
    assert is_within(44, (len(at) - 2) / (at[-1] - at[0])), "requests a second; as seen by a server that may be late"
    assert threading.active_count() - before <= 4 + 5, "four threads, and the fake server's"
    wait_until(lambda: all(store.lines[key] for key in names), what="a read of each")


def test_ended_pods_come_first_and_slow_the_others_down() -> None:
    plan = Plan(LogTimes(rate=10, interval=5))
    now = time.monotonic()
    running = Reader(Attempt(source("r"), 1), "main", Position())
    ended = [Reader(Attempt(source(f"e{n}"), 1, done=lambda: None), "main", Position()) for n in range(5)]
    for reader in [running, *ended]:
        plan.put(reader, now)
    assert [plan.pick(now) for _ in range(5)] == ended
    assert plan.pick(now) is None
    assert (plan.wait(now) or 0) > 0.4


def test_a_pod_whose_reads_fail_is_read_less_and_less_often() -> None:
    plan, reader = Plan(LogTimes(interval=5, retry_cap=60)), Reader(Attempt(source(), 1), "main", Position())
    waits = []
    for failures in (0, 1, 2, 9):
        reader.failures = failures
        plan.again(reader, began=100.0, now=101.0)
        waits.append(plan.wait(100.0))
    assert waits == pytest.approx([5, 10, 20, 60])
