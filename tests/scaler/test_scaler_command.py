"""`halfstep scaler`: its settings, what it refuses, and that it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from halfstep.errors import InvalidSettings
from halfstep_cli.commands.scaler import Door, Pace, Shown, _settings
from halfstep_cli.session import Session
from halfstep_scaler.settings import Address, TlsFiles
from scaler.keda import Keda  # noqa: TID251
from waiting import PATIENCE, wait_until

URL = "postgresql://me:secret@127.0.0.1:1/x"
SESSION = Session(environment={"HALFSTEP_DATABASE_URL": URL, "HALFSTEP_DIRECT_DATABASE_URL": URL + "y"})


def test_flags_become_settings() -> None:
    door = Door("0.0.0.0:1", ["a/b,c/*", "d/e"], Path("crt"), Path("key"), Path("ca"))
    settings = _settings(SESSION, door, Pace(5.0, 0.5, notify=False), Shown("amy", "0.0.0.0:2", exporter=False))
    assert (settings.database_url, settings.listen_url, settings.notify) == (URL, URL + "y", False)
    assert (settings.listen, settings.allow) == (Address("0.0.0.0", 1), ["a/b", "c/*", "d/e"])
    assert settings.tls == TlsFiles(Path("crt"), Path("key"), Path("ca"))
    assert (settings.max_age, settings.poll_seconds, settings.name) == (5.0, 0.5, "amy")
    assert (settings.metrics, settings.exporter) == ("0.0.0.0:2", False)


def test_without_flags_it_serves_this_machine_only() -> None:
    settings = _settings(SESSION, Door(), Pace(), Shown())
    settings.check()
    assert (settings.listen, settings.tls, settings.allow, settings.metrics) == (Address("127.0.0.1", 9443), None, None, None)
    assert settings.name


@pytest.mark.parametrize(
    ("door", "words"),
    [
        (Door(tls_cert=Path("a")), "belong together"),
        (Door(tls_key=Path("a")), "belong together"),
        (Door(client_ca=Path("a")), "needs --tls-cert and --tls-key too"),
        (Door(listen="9443"), "An address to listen on looks like"),
    ],
)
def test_half_of_what_is_needed_is_refused(door: Door, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        _settings(SESSION, door, Pace(), Shown())


def test_the_command_answers_until_a_signal(database_url: str, tmp_path: Path, channels: Callable[..., grpc.Channel]) -> None:
    log = tmp_path / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-P", "-m", "halfstep_cli.main", "scaler", "--listen", "127.0.0.1:0"],
            env=kept | {"PYTHONPATH": os.pathsep.join(sys.path), "HALFSTEP_DATABASE_URL": database_url},
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_until(lambda: "ready." in log.read_text() or running.poll() is not None, what="the scaler")
        address = log.read_text().split("answers on ")[1].split()[0]
        assert Keda(channels(address)).is_active() is False
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=PATIENCE) == 0
    finally:
        running.kill()
        running.wait()
