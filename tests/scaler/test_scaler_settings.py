"""What the scaler refuses to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halfstep.errors import InvalidSettings
from halfstep_scaler.settings import Address, ScalerSettings, TlsFiles, parse_address

PUBLIC = Address("0.0.0.0", 9443)
TLS = TlsFiles(Path("tls.crt"), Path("tls.key"))


def settings(**given: Any) -> ScalerSettings:
    return ScalerSettings("postgresql://me:secret@nowhere/x", **given)


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0:9443", PUBLIC), ("[::1]:1", Address("::1", 1)), ("scaler.local:0", Address("scaler.local", 0))],
)
def test_an_address_is_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "9443", ":9443", "host:", "host:port", "host:65536", "host:٤"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"looks like 0\.0\.0\.0:9443"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False), ("a", False)]
)
def test_a_loopback_address_is_known(host: str, loopback: bool) -> None:
    assert Address(host).is_loopback is loopback


def test_on_a_loopback_address_nothing_more_has_to_be_said() -> None:
    settings().check()
    assert list(settings().allowed) == ["*/*"]


def test_where_others_can_reach_it_tls_and_an_allow_list_have_to_be_said() -> None:
    with pytest.raises(InvalidSettings, match="--tls-cert and --tls-key, or say --insecure"):
        settings(listen=PUBLIC, allow=["a/b"]).check()
    for given in ({"tls": TLS}, {"insecure": True}):
        with pytest.raises(InvalidSettings, match="--allow NAMESPACE/NAME"):
            settings(listen=PUBLIC, **given).check()
        settings(listen=PUBLIC, allow=["*/*"], **given).check()


@pytest.mark.parametrize("pattern", ["shop", "shop/", "/x", "a/b/c", ""])
def test_an_entry_of_the_allow_list_has_a_namespace_and_a_name(pattern: str) -> None:
    with pytest.raises(InvalidSettings, match="looks like NAMESPACE/NAME"):
        settings(allow=[pattern]).check()


def test_times_are_positive_and_demand_may_be_older_than_a_poll() -> None:
    with pytest.raises(InvalidSettings, match="poll_seconds must be over 0"):
        settings(poll_seconds=0).check()
    with pytest.raises(InvalidSettings, match="is too short"):
        settings(poll_seconds=5, max_age=5).check()


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(settings())
