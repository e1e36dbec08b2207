"""The scaler as a process: a gRPC server on one event loop, and beside it the threads that talk to the database."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import grpc
from prometheus_client import CollectorRegistry

from halfstep.database import ConnectionSettings
from halfstep.errors import InvalidSettings
from halfstep.events import emit
from halfstep.hints import HintListener
from halfstep_scaler import events as _words  # noqa: F401  the words of what is emitted here
from halfstep_scaler.board import Board
from halfstep_scaler.care import Care
from halfstep_scaler.direct.pilot import Pilot
from halfstep_scaler.direct.wishes import Wishes
from halfstep_scaler.gauges import Gauges
from halfstep_scaler.health import Health
from halfstep_scaler.monitoring import Monitoring, Vitals
from halfstep_scaler.objects import AllowList, ScaledObjects
from halfstep_scaler.reader import Reader
from halfstep_scaler.service import ScalerService
from halfstep_scaler.settings import Address, ScalerSettings
from halfstep_scaler.snapshot import Snapshot
from halfstep_scaler.streams import Streams
from halfstep_scaler.tls import server_credentials

TURN_SECONDS = 0.5
LISTENER = ConnectionSettings("halfstep scaler listener", connect_timeout=2)
LEAVE_SECONDS = 3.0
MOST_CALLS = 20_000
OPTIONS = (
    # KEDA never pings, and a connection of which only one side knows can be silent for hours: the server asks.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # When KEDA starts, all its streams come at once: a thousand by default, the others would be cancelled.
    ("grpc.max_concurrent_streams", MOST_CALLS),
    ("grpc.server.max_pending_requests", MOST_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MOST_CALLS),
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.so_reuseport", 0),  # a second process on the port is an error, not a rival
)


class Scaler:
    """`run` blocks until TERM or INT. Raises InvalidSettings before anything is served."""

    def __init__(self, settings: ScalerSettings) -> None:
        settings.check()
        self._settings = settings
        self._credentials = server_credentials(settings.tls) if settings.tls else None
        registry = CollectorRegistry()
        self._vitals = Vitals()
        self._monitoring = Monitoring(settings, registry, self._vitals)
        self._board = Board(max_age=settings.max_age, clock=time.monotonic)
        self._objects = ScaledObjects(AllowList(settings.allowed), clock=time.monotonic, on_change=lambda: self._reader.hint())
        refusals = self._objects.refusals
        self._gauges = Gauges(registry, age=lambda: self._board.age, refused=lambda: len(refusals.listed))
        streams = Streams(self._board, settings, clock=time.monotonic)
        self._service = ScalerService(self._objects, self._board, streams, gauges=self._gauges, clock=time.monotonic)
        self._reader = Reader(
            settings, targets=lambda: self._objects.targets, publish=self._publish, refused=lambda: refusals.listed
        )
        self._care = Care(settings.database_url, idle=lambda: self._board.is_idle)
        listen_url = settings.listen_url or settings.database_url
        self._listener = HintListener(listen_url, lambda _: self._reader.hint(), settings=LISTENER) if settings.notify else None
        self._pilot = Pilot(settings) if settings.direct_scale or settings.busy_aware else None
        self._wishes = Wishes(self._objects, self._pilot.names if self._pilot else (), clock=time.monotonic)

    def run(self) -> int:
        """The exit code: 0 after a signal, 1 if a part of it failed, so that it has to be started anew."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
        server.add_generic_rpc_handlers((self._service.handlers(),))
        health = Health(server)
        await health.tell(ready=False, fresh=False)
        address = self._bind(server)
        self._monitoring.start()
        await server.start()
        self._start(address)
        code = await self._serve(health, stop)
        await self._leave(server, health)
        return code

    def _bind(self, server: grpc.aio.Server) -> Address:
        wanted = self._settings.listen
        try:
            if self._credentials is None:
                port = server.add_insecure_port(str(wanted))
            else:
                port = server.add_secure_port(str(wanted), self._credentials)
        except RuntimeError:
            raise InvalidSettings(
                f"The scaler can't listen on {wanted}: the port is taken, or the address is not one of this machine."
            ) from None
        return Address(wanted.host, port)

    def _start(self, address: Address) -> None:
        tls = self._settings.tls
        security = "no TLS" if tls is None else "TLS, clients with certificates only" if tls.client_ca else "TLS"
        emit("scaler.started", name=self._settings.name, address=address, security=security)
        for thread in self._threads():
            thread.start()

    async def _serve(self, health: Health, stop: asyncio.Event) -> int:
        """Until told to stop; now and then looks after what can't look after itself."""
        while not stop.is_set():
            for thread in self._threads():
                if not thread.is_alive():
                    emit("scaler.broken", part=thread.name)
                    return 1
            self._reader.look_after()
            self._care.look_after()
            if self._pilot:
                self._pilot.look_after()
            self._forget()
            self._vitals.turned_at = time.monotonic()
            await health.tell(ready=self._board.age is not None, fresh=self._board.is_fresh)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TURN_SECONDS)
        return 0

    async def _leave(self, server: grpc.aio.Server, health: Health) -> None:
        emit("scaler.stopping")
        self._vitals.trouble = "The scaler is leaving."
        await health.leave()
        self._board.close()  # streams end with OK: KEDA comes back in two seconds instead of backing off
        await server.stop(self._settings.stop_seconds)
        stop_all([*self._threads(), self._monitoring], seconds=LEAVE_SECONDS)
        emit("scaler.stopped", name=self._settings.name)

    def _threads(self) -> list[Reader | Care | HintListener | Pilot]:
        optional = [each for each in (self._listener, self._pilot) if each]
        return [self._reader, self._care, *optional]

    def _publish(self, snapshot: Snapshot) -> None:
        """Called by the reader's thread."""
        with suppress(RuntimeError):  # the loop has ended before a thread that hung
            self._loop.call_soon_threadsafe(self._hang_up, snapshot)

    def _hang_up(self, snapshot: Snapshot) -> None:
        if self._board.age is None:
            self._vitals.trouble = ""
            emit("scaler.ready")
        self._board.publish(snapshot)
        if self._pilot:
            self._pilot.note(self._wishes.of(snapshot))

    def _forget(self) -> None:
        self._objects.refusals.age()
        gone = self._objects.forget()
        for namespace, name in {(one.namespace, one.name) for one in gone} - self._objects.names():
            self._gauges.forget(namespace, name)


class Part(Protocol):
    """What can be stopped."""

    def stop(self) -> None:
        """Returns when it has ended."""
        ...


def stop_all(parts: Iterable[Part], *, seconds: float) -> None:
    """Stops all at the same time; who has not ended by then ends with the process, as a database may hang for ever."""
    stopping = [threading.Thread(target=part.stop, daemon=True) for part in parts]
    for thread in stopping:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in stopping:
        thread.join(max(0.0, deadline - time.monotonic()))
