"""Scalers as real processes, against a database of the test's own, asked by a real gRPC client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from scaler.keda import HangingProxy, Keda, ScalerProcess  # noqa: TID251


@pytest.fixture
def start_scaler(database_url: str, tmp_path: Path) -> Iterator[Callable[..., ScalerProcess]]:
    """Starts scalers; those that still run at the end are killed. Keyword arguments are ScalerSettings."""
    started: list[ScalerProcess] = []

    def start(*, url: str = database_url, ready: bool = True, **settings: Any) -> ScalerProcess:
        started.append(ScalerProcess(url, tmp_path / f"scaler-{len(started)}.log", **settings))
        if ready:
            started[-1].wait_until_ready()
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


@pytest.fixture
def channels() -> Iterator[Callable[..., grpc.Channel]]:
    """Opens channels; they are closed at the end."""
    with ExitStack() as stack:

        def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None, **options: Any) -> grpc.Channel:
            arguments = list(options.items())
            if credentials is None:
                return stack.enter_context(grpc.insecure_channel(address, arguments))
            return stack.enter_context(grpc.secure_channel(address, credentials, arguments))

        yield open_channel


@pytest.fixture
def keda(start_scaler: Callable[..., ScalerProcess], channels: Callable[..., grpc.Channel]) -> Keda:
    """A client of a scaler that has read the demand: queue `default`, four slots a worker."""
    return Keda(channels(start_scaler().address))


@pytest.fixture
def proxy(database_url: str) -> Iterator[HangingProxy]:
    """A proxy to the test's database."""
    with ExitStack() as stack:
        made = HangingProxy(database_url)
        stack.callback(made.close)
        yield made
