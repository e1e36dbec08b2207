"""A server on the loopback interface that sends what a test says, byte by byte if it is told to, whatever HTTP asks for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Act = Callable[["Peer"], None]


class Peer:
    """One client. `ended` is set when the test is over: whoever drips stops then."""

    def __init__(self, client: socket.socket, ended: threading.Event) -> None:
        self.socket = client
        self.ended = ended

    def request(self) -> bytes:
        """The head of the request, and of its body what came along."""
        seen = b""
        while b"\r\n\r\n" not in seen and (more := self.socket.recv(65536)):
            seen += more
        return seen

    def send(self, data: bytes) -> None:
        """All of it at once."""
        self.socket.sendall(data)

    def drip(self, data: bytes, *, pause: float = 0.02) -> None:
        """Byte by byte, again and again, until the test is over."""
        while not self.ended.is_set():
            for byte in data:
                if self.ended.wait(pause):
                    return
                self.send(bytes([byte]))

    def reset(self) -> None:
        """Breaks the connection off without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class RawServer:
    """seen: the heads of all requests."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.seen: list[bytes] = []
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._meet, args=(client,), daemon=True).start()

    def _meet(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self._act(Peer(client, self._ended))

    def close(self) -> None:
        """Nobody is served any more."""
        self._ended.set()
        self._listening.close()


@contextmanager
def raw_server(act: Act) -> Iterator[RawServer]:
    """`act` meets every client, in a thread of its own."""
    server = RawServer(act)
    try:
        yield server
    finally:
        server.close()


def answers(data: bytes) -> Act:
    """Reads the request, sends `data` and hangs up."""

    def act(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return act
