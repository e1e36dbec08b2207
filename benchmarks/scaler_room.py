"""The bars of the scaler on one machine: answers while the database hangs, load by many ScaledObjects, the word of new work.

Uses the helpers of tests/, which has to be on PYTHONPATH. A real scaler process, a real PostgreSQL, a real gRPC client.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.bars import Bar, Measure
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep_scaler.proto.externalscaler_pb2 import GetMetricsRequest, ScaledObjectRef
from scaler.keda import PATH, HangingProxy, Keda, ScalerProcess  # noqa: TID251
from waiting import wait_until

OBJECTS = int(os.environ.get("HALFSTEP_BARS_OBJECTS", "1000"))
SECONDS = float(os.environ.get("HALFSTEP_BARS_SECONDS", "60"))
POLL_SECONDS, TICK_SECONDS = 30.0, 15.0
"""KEDA's polling interval and the HPA's: each evaluation is three calls."""
QUEUES = 100
CALLS = 2000
ACTIVATIONS = 20
SERVE = {"poll_seconds": 1.0, "max_age": 600.0}


def hang_bars(url: str) -> list[Bar]:
    """The three unary calls, one after the other, while nothing comes back from the database."""
    with closing(HangingProxy(url)) as proxy, scaler(proxy.url) as running, grpc.insecure_channel(running.address) as channel:
        keda = Keda(channel)
        keda.wanted()
        proxy.hang()
        seconds = sorted(_timed(call) for _ in range(CALLS // 3) for call in (keda.spec, keda.metrics, keda.is_active))
        proxy.flow()
    p50, p99 = _percentile(seconds, 50), _percentile(seconds, 99)
    figure = f"p99 {p99:.1f} ms (p50 {p50:.1f}, max {seconds[-1] * 1000:.1f})"
    return [Bar("scaler: calls while the database hangs", figure, "p99 <= 5 ms", p99 <= 5)]


def load_bars(url: str) -> list[Bar]:
    """As many ScaledObjects as one KEDA may have, each with its two streams, asked at the pace of KEDA and of the HPA."""
    with closing(Database(url)) as database:
        for number in range(QUEUES):
            enqueue_many(database, [NewTask("bash", {}, {"queue": f"q{number}"})] * (number % 20))
    with scaler(url) as running:
        asked = asyncio.run(Load(running.address, running.process.pid).run(SECONDS))
    figure = f"{asked.share * 100:.0f} % of a core ({asked.rate:.0f}/s, p99 {asked.p99_ms:.1f} ms)"
    return [
        Bar(f"scaler: {OBJECTS:,} ScaledObjects: CPU", figure, "<= 25 % of a core", asked.share <= 0.25),
        Bar(f"scaler: {OBJECTS:,} ScaledObjects: failed calls", str(asked.failed), "0", asked.failed == 0),
        Bar(f"scaler: {OBJECTS:,} ScaledObjects: memory", f"{asked.rss_mib:.0f} MiB", "<= 256 MiB", asked.rss_mib <= 256),
    ]


def activation_bars(url: str) -> list[Bar]:
    """From the commit of a task, while nothing is to be done, to the word on the stream."""
    with closing(Database(url)) as database, scaler(url) as running, grpc.insecure_channel(running.address) as channel:
        keda = Keda(channel)
        told = keda.activity()
        assert told.next().result is False
        seconds = sorted(_activation(database, told) for _ in range(ACTIVATIONS))
    p95 = _percentile(seconds, 95)
    figure = f"p95 {p95:.1f} ms (p50 {_percentile(seconds, 50):.1f})"
    return [Bar("scaler: commit to the word on the stream", figure, "p95 <= 25 ms", p95 <= 25)]


MEASUREMENTS: dict[str, Measure] = {"hang": hang_bars, "load": load_bars, "activation": activation_bars}


@dataclass(frozen=True, slots=True)
class Asked:
    """share: of one core. rate: calls a second."""

    share: float
    rate: float
    failed: int
    p99_ms: float
    rss_mib: float


class Load:
    """The calls of KEDA and of the HPA for many ScaledObjects, over one connection, evenly spread over their intervals."""

    def __init__(self, address: str, pid: int) -> None:
        self._address = address
        self._pid = pid
        self._seconds: list[float] = []
        self._failed = 0

    async def run(self, seconds: float) -> Asked:
        """Asks for so long, after a start that is not measured."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            refs = [_ref(number) for number in range(OBJECTS)]
            streams = [self._stream(channel, method, ref) for ref in refs for method in ("StreamIsActive", "StreamMetricSpec")]
            for stream in streams:
                await stream.read()
            await self._ask(channel, refs, TICK_SECONDS / 3)
            self._seconds.clear()
            before, begun = _cpu_seconds(self._pid), time.monotonic()
            await self._ask(channel, refs, seconds)
            took = time.monotonic() - begun
            share = (_cpu_seconds(self._pid) - before) / took
            for stream in streams:
                stream.cancel()
        return Asked(share, len(self._seconds) / took, self._failed, _percentile(sorted(self._seconds), 99), _rss_mib(self._pid))

    async def _ask(self, channel: grpc.aio.Channel, refs: Sequence[ScaledObjectRef], seconds: float) -> None:
        calls = {
            "GetMetricSpec": refs,
            "GetMetrics": [GetMetricsRequest(scaledObjectRef=ref, metricName="halfstep-wanted") for ref in refs],
            "IsActive": refs,
        }
        asks: dict[str, Any] = {method: channel.unary_unary(PATH + method, request_serializer=_bytes) for method in calls}
        pause = 1 / (OBJECTS / POLL_SECONDS + OBJECTS / TICK_SECONDS)
        begun, number, pending = time.monotonic(), 0, set()
        while (now := time.monotonic()) < begun + seconds:
            if begun + number * pause > now:
                await asyncio.sleep(begun + number * pause - now)
            which = number % len(refs)
            task = asyncio.create_task(self._evaluate([(asks[method], calls[method][which]) for method in calls]))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
        await asyncio.gather(*pending)

    async def _evaluate(self, calls: Sequence[tuple[Any, Any]]) -> None:
        for ask, request in calls:
            begun = time.monotonic()
            try:
                await ask(request)
            except grpc.RpcError:
                self._failed += 1
            self._seconds.append(time.monotonic() - begun)

    def _stream(self, channel: grpc.aio.Channel, method: str, ref: ScaledObjectRef) -> Any:
        return channel.unary_stream(PATH + method, request_serializer=_bytes)(ref)


