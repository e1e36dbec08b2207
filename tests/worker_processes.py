"""Real worker processes, and a proxy between them and PostgreSQL that can be told to fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
QUICK: dict[str, Any] = {
    "slots": 2,
    "lease_seconds": 2.0,
    "renew_seconds": 0.4,
    "poll_seconds": 0.3,
    "grace": 1.0,
    "stop_grace": 1.0,
}


class WorkerProcess:
    """One worker. `stop` drains it and returns its exit code."""

    def __init__(self, url: str, source: Path, log: Path, **settings: Any) -> None:
        given = QUICK | {"database_url": url, "source": str(source)} | settings
        self.name = settings.get("name", "")
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "run_worker.py")],
                env=os.environ | {"HALFSTEP_TEST_SETTINGS": json.dumps(given), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=out,
                stderr=out,
            )

    def signal(self, number: int) -> None:
        """Sends a signal to the worker process itself."""
        self.process.send_signal(number)

    def stop(self, *, seconds: float = 20) -> int:
        """Asks it to drain, and waits."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 20) -> int:
        """Its exit code."""
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait(timeout=10)


class Proxy:
    """A TCP proxy on loopback to the server of `url`. Used by tests from one thread; it runs its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._down = False
        self._marker: bytes | None = None
        self.lost = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_reply_to(self, marker: bytes) -> None:
        """The next statement that contains `marker` reaches the server, its reply is thrown away, and the connection ends."""
        self._marker = marker

    def take_down(self) -> None:
        """Ends all connections and refuses new ones."""
        self._down = True
        for pair in list(self._pairs):
            self._end(pair)

    def bring_up(self) -> None:
        """Connections work again."""
        self._down = False

    def close(self) -> None:
        """Ends everything."""
        self.take_down()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._down:
                    client.close()
                    continue
                pair = (client, socket.create_connection(self._server))
                self._pairs.append(pair)
                losing = threading.Event()
                threading.Thread(target=self._pump, args=(pair, 0, losing), daemon=True).start()
                threading.Thread(target=self._pump, args=(pair, 1, losing), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], side: int, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := pair[side].recv(1 << 16):
                if side == 0 and self._marker and self._marker in data:
                    self._marker = None
                    losing.set()
                if side == 1 and losing.is_set():
                    self.lost.set()
                    break
                pair[1 - side].sendall(data)
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        if pair in self._pairs:
            self._pairs.remove(pair)
