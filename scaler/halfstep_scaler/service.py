"""KEDA's five calls, each answered from memory: no handler waits for anything but its client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import grpc

from halfstep_scaler.answers import ACTIVITY, METRIC_SPEC, metric_value
from halfstep_scaler.board import Board
from halfstep_scaler.errors import Refused
from halfstep_scaler.gauges import Gauges
from halfstep_scaler.objects import ScaledObject, ScaledObjects
from halfstep_scaler.proto.externalscaler_pb2 import DESCRIPTOR, GetMetricsRequest, ScaledObjectRef
from halfstep_scaler.streams import Streams

SERVICE: str = DESCRIPTOR.services_by_name["ExternalScaler"].full_name

Context = grpc.aio.ServicerContext[Any, bytes]
Unary = Callable[[Any, Context], Awaitable[bytes]]
Stream = Callable[[ScaledObjectRef, Context], AsyncIterator[bytes]]


class ScalerService:
    """`handlers` is what a gRPC server serves."""

    def __init__(
        self, objects: ScaledObjects, board: Board, streams: Streams, *, gauges: Gauges, clock: Callable[[], float]
    ) -> None:
        self._objects = objects
        self._board = board
        self._streams = streams
        self._gauges = gauges
        self._clock = clock

    def handlers(self) -> grpc.GenericRpcHandler:
        """Answers are bytes already; only requests are parsed."""
        parse = ScaledObjectRef.FromString
        return grpc.method_handlers_generic_handler(SERVICE, {
            "IsActive": grpc.unary_unary_rpc_method_handler(self._unary("IsActive", self.is_active), parse),
            "GetMetricSpec": grpc.unary_unary_rpc_method_handler(self._unary("GetMetricSpec", self.metric_spec), parse),
            "GetMetrics": grpc.unary_unary_rpc_method_handler(
                self._unary("GetMetrics", self.metrics), GetMetricsRequest.FromString
            ),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(self._stream(self._streams.activity), parse),
            "StreamMetricSpec": grpc.unary_stream_rpc_method_handler(self._stream(self._streams.metric_spec), parse),
        })  # fmt: skip

    def is_active(self, ref: ScaledObjectRef) -> bytes:
        """Waiting, running or parked work. Raises Refused, as the two below."""
        asking = self._objects.find(ref)
        return ACTIVITY[self._board.fresh().is_active(asking.target)]

    def metric_spec(self, ref: ScaledObjectRef) -> bytes:
        """The same for everybody, always, even before the database was ever reached, and for whom all else is refused.

        KEDA shows nobody why this call failed, and counts no failure for its `fallback`; of `GetMetrics` it does both.
        """
        with suppress(Refused):
            self._objects.find(ref)
        return METRIC_SPEC

    def metrics(self, request: GetMetricsRequest) -> bytes:
        """The wanted number of replicas."""
        return metric_value(self.wanted(self._objects.find(request.scaledObjectRef)))

    def wanted(self, asking: ScaledObject) -> int:
        """How many replicas this ScaledObject should have now, steadied. Raises NoSnapshot."""
        number = asking.wanted(self._board.fresh(), self._clock())
        self._gauges.wanted(asking, number)
        return number

    def _unary(self, method: str, answer: Callable[[Any], bytes]) -> Unary:
        timed = self._gauges.timer(method)

        async def called(request: Any, context: Context) -> bytes:
            begun = self._clock()
            try:
                return answer(request)
            except Refused as refused:
                await context.abort(refused.code, refused.told)
            finally:
                timed(self._clock() - begun)

        return called

    def _stream(self, open_stream: Callable[[ScaledObject], AsyncGenerator[bytes, None]]) -> Stream:
        async def called(ref: ScaledObjectRef, context: Context) -> AsyncIterator[bytes]:
            try:
                asking = self._objects.find(ref)
            except Refused as refused:
                await context.abort(refused.code, refused.told)
            async with aclosing(open_stream(asking)) as answers:
                async for answer in answers:
                    yield answer

        return called
