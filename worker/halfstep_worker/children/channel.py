"""One message, one system call: a SEQPACKET socket that carries text; what is too large for it travels in a memory file.

A message is taken whole by exactly one reader, which is what lets the worker take back what a child has not read yet.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import stat

INLINE_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
LARGEST_BYTES = 64 * 1024 * 1024
_FD_SPACE = socket.CMSG_SPACE(4)
_LARGE = b"@"


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends with send buffers as large as the kernel allows an ordinary user."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return ends


class Channel:
    """Text messages over one end of a socket pair. `flags`: MSG_DONTWAIT where the caller must never block."""

    def __init__(self, end: socket.socket, flags: int = 0) -> None:
        self.end = end
        # Plain numbers: the sockets module's flags are enums, whose `|` costs more than the system call.
        self._flags = int(flags)
        self._receive_flags = self._flags | int(socket.MSG_CMSG_CLOEXEC)
        self._buffer = bytearray(INLINE_BYTES)
        self._into = [self._buffer]
        self._view = memoryview(self._buffer)

    def send(self, text: str) -> None:
        """Send one message. Raises BlockingIOError if it does not fit now (nothing was sent), OSError without a reader."""
        data = text.encode()
        if len(data) <= INLINE_BYTES:
            self.end.send(data, self._flags)
        else:
            self._send_large(data)

    def _send_large(self, data: bytes) -> None:
        with open(os.memfd_create("halfstep-message", os.MFD_CLOEXEC), "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            socket.send_fds(self.end, [_LARGE], [file.fileno()], self._flags)

    def receive(self) -> str | None:
        """The next message, None at its end. Raises BlockingIOError if there is none now, ValueError for what is no message."""
        size, ancillary, _, _ = self.end.recvmsg_into(self._into, _FD_SPACE, self._receive_flags)
        if ancillary:
            return _read_large(ancillary[0][2])
        return str(self._view[:size], "utf-8") if size else None

    def close(self) -> None:
        """Close this end; twice is fine."""
        with contextlib.suppress(OSError):
            self.end.close()


def _read_large(rights: bytes) -> str:
    """What lies in a memory file; of anything else that was handed over, only that it is none: reading it could take for ever."""
    (fd,) = array.array("i", rights[:4])
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink or facts.st_size > LARGEST_BYTES:
            raise ValueError("What came is no memory file, or too large for one.")
        return os.pread(fd, facts.st_size, 0).decode()
    finally:
        os.close(fd)
