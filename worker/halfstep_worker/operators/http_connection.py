"""Connections whose every wait ends at one moment: connecting, the TLS handshake, sending, each byte of headers and body.

urllib3 and http.client bound each read by itself, so a server that sends a byte a second would never be too slow.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
from typing import Any

import urllib3
from urllib3.response import GzipDecoderState
from urllib3.util.ssl_ import create_urllib3_context


def pool_for(scheme: str, address: str, port: int, *, host: str, end: float) -> urllib3.HTTPConnectionPool:
    """Of one connection, to `address`, whose certificate must be that of `host`. end: by `time.monotonic()`."""
    if scheme == "http":
        return _Pool(address, port, maxsize=1, end=end)
    context = create_urllib3_context()
    context.load_default_certs()
    context.sslsocket_class = _TlsSocket
    name = host.rstrip(".")
    return _TlsPool(address, port, maxsize=1, ssl_context=context, server_hostname=name, assert_hostname=name, end=end)


def left(end: float) -> float:
    """Seconds until `end`. TimeoutError: it has come."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def reason_of(error: Exception) -> str:
    """One line, without the address or URL that libraries put into theirs."""
    causes = (error, *error.args[-1:])
    if any(isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError) for cause in causes):
        return "it took longer than its timeout"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"its certificate was refused ({_last_words(error)})"
    return _last_words(error)


def _last_words(error: Exception) -> str:
    cause = error.args[-1] if error.args else error
    return str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(error).__name__


def is_unpacked(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether a packed body that was read to its end came to the end of what was packed: urllib3 takes half of it for all."""
    decoder = getattr(response, "_decoder", None)
    return response.tell() == 0 or all(map(_has_ended, getattr(decoder, "_decoders", [decoder])))


def _has_ended(decoder: Any) -> bool:
    """True also for what says nothing of it; and for gzip with something else behind its end, which is passed over."""
    unpacks = getattr(decoder, "_obj", None)
    is_finished = getattr(unpacks, "is_finished", None)
    if is_finished is not None:
        return bool(is_finished())
    return getattr(unpacks, "eof", True) or getattr(decoder, "_state", None) == GzipDecoderState.SWALLOW_DATA


class _Socket(socket.socket):
    """Waits no longer than until `end`, whoever sets which time-out."""

    end = math.inf

    def recv_into(self, *args: Any, **named: Any) -> int:
        self._bound()
        return super().recv_into(*args, **named)

    def send(self, *args: Any, **named: Any) -> int:
        self._bound()
        return super().send(*args, **named)

    def sendall(self, *args: Any, **named: Any) -> None:
        self._bound()
        super().sendall(*args, **named)

    def _bound(self) -> None:
        if self.end < math.inf:
            self.settimeout(left(self.end))


class _TlsSocket(_Socket, ssl.SSLSocket):
    """Its handshake is bounded as a whole by the time-out of the socket that it is made of."""


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        """An answer before the answer, as 103 Early Hints, is passed over as 100 Continue is."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, (100 if 102 <= status <= 199 else status), reason


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response

    def __init__(self, *args: Any, end: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._end = end

    def _new_conn(self) -> socket.socket:
        self.timeout = left(self._end)
        made = super()._new_conn()
        ours = _Socket(made.family, made.type, made.proto, fileno=made.detach())
        ours.end = self._end
        ours.settimeout(left(self._end))
        return ours


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _Socket):
            self.sock.end = self._end


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
