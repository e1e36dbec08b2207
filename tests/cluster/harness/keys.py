"""The cluster's certificates, made by openssl: one authority, a certificate for each party."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from cluster.harness.commands import run
from cluster.harness.network import API_SERVER, NODE_ADDRESS, NODE_NAME, SERVICE_ADDRESS
from cluster.harness.paths import KEYS

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_NAMES = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]


@dataclass(frozen=True, slots=True)
class Party:
    """Who a certificate stands for."""

    file: str
    subject: str
    names: tuple[str, ...] = ()
    """Names and addresses that it serves under; none for a mere client."""


_ADDRESSES = ("127.0.0.1", SERVICE_ADDRESS, NODE_ADDRESS)
PARTIES = (
    Party("apiserver", "/CN=kube-apiserver", (*(f"DNS:{name}" for name in _NAMES), *(f"IP:{ip}" for ip in _ADDRESSES))),
    Party("admin", "/O=system:masters/CN=admin"),
    Party("kubelet", f"/O=system:nodes/CN=system:node:{NODE_NAME}", (f"DNS:{NODE_NAME}", f"IP:{NODE_ADDRESS}")),
    Party("front-proxy", "/CN=front-proxy-client"),
)


def make() -> None:
    """Fills the folder of keys."""
    KEYS.mkdir(mode=0o700, parents=True, exist_ok=True)
    _openssl("req", "-x509", *_CURVE, "-days", "3650", "-subj", "/CN=halfstep-test", "-keyout", "ca.key", "-out", "ca.crt")
    for party in PARTIES:
        _sign(party)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "accounts.key")
    _openssl("ec", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")


def _sign(party: Party) -> None:
    name = party.file
    _openssl("req", *_CURVE, "-subj", party.subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    usage = "extendedKeyUsage=clientAuth,serverAuth\n"
    if party.names:
        usage += f"subjectAltName={','.join(party.names)}\n"
    (KEYS / f"{name}.ext").write_text(usage)
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    _openssl("x509", "-req", "-in", f"{name}.csr", *authority, "-days", "3650", "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _openssl(*words: str) -> None:
    run(["openssl", *words], cwd=KEYS)


def write_kubeconfig(path: Path, *, party: str) -> None:
    """A kubeconfig that is complete in itself: who has the file is that party."""
    cluster = {"server": API_SERVER, "certificate-authority-data": _encoded("ca.crt")}
    user = {"client-certificate-data": _encoded(f"{party}.crt"), "client-key-data": _encoded(f"{party}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "halfstep-test",
        "clusters": [{"name": "halfstep-test", "cluster": cluster}],
        "users": [{"name": party, "user": user}],
        "contexts": [{"name": "halfstep-test", "context": {"cluster": "halfstep-test", "user": party}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))


def _encoded(file: str) -> str:
    return base64.b64encode((KEYS / file).read_bytes()).decode()
