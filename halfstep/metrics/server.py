"""/metrics, /healthz and /readyz over plain HTTP: on loopback, unless it is told to listen elsewhere."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from halfstep.errors import InvalidSettings

SILENCE_SECONDS = 5.0
"""A client that says nothing for this long is let go."""


class Health(Protocol):
    """What the probes ask. Both are called by the server's threads and must answer at once, from memory."""

    def healthy(self) -> str:
        """Empty, or in one sentence why this process should be started anew."""
        ...

    def ready(self) -> str:
        """Empty, or in one sentence why it does not serve."""
        ...


@dataclass(frozen=True, slots=True)
class AlwaysWell:
    """The health of what has no loop to watch."""

    def healthy(self) -> str:
        return ""

    def ready(self) -> str:
        return ""


class MetricsServer:
    """Serves from `start` to `stop`; both return when it is done, and either twice is fine."""

    def __init__(self, listen: str, registry: CollectorRegistry, health: Health | None = None) -> None:
        self._host, self._port = parse_listen(listen)
        self._answers = _Answers(registry, health or AlwaysWell())
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens, once it was started: port 0 means one that is free."""
        return self._server.server_address[1] if self._server else self._port

    def start(self) -> None:
        """Listens. Raises InvalidSettings if the address can't be used."""
        if self._server is not None:
            return
        try:
            self._server = _server_class(self._host)((self._host, self._port), _handler_of(self._answers))
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise InvalidSettings(
                f"Metrics can't be served at {where}: {error.strerror or error}; choose another --metrics."
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join(timeout=10)


def parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT as a pair: "9090" is loopback, ":9090" every address, "[::1]:9090" one of IPv6. Raises InvalidSettings."""
    host, colon, port = text.strip().rpartition(":")
    if not port.isdigit() or not port.isascii() or int(port) > 65535:
        raise InvalidSettings(f"The address for metrics is HOST:PORT, like 127.0.0.1:9090 or :9090, not '{text}'.")
    if not colon:
        return "127.0.0.1", int(port)
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


@dataclass(frozen=True, slots=True)
class _Answers:
    registry: CollectorRegistry
    health: Health

    def to(self, path: str, accepted: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        match path.partition("?")[0]:
            case "/metrics":
                encode, kind = choose_encoder(accepted)
                return 200, kind, encode(self.registry)
            case "/healthz":
                return _probe(self.health.healthy())
            case "/readyz":
                return _probe(self.health.ready())
            case _:
                return 404, "text/plain; charset=utf-8", b"There are /metrics, /healthz and /readyz.\n"


def _probe(trouble: str) -> tuple[int, str, bytes]:
    return 503 if trouble else 200, "text/plain; charset=utf-8", f"{trouble or 'ok'}\n".encode()


def _handler_of(answers: _Answers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SILENCE_SECONDS
        server_version, sys_version = "halfstep", ""

        def do_GET(self) -> None:
            try:
                status, kind, body = answers.to(self.path, self.headers.get("Accept", ""))
            except Exception as error:  # a collector's fault must be seen by whoever scrapes, not in a thread's traceback
                status, kind, body = 500, "text/plain; charset=utf-8", f"{type(error).__name__}: {error}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds; nobody wants to read of them."""

    return Handler


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away in the middle is no news."""

    return Server
