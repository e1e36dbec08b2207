"""A fake API server for faults that a real one can't be made to show. Real HTTP on loopback; pods live in memory.

It answers like the real one for the calls that a launcher makes. `meet` scripts faults: the next calls of a verb (create, get,
list, watch, log, delete, patch, events) meet them, one each.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kubernetes_store import Conflict, Expired, Invalid, PodStore, status
from waiting import PATIENCE

Json = dict[str, Any]


@dataclass(frozen=True)
class Says:
    """Answers with an error, without doing anything."""

    code: int
    message: str = "so the test wants it"
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    causes: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True)
class LosesReply:
    """Does what is asked, then breaks the connection."""


@dataclass(frozen=True)
class Holds:
    """Takes the request and answers when `go` is set; then it does what is asked, unless the client has gone."""

    go: threading.Event


@dataclass(frozen=True)
class Drips:
    """Sends a long answer one byte at a time."""


@dataclass(frozen=True)
class Silent:
    """A watch or log that says nothing, not even its end."""


@dataclass(frozen=True)
class Ends:
    """A watch that ends as soon as it is open."""


@dataclass(frozen=True)
class Cut:
    """A watch that breaks in the middle of an event."""


@dataclass(frozen=True)
class TellsError:
    """A watch whose first event is an ERROR."""

    code: int
    message: str = "too old resource version"


Fault = Says | LosesReply | Holds | Drips | Silent | Ends | Cut | TellsError


@dataclass(frozen=True)
class Seen:
    """One request as it came in. at: monotonic."""

    verb: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    at: float


class FakeCluster:
    """Close it at the end of the test."""

    def __init__(self, *, port: int = 0) -> None:
        self.store = PodStore()
        self.logs: defaultdict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
        """Of (pod, container): (nanoseconds, line with its end)."""
        self.requests: list[Seen] = []
        self.accepted: Counter[str] = Counter()
        """Objects made, by name."""
        self.closing = threading.Event()
        self.watching = 0
        self.standing: dict[str, Fault | Callable[[str, str], Fault | None]] = {}
        """By verb: what all its calls meet for as long as it stands here; or who says so of namespace and kind."""
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def kubeconfig(self, folder: Path, *, token: str = "t0ken") -> str:
        """The path of a kubeconfig file that leads here, context "fake"."""
        file = folder / "kubeconfig"
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        file.write_text(
            json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "fake",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "fake", "context": {"cluster": "c", "user": "u"}}],
            })
        )  # fmt: skip
        return str(file)

    def meet(self, verb: str, *faults: Fault) -> None:
        """The next calls of this verb meet these."""
        self._faults[verb].extend(faults)

    def next_fault(self, verb: str, namespace: str = "", kind: str = "") -> Fault | None:
        """By the server's threads."""
        with suppress(IndexError):
            return self._faults[verb].popleft()
        stands = self.standing.get(verb)
        return stands(namespace, kind) if callable(stands) else stands

    def calls(self, verb: str) -> list[Seen]:
        """The requests of this verb so far."""
        return [seen for seen in self.requests if seen.verb == verb]

    def log(self, pod: str, text: str, *, at: float, container: str = "main") -> None:
        """The container writes a line at that time (seconds since 1970)."""
        self.logs[pod, container].append((round(at * 1e9), text.encode() + b"\n"))

    def keep(self, connection: socket.socket) -> None:
        """By the server's threads: a connection to be broken at the end."""
        self._connections.add(connection)

    def close(self) -> None:
        """Breaks all connections."""
        self.closing.set()
        self.store.wake()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def fake(self) -> FakeCluster:
        return self.server.fake  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *args: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.fake.keep(self.connection)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._meet(None)

    def do_POST(self) -> None:
        self._meet(self._body())

    do_PATCH = do_DELETE = do_POST

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not data:
            raise ConnectionError("the client left before it had said all")
        return json.loads(data)

    def _meet(self, body: Any) -> None:
        parts = urlsplit(self.path)
        self._where = parts.path.removeprefix("/api/v1/namespaces/").split("/")
        self._query = dict(parse_qsl(parts.query))
        self._verb = self._verb_of()
        self.fake.requests.append(
            Seen(self._verb, parts.path, self._query, body, dict(self.headers.items()), time.monotonic())
        )  # fmt: skip
        fault = self.fake.next_fault(self._verb, *self._where[:2])
        if isinstance(fault, Holds):
            fault.go.wait(PATIENCE)
            fault = None if self._is_there() else LosesReply()
        elif isinstance(fault, LosesReply):
            self._answer(body)
        if fault is None:
            self._send(*self._answer(body))
        else:
            self._misbehave(fault)

    def _verb_of(self) -> str:
        if self.command != "GET":
            return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[self.command]
        if self._query.get("watch") == "true":
            return "watch"
        if self._where[1] == "events":
            return "events"
        return {2: "list", 3: "get", 4: "log"}[len(self._where)]

    def _is_there(self) -> bool:
        with suppress(BlockingIOError):
            return bool(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return True

    def _misbehave(self, fault: Fault) -> None:
        match fault:
            case Says():
                content = fault.body or json.dumps(status(fault.code, fault.reason, fault.message, fault.causes)).encode()
                self._send(fault.code, content, fault.headers)
            case LosesReply():
                self.close_connection = True
            case Drips():
                self._stream(b"{" for _ in iter(lambda: self.fake.closing.wait(0.05), True))
            case Silent():
                self._stream(b"" for _ in iter(self.fake.closing.wait, True))
            case Ends():
                self._stream(iter(()))
            case Cut():
                self._stream(iter([b'{"type": "MODIFIED", "object": {"meta']), whole=False)
            case TellsError():
                event = {"type": "ERROR", "object": status(fault.code, "Expired", fault.message)}
                self._stream(iter([json.dumps(event).encode() + b"\n"]))

    def _answer(self, body: Any) -> tuple[int, bytes | Iterator[bytes]]:
        namespace, kind, *name = self._where
        store = self.fake.store
        try:
            match self._verb:
                case "create" if self._query.get("dryRun") == "All":
                    return 201, json.dumps(body).encode()
                case "create":
                    made = store.create(namespace, kind, body)
                    self.fake.accepted[made["metadata"]["name"]] += 1
                    return 201, json.dumps(made).encode()
                case "get":
                    return 200, json.dumps(store.get(namespace, kind, name[0])).encode()
                case "list":
                    return 200, json.dumps(store.page(namespace, self._query)).encode()
                case "events":
                    return 200, json.dumps({"kind": "EventList", "items": store.said(self._query)}).encode()
                case "delete":
                    return 200, json.dumps(store.delete(namespace, name[0], body)).encode()
                case "patch":
                    return 200, json.dumps(store.patch(namespace, name[0], body)).encode()
                case "watch":
                    return 200, self._watch(namespace, store.check(int(self._query["resourceVersion"])))
                case _:
                    return 200, b"".join(self._log(store.get(namespace, kind, name[0])["metadata"]["name"]))
        except KeyError as missing:
            return 404, json.dumps(status(404, "NotFound", f"pods {missing.args[0]!r} not found")).encode()
        except Conflict as conflict:
            return 409, json.dumps(status(409, conflict.reason, str(conflict))).encode()
        except Invalid as invalid:
            causes = ((invalid.field, str(invalid)),)
            return 422, json.dumps(status(422, "Invalid", f"Pod is invalid: {invalid}", causes)).encode()
        except Expired:
            return 410, json.dumps(status(410, "Expired", "too old resource version")).encode()

    def _watch(self, namespace: str, version: int) -> Iterator[bytes]:
        ends = time.monotonic() + float(self._query["timeoutSeconds"])
        with suppress(Expired):  # end_watches
            for event in self.fake.store.events(namespace, version, self._query["labelSelector"], ends=ends):
                yield json.dumps(event).encode() + b"\n"

    def _log(self, pod: str) -> Iterator[bytes]:
        since = self._query.get("sinceTime", "0000")
        for at, line in list(self.fake.logs[pod, self._query["container"]]):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 10**9))
            if f"{stamp}Z" >= since:
                yield f"{stamp}.{at % 10**9:09}Z ".encode() + line

    def _send(self, code: int, content: bytes | Iterator[bytes], headers: Json | None = None) -> None:
        if not isinstance(content, bytes):
            self._stream(content)
            return
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, chunks: Iterator[bytes], *, whole: bool = True) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.fake.watching += 1
        try:
            for chunk in chunks:
                if chunk:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if whole:
                self.wfile.write(b"0\r\n\r\n")
        finally:
            self.fake.watching -= 1
        self.close_connection = not whole
