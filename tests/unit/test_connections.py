"""Named connections, and that their secrets stay secret."""

from __future__ import annotations

import logging

import pytest

from halfstep.errors import InvalidSettings
from halfstep_worker.connections import Connection, load_connections

URL = "postgresql://user:s3cret@db:5432/shop"


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_connections_come_from_the_environment_and_a_file(tmp_path):
    file = write(tmp_path / "c.yaml", "Lake: https://u:p@lake.example\n")
    found = load_connections({"HALFSTEP_CONNECTION_SHOP": URL, "HOME": "/x"}, file)
    assert {name: connection.url for name, connection in found.items()} == {"lake": "https://u:p@lake.example", "shop": URL}


def test_the_environment_wins_over_the_file(tmp_path):
    file = write(tmp_path / "c.yaml", "shop: postgresql://other/db\n")
    assert load_connections({"HALFSTEP_CONNECTION_SHOP": URL}, file)["shop"].url == URL


def test_neither_str_nor_repr_shows_the_url():
    shown = f"{Connection('shop', URL)} {Connection('shop', URL)!r} {load_connections({'HALFSTEP_CONNECTION_SHOP': URL})}"
    assert "s3cret" not in shown
    assert "db:5432" not in shown
    assert "shop" in shown


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"HALFSTEP_CONNECTION_SHOP": "s3cret nonsense"},
            "The URL of connection 'shop' can't be read; it looks like postgresql://",
        ),
        ({"HALFSTEP_CONNECTION_SHOP": "postgresql://u:s3cret@h:port/d"}, "The URL of connection 'shop' can't be read"),
        ({"HALFSTEP_CONNECTION_SHOP": "postgresql://u:s3cret@"}, "The URL of connection 'shop' names no host"),
        ({"HALFSTEP_CONNECTION_SHOP": " "}, "Connection 'shop' has no URL"),
        ({"HALFSTEP_CONNECTION_": URL}, "'' is no name for a connection"),
        ({"HALFSTEP_CONNECTION_A.B": URL}, "'a.b' is no name for a connection"),
    ],
)
def test_a_bad_connection_is_named_but_never_its_value(environment, sentence):
    with pytest.raises(InvalidSettings, match=sentence.replace("(", r"\(").replace("'.", r"'\.")) as caught:
        load_connections(environment)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- postgresql://u:s3cret@h/d\n", "must hold lines `name: url`"),
        ("shop: [postgresql://u:s3cret@h/d\nother: 1", "is no YAML .line "),
        ("shop: 5\n", "Connection 'shop' has no URL"),
        ("shop:\n", "Connection 'shop' has no URL"),
        ("'postgresql://u:s3cret@h/d': x\n", "A key is no name for a connection"),
        ("\udcff", "is no YAML"),
    ],
)
def test_a_bad_file_is_named_but_never_its_content(tmp_path, text, sentence):
    file = tmp_path / "c.yaml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidSettings, match=sentence) as caught:
        load_connections({}, file)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidSettings, match=r"connections file .*none\.yaml can't be read: No such file"):
        load_connections({}, tmp_path / "none.yaml")


def test_an_empty_file_holds_no_connections(tmp_path):
    assert load_connections({}, write(tmp_path / "c.yaml", "")) == {}


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_warned_about(tmp_path, caplog, mode, warns):
    with caplog.at_level(logging.WARNING, "halfstep"):
        load_connections({}, write(tmp_path / "c.yaml", f"shop: {URL}\n", mode))
    assert ("can be read by other users" in caplog.text) is warns
    assert "s3cret" not in caplog.text


def test_secrets_are_blotted_out_of_text():
    said = Connection("shop", URL).without_secrets(f"could not use s3cret at {URL}")
    assert said == "could not use *** at ***"
