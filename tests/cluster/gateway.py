"""A way to the API server that the tests can hold up: plain HTTP on loopback, passed on with the tests' credentials."""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster.kube import Cluster

CREATES_A_POD = re.compile(r"/api/v1/namespaces/[^/]+/pods(\?|$)")
OURS = ("host", "connection", "accept-encoding", "authorization", "transfer-encoding")
"""Headers that belong to one of the two ways only."""


class Gateway:
    """Creates of pods wait at two gates: `asked` before the API server hears of them, `answered` when it has carried them out."""

    def __init__(self, cluster: Cluster) -> None:
        self.asked, self.answered = threading.Event(), threading.Event()
        self.open()
        self.waited = 0
        """Creates that have come to a closed gate so far."""
        self._counting = threading.Lock()
        self.cluster = cluster
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gateway = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def open(self) -> None:
        """Nothing is held up any more."""
        self.asked.set()
        self.answered.set()

    def kubeconfig(self, file: Path) -> Path:
        """Writes one that leads here."""
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "nobody"}}
        users = [{"name": "nobody", "user": {}}]
        file.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "c"}))
        return file

    def close(self) -> None:
        """Calls that are open end with their clients."""
        self.open()
        self._server.shutdown()
        self._server.server_close()

    def wait_at(self, gate: threading.Event) -> None:
        """Passes when the gate is open."""
        if not gate.is_set():
            with self._counting:
                self.waited += 1
            gate.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gateway: Gateway

    def handle_error(self, *_: object) -> None:
        """Clients come and go; what is wrong, they say themselves."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass_on(self) -> None:
        gateway = self.server.gateway
        creates = self.command == "POST" and CREATES_A_POD.match(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        if creates:
            gateway.wait_at(gateway.asked)
        answer = self._ask(body)
        if creates:
            gateway.wait_at(gateway.answered)
        with suppress(OSError):  # the client has gone
            self._tell(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _pass_on

    def _ask(self, body: bytes | None) -> Any:
        api: Any = self.server.gateway.cluster.api
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OURS}
        headers |= {one["key"]: one["value"] for one in api.configuration.auth_settings().values() if one["value"]}
        return api.rest_client.pool_manager.urlopen(
            self.command, api.configuration.host + self.path, body=body, headers=headers,
            retries=False, redirect=False, preload_content=False,
        )  # fmt: skip

    def _tell(self, answer: Any) -> None:
        """In chunks, as it comes: it may be a watch."""
        self.send_response(answer.status)
        for name in ("Content-Type", "Retry-After"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while piece := answer.read1(1 << 16):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        finally:
            answer.close()

    def log_message(self, *_: object) -> None:
        """Silent."""
