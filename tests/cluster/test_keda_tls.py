"""The demo with component `mtls`: real KEDA and the scaler know each other by certificates, and these can be renewed."""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from authority import Authority, Pair
from cluster.full_run import WORKERS, FullRun, watched
from cluster.installation import NONE, SYSTEM, Installation, installed
from cluster.kube import Cluster
from cluster.manifest_ground import kubectl
from kustomize import Object
from scaler.keda import Keda, refusal  # noqa: TID251
from waiting import wait_until

pytestmark = pytest.mark.cluster

NAME = "halfstep-scaler.halfstep.svc"
PORT = 9443
SETTINGS = {"polling-interval": "30"}
PUSHED_SECONDS = 10.0
"""A third of KEDA's own polling: who is slower was not pushed."""
DONE_SECONDS = 60
RENEWED_SECONDS = 150
"""A kubelet looks after the Secrets of a pod every minute or so."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Of both sides, from one authority."""

    authority: Authority
    server: Pair
    client: Pair

    def secrets(self) -> list[Object]:
        """As component `mtls` wants them."""
        return [self._secret("halfstep-scaler-tls", self.server), self._secret("halfstep-scaler-client-tls", self.client)]

    def _secret(self, name: str, pair: Pair) -> Object:
        files = {"ca.crt": self.authority.ca, "tls.crt": pair.certificate, "tls.key": pair.key}
        data = {key: base64.b64encode(file.read_bytes()).decode() for key, file in files.items()}
        metadata = {"name": name, "namespace": SYSTEM}
        return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}


def certificates(folder: Path) -> Certificates:
    """New ones, from an authority that nobody has heard of yet."""
    authority = Authority(folder, names=[NAME])
    return Certificates(authority, authority.certify("server"), authority.certify("keda"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those that the installation begins with."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificates.")
    return certificates(tmp_path_factory.mktemp("certificates") / "first")


@pytest.fixture(scope="module")
def here(cluster: Cluster, keda: None, first: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose ScaledObjects are Ready; skipped where KEDA does not run."""
    folder = tmp_path_factory.mktemp("overlay")
    with installed(cluster, folder, components=["mtls"], settings=SETTINGS, extra=first.secrets()) as here:
        yield here


@pytest.fixture
def run(here: Installation) -> Iterator[FullRun]:
    """From zero replicas on."""
    here.wait_for_replicas(NONE, seconds=DONE_SECONDS)
    with watched(here) as run:
        yield run


def scalers(here: Installation) -> list[Any]:
    """Both pods."""
    found = here.pods("halfstep-scaler")
    assert len(found) == 2
    return found


def credentials(trusted: Certificates, client: Pair | None) -> grpc.ChannelCredentials:
    """Of a client that trusts that authority; with a certificate of its own if one is given."""
    key, certificate = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
    return grpc.ssl_channel_credentials(trusted.authority.ca.read_bytes(), key, certificate)


@contextmanager
def asking(address: str, given: grpc.ChannelCredentials | None) -> Iterator[Keda]:
    """A plain client in the cluster's network, on a connection of its own."""
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    target = f"{address}:{PORT}"
    with grpc.secure_channel(target, given, options) if given else grpc.insecure_channel(target, options) as channel:
        yield Keda(channel, namespace=SYSTEM)


def serial_shown(address: str, trusted: Certificates) -> str | None:
    """Of the certificate that a scaler shows now; None: it is one of another authority."""
    context = ssl.create_default_context(cafile=str(trusted.authority.ca))
    context.load_cert_chain(trusted.client.certificate, trusted.client.key)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((address, PORT), timeout=5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=NAME) as line:
                shown: Any = line.getpeercert()
                return str(shown["serialNumber"])
        except ssl.SSLCertVerificationError:
            return None


def run_one_task(run: FullRun) -> float:
    """Its worker comes and it succeeds; when KEDA asked for the worker, in seconds after the COMMIT."""
    before = run.one("SELECT count(*) FROM halfstep.history WHERE state = 'succeeded'")
    run.committed_at = run.commit("""SELECT halfstep.enqueue('bash', '{"command": "echo done"}')""")
    ended = "SELECT count(*) FROM halfstep.history WHERE state = 'succeeded'"
    wait_until(lambda: run.one(ended) == before + 1, seconds=DONE_SECONDS, what="the end of the task")
    return run.first_after(WORKERS)


def test_work_brings_a_worker_by_push_over_tls(run: FullRun) -> None:
    assert run_one_task(run) < PUSHED_SECONDS


def test_scalers_answer_nobody_without_a_certificate_of_theirs(here: Installation, first: Certificates, tmp_path: Path) -> None:
    stranger = certificates(tmp_path / "stranger")
    for pod in scalers(here):
        address = pod.status.pod_ip
        with asking(address, credentials(first, first.client)) as keda:
            assert keda.spec().metricSpecs
        for given in (credentials(first, None), credentials(first, stranger.client), None):
            with asking(address, given) as keda:
                assert refusal(keda.spec)[0] is grpc.StatusCode.UNAVAILABLE


def test_renewed_certificates_are_used_by_both_sides_and_no_scaler_is_restarted(
    here: Installation, first: Certificates, run: FullRun, tmp_path: Path
) -> None:
    before = containers(here)
    renewed = certificates(tmp_path / "renewed")
    addresses = [pod.status.pod_ip for pod in scalers(here)]
    assert all(serial_shown(address, first) for address in addresses)
    assert kubectl("apply", "-f", "-", given=renewed.secrets()).code == 0
    shown = "the renewed certificate at both scalers"
    wait_until(lambda: all(serial_shown(each, renewed) for each in addresses), seconds=RENEWED_SECONDS, what=shown)
    with asking(addresses[0], credentials(renewed, first.client)) as keda:
        assert refusal(keda.spec)[0] is grpc.StatusCode.UNAVAILABLE
    connect_anew(here)
    assert run_one_task(run) < PUSHED_SECONDS
    assert containers(here) == before


def containers(here: Installation) -> dict[str, int]:
    """Restarts of each scaler."""
    return {pod.metadata.uid: pod.status.container_statuses[0].restart_count for pod in scalers(here)}


def connect_anew(here: Installation) -> None:
    """KEDA does it for a changed object; a connection that it has, it keeps for ever."""
    patch = '{"spec": {"pollingInterval": 29}}'
    for name in NONE:
        assert kubectl("--namespace", SYSTEM, "patch", "scaledobject", name, "--type=merge", f"--patch={patch}").code == 0
    ready = kubectl("--namespace", SYSTEM, "wait", "--for=condition=Ready", "scaledobject", "--all", "--timeout=60s")
    assert ready.code == 0, ready.err
