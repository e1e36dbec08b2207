"""A certificate authority made by openssl, for tests of TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from waiting import PATIENCE

DAYS = "2"


class Pair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Certifies servers of these names, and clients. folder: is made; everything lies in it."""

    def __init__(self, folder: Path, *, names: Sequence[str]) -> None:
        self.folder = folder
        self._names = ",".join(f"DNS:{name}" for name in names)
        folder.mkdir()
        self._openssl("req", "-x509", *_new_key("ca.key"), "-days", DAYS, "-subj", f"/CN={folder.name}", "-out", "ca.crt")

    def certify(self, name: str) -> Pair:
        """For servers and clients alike; another one, with a key of its own, for each name."""
        files = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        (self.folder / "ext").write_text(f"subjectAltName={self._names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("req", *_new_key(files.key.name), "-subj", f"/CN={name}", "-out", "request")
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
        self._openssl("x509", "-req", "-in", "request", "-days", DAYS, *signer, "-out", files.certificate.name)
        return files

    @property
    def ca(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.crt"

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE)


def _new_key(file: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file]
