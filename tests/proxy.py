"""A TCP proxy on loopback between a process and PostgreSQL that can be told to fail. Threads of its own."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from urllib.parse import urlsplit

Pair = tuple[socket.socket, socket.socket]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends a reset


class Proxy:
    """In front of the server of `url`; `url` of the proxy leads through it. Used by a test from one thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        self._pairs: list[Pair] = []
        self._down = False
        self._marker: bytes | None = None
        self._delay = 0.0
        self._open = threading.Event()
        self._open.set()
        self.lost = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_reply_to(self, marker: bytes) -> None:
        """The next statement that contains `marker` reaches the server, its reply is thrown away, and the connection ends."""
        self.lost.clear()
        self._marker = marker

    def slow_down(self, seconds: float) -> None:
        """Whatever passes, either way, passes that much later. 0: at once."""
        self._delay = seconds

    def swallow(self) -> None:
        """A black hole: connections stay, nothing passes any more, and new ones are taken and get no answer."""
        self._open.clear()

    def let_pass(self) -> None:
        """The end of the black hole; what waited in it passes."""
        self._open.set()

    def reset(self) -> None:
        """All connections end at once with a reset. New ones work."""
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._end(pair)

    def take_down(self) -> None:
        """Ends all connections and refuses new ones."""
        self._down = True
        for pair in list(self._pairs):
            self._end(pair)

    def bring_up(self) -> None:
        """Connections work again."""
        self._down = False

    def lead_to(self, url: str) -> None:
        """From now on new connections go to the server of `url`, as after a failover; the old ones end."""
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        for pair in list(self._pairs):
            self._end(pair)

    def close(self) -> None:
        """Ends everything."""
        self._open.set()
        self.take_down()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._open.wait()
        try:
            if self._down:
                raise ConnectionRefusedError
            pair = (client, socket.create_connection(self._server))
        except OSError:
            client.close()
            return
        self._pairs.append(pair)
        losing = threading.Event()
        for side in (0, 1):
            threading.Thread(target=self._pump, args=(pair, side, losing), daemon=True).start()

    def _pump(self, pair: Pair, side: int, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := pair[side].recv(1 << 16):
                if self._delay:
                    threading.Event().wait(self._delay)
                self._open.wait()
                if side == 0 and self._marker and self._marker in data:
                    self._marker = None
                    losing.set()
                if side == 1 and losing.is_set():
                    self.lost.set()
                    break
                pair[1 - side].sendall(data)
        self._end(pair)

    def _end(self, pair: Pair) -> None:
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with suppress(ValueError):
            self._pairs.remove(pair)
