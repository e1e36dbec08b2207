"""A scaler process, and a gRPC client that asks it as KEDA would."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from halfstep_scaler.proto.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    ScaledObjectRef,
)
from proxy import Proxy
from waiting import PATIENCE, wait_until

HERE = Path(__file__).parent
PATH = "/externalscaler.ExternalScaler/"
QUICK: dict[str, Any] = {"poll_seconds": 0.3, "stop_seconds": 2.0}


class ScalerProcess:
    """One scaler. `address` once it listens."""

    def __init__(self, url: str, log: Path, **settings: Any) -> None:
        self.log = log
        self.name = f"scaler-{uuid.uuid4()}"
        given = QUICK | {"name": self.name, "database_url": url} | settings
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "run_scaler.py")],
                env=os.environ | {
                    "HALFSTEP_TEST_SETTINGS": json.dumps(given),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                stdout=out,
                stderr=out,
            )  # fmt: skip

    @property
    def address(self) -> str:
        """Where it listens."""
        found = wait_until(lambda: re.search(r"answers on (\S+)", self.said()) or self._ended(), what="the scaler to listen")
        assert isinstance(found, re.Match), self.said()
        return str(found[1])

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()

    def wait_until_ready(self) -> None:
        """Returns once the demand was read."""
        wait_until(lambda: "ready." in self.said() or self._ended(), what="the first snapshot")
        assert self.process.poll() is None, self.said()

    def stop(self, *, seconds: float = PATIENCE) -> int:
        """Asks it to leave; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait(timeout=PATIENCE)

    def _ended(self) -> bool:
        return self.process.poll() is not None


class HangingProxy(Proxy):
    """A proxy that can hold everything back: connections stay, nothing comes through. So does a server that hangs."""

    def __init__(self, url: str) -> None:
        self._flowing = threading.Event()
        self._flowing.set()
        super().__init__(url)

    def hang(self) -> None:
        """From now on nothing comes through."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back comes through, and everything after it."""
        self._flowing.set()

    def close(self) -> None:
        """Ends everything."""
        self.flow()
        super().close()

    def _pump(self, pair: tuple[socket.socket, socket.socket], side: int, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := pair[side].recv(1 << 16):
                self._flowing.wait()
                pair[1 - side].sendall(data)
        self._end(pair)


class Told:
    """What a stream says, taken in by a thread of its own."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._words: queue.Queue[Any] = queue.Queue()
        self.code: grpc.StatusCode | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self, *, seconds: float = PATIENCE) -> Any:
        """The next word. queue.Empty if none comes in time."""
        return self._words.get(timeout=seconds)

    def end(self, *, seconds: float = PATIENCE) -> grpc.StatusCode | None:
        """How the stream ended."""
        assert self._ended.wait(seconds), "the stream did not end"
        return self.code

    def cancel(self) -> None:
        """The client ends it."""
        self._call.cancel()

    def _listen(self) -> None:
        try:
            for word in self._call:
                self._words.put(word)
        except grpc.RpcError:
            pass
        self.code = self._call.code()
        self._ended.set()


class Keda:
    """Asks for one ScaledObject. Raises grpc.RpcError."""

    def __init__(
        self, channel: grpc.Channel, metadata: Mapping[str, str] | None = None, *, namespace: str = "shop", name: str = "workers"
    ) -> None:
        self.channel = channel
        given = {"queues": "default", "slots": "4"} if metadata is None else metadata
        self.ref = ScaledObjectRef(name=name, namespace=namespace, scalerMetadata={"scalerAddress": "x:1", **given})

    def is_active(self) -> bool:
        """IsActive."""
        return bool(self._unary("IsActive", IsActiveResponse)(self.ref, timeout=PATIENCE).result)

    def spec(self) -> Any:
        """GetMetricSpec."""
        return self._unary("GetMetricSpec", GetMetricSpecResponse)(self.ref, timeout=PATIENCE)

    def metrics(self) -> Any:
        """GetMetrics."""
        request = GetMetricsRequest(scaledObjectRef=self.ref, metricName="halfstep-wanted")
        return self._unary("GetMetrics", GetMetricsResponse)(request, timeout=PATIENCE)

    def wanted(self) -> int:
        """The metric's value."""
        return int(self.metrics().metricValues[0].metricValueFloat)

    def activity(self) -> Told:
        """StreamIsActive."""
        return Told(self.activity_call())

    def activity_call(self) -> Any:
        """StreamIsActive, for who reads it without a thread."""
        return self._stream("StreamIsActive", IsActiveResponse)(self.ref)

    def specs(self) -> Told:
        """StreamMetricSpec."""
        return Told(self._stream("StreamMetricSpec", GetMetricSpecResponse)(self.ref))

    def health(self, service: str = "") -> str:
        """What grpc.health.v1 says."""
        answer = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def _unary(self, method: str, answer: Any) -> Any:
        return self.channel.unary_unary(
            PATH + method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
        )

    def _stream(self, method: str, answer: Any) -> Any:
        return self.channel.unary_stream(
            PATH + method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
        )


def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """The status with which a call fails."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"answered with {answer}")
