"""TLS between KEDA and the scaler: who is answered, and certificates that change while it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from authority import Authority
from scaler.keda import Keda, ScalerProcess, refusal  # noqa: TID251
from waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

Start = Callable[..., ScalerProcess]
Channels = Callable[..., grpc.Channel]
SERVER = ["halfstep-scaler"]
NAME = {"grpc.ssl_target_name_override": "halfstep-scaler"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority", names=SERVER)


def trusting(authority: Authority, client: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    """Credentials of a client that trusts the authority, with a certificate of its own if one is given."""
    certificate, key = (None, None) if client is None else (client[0].read_bytes(), client[1].read_bytes())
    return grpc.ssl_channel_credentials(authority.ca.read_bytes(), key, certificate)


def test_with_tls_it_answers_over_tls_only(start_scaler: Start, channels: Channels, authority: Authority) -> None:
    address = start_scaler(tls=[str(path) for path in authority.certify("server")]).address
    assert Keda(channels(address, trusting(authority), **NAME)).is_active() is False
    assert refusal(Keda(channels(address)).is_active)[0] is grpc.StatusCode.UNAVAILABLE


def test_with_a_client_ca_only_its_clients_are_answered(
    start_scaler: Start, channels: Channels, authority: Authority, tmp_path: Path
) -> None:
    server, client = authority.certify("server"), authority.certify("client")
    address = start_scaler(tls=[*map(str, server), str(authority.ca)]).address
    assert Keda(channels(address, trusting(authority, client), **NAME)).is_active() is False
    stranger = Authority(tmp_path / "stranger", names=SERVER).certify("client")
    for credentials in (trusting(authority), trusting(authority, stranger)):
        assert refusal(Keda(channels(address, credentials, **NAME)).is_active)[0] is grpc.StatusCode.UNAVAILABLE


def test_changed_files_are_used_without_a_restart_and_bad_ones_are_not(
    start_scaler: Start, channels: Channels, authority: Authority, tmp_path: Path
) -> None:
    used = [tmp_path / "tls.crt", tmp_path / "tls.key"]
    _replace(used, authority.certify("server"))
    scaler = start_scaler(tls=[str(path) for path in used])
    address = scaler.address
    stays_open = Keda(channels(address, trusting(authority), **NAME)).activity()
    stays_open.next()
    other = Authority(tmp_path / "other", names=SERVER)
    _replace(used, other.certify("server"))
    assert Keda(channels(address, trusting(other), **NAME)).is_active() is False
    fresh_pool = {"grpc.use_local_subchannel_pool": 1}
    assert refusal(Keda(channels(address, trusting(authority), **NAME, **fresh_pool)).is_active)[0] is grpc.StatusCode.UNAVAILABLE
    used[1].write_text("no key")
    assert Keda(channels(address, trusting(other), **NAME, **fresh_pool)).is_active() is False
    wait_until(lambda: "The changed TLS files are not used" in scaler.said(), what="the log to tell")
    assert stays_open.code is None


def test_files_that_do_not_belong_together_are_refused_at_the_start(start_scaler: Start, authority: Authority) -> None:
    (certificate, _), (_, key) = authority.certify("one"), authority.certify("two")
    scaler = start_scaler(tls=[str(certificate), str(key)], ready=False)
    assert scaler.process.wait(timeout=PATIENCE) != 0
    assert "the key is that of the certificate" in scaler.said()


def _replace(used: list[Path], pair: tuple[Path, Path]) -> None:
    """As a mounted Secret changes: each file by a rename."""
    for path, source in zip(used, pair, strict=True):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(source.read_bytes())
        os.replace(fresh, path)