@contextmanager
def scaler(url: str) -> Iterator[ScalerProcess]:
    """A scaler that has read the demand."""
    with tempfile.TemporaryDirectory() as folder:
        running = ScalerProcess(url, Path(folder) / "log", **SERVE)
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.kill()


def _activation(database: Database, told: Any) -> float:
    waits = "SELECT waiting FROM halfstep.scaler WHERE seen_at > clock_timestamp() - interval '60 s'"
    wait_until(lambda: [row["waiting"] for row in database.execute(waits)] == [["default"]], what="the scaler to wait")
    begun = time.monotonic()
    enqueue(database, "bash")
    assert told.next().result is True
    seconds = time.monotonic() - begun
    database.execute("DELETE FROM halfstep.task")
    while told.next().result:
        pass
    return seconds


def _ref(number: int) -> ScaledObjectRef:
    queue = number % QUEUES
    metadata = {
        "scalerAddress": "halfstep-scaler.halfstep:9443", "queues": f"q{queue},q{(queue + 1) % QUEUES}", "placement": "worker",
        "slots": "4", "maxReplicas": "100", "policy": "backlog",
    }  # fmt: skip
    return ScaledObjectRef(name=f"workers-{number}", namespace=f"team-{number % 50}", scalerMetadata=metadata)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Milliseconds, of ordered seconds."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
