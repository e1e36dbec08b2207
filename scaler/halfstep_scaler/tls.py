"""Certificates for the server, read anew when their files change: cert-manager renews them while we run."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import grpc

from halfstep.errors import InvalidSettings
from halfstep.events import emit
from halfstep_scaler.settings import TlsFiles

Stamp = tuple[tuple[int, int], ...]


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that look at the files at every handshake. Raises InvalidSettings if they are of no use now."""
    pair = CertificateFiles(files)
    return grpc.dynamic_ssl_server_credentials(
        pair.current,
        pair.changed,  # type: ignore[arg-type]  # None means "as before", which the stubs don't know
        require_client_authentication=files.client_ca is not None,
    )


class CertificateFiles:
    """`changed` is called by gRPC's threads; files that are of no use leave the last good ones in force."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._guard = threading.Lock()
        self._stamp = self._look()
        self.current = self._read()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What to use from now on; None: what was used before."""
        with self._guard:
            try:
                stamp = self._look()
                if stamp == self._stamp:
                    return None
                self._stamp = stamp
                self.current = self._read()
            except InvalidSettings as error:
                emit("scaler.certificate_refused", error=str(error))
                return None
        emit("scaler.certificate_changed")
        return self.current

    def _look(self) -> Stamp:
        try:
            return tuple((found.st_ino, found.st_mtime_ns) for found in (path.stat() for path in self._paths()))
        except OSError as error:
            raise InvalidSettings(f"The file {error.filename} can't be read: {error.strerror}.") from None

    def _read(self) -> grpc.ServerCertificateConfiguration:
        self._check()
        contents = [path.read_bytes() for path in self._paths()]
        return grpc.ssl_server_certificate_configuration([(contents[1], contents[0])], *contents[2:])

    def _check(self) -> None:
        """Certificate and key belong together, and the CA is one: gRPC itself would only refuse every client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._files.certificate, self._files.key)
            if self._files.client_ca is not None:
                context.load_verify_locations(self._files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise InvalidSettings(
                f"The TLS files can't be used ({error.strerror or error}): --tls-cert, --tls-key and --client-ca are PEM,"
                " and the key is that of the certificate."
            ) from None

    def _paths(self) -> list[Path]:
        files = self._files
        return [files.certificate, files.key] + ([files.client_ca] if files.client_ca is not None else [])
