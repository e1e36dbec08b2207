"""Text of others on a terminal: what would steer it or can't be seen is shown as its number."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.visible import visible, visible_line
from halfstep_cli.commands.tasks import FIELDS, POD_FIELDS
from halfstep_cli.output import Column, compact, json_text, plain, readable, when

SHOWN = {
    "an escape sequence is shown": ("\x1b[2J", "\\x1b[2J"),
    "a title and a link by OSC are shown": ("\x1b]8;;http://a\x07x", "\\x1b]8;;http://a\\x07x"),
    "a CSI of one character is shown": ("\x9b2J", "\\x9b2J"),
    "a carriage return, which would overwrite the line, is shown": ("good\rbad", "good\\x0dbad"),
    "a backspace is shown": ("a\x08b", "a\\x08b"),
    "a bell, a vertical tab and a form feed are shown": ("\a\v\f", "\\x07\\x0b\\x0c"),
    "DEL and NUL are shown": ("\x7f\0", "\\x7f\\x00"),
    "what turns the line round is shown": ("\u202eexe.txt\u2069", "\\u202eexe.txt\\u2069"),
    "marks of direction are shown": ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
    "characters of no width are shown": ("a\u200bb\u2060c\ufeff", "a\\u200bb\\u2060c\\ufeff"),
    "tags, which hide text, are shown": ("\U000e0041\U000e007f", "\\U000e0041\\U000e007f"),
    "variation selectors that hide bytes are shown": ("a\ufe00\U000e0101", "a\\ufe00\\U000e0101"),
    "separators of lines and paragraphs are shown": ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
    "half of a surrogate pair is shown": ("\ud800x", "\\ud800x"),
    "a soft hyphen and fillers are shown": ("\xad\u3164\u115f\uffa0", "\\xad\\u3164\\u115f\\uffa0"),
    "letters, accents, wide characters and emoji stay": ("grüße e\u0301 日本 ❤️ שלום", "grüße e\u0301 日本 ❤️ שלום"),
    "a backslash stays": ("C:\\x1b", "C:\\x1b"),
}
VISIBLE_SIGNS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")


@pytest.mark.parametrize(("text", "shown"), SHOWN.values(), ids=SHOWN)
def test_what_is_shown(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_what_is_kept_stays_and_a_line_has_no_ends():
    assert visible("a\tb\nc\x1b", keep="\t\n") == "a\tb\nc\\x1b"
    assert visible_line("a\tb\r\nc\nd\re") == "a b c d\\x0de"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_that_steers_or_hides_is_left_of_any_text(text):
    for character in visible_line(text):
        hieroglyph = 0x13430 <= ord(character) <= 0x1345F
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in VISIBLE_SIGNS or hieroglyph


DEEP: object = 1
for _ in range(3_000):
    DEEP = [DEEP]

ODD = {
    "more levels than Python writes": DEEP,
    "a number of 5,000 digits": 10**5_000,
    "no number": float("nan"),
    "beyond all numbers": float("-inf"),
    "bytes": b"\xff",
    "half of a surrogate pair": "\ud800",
    "a key that is no string": {(1, 2): {"a": 10**5_000}},
    "an escape": "\x1b[2J",
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_json_of_any_value_is_valid_and_ascii(value):
    text = json_text({"value": value})
    assert text.isascii()
    assert text.isprintable()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("value", [*ODD.values(), [1, "a\x1b"], 7, 1.5, True, {"a": "b"}], ids=[*ODD, *"lnfbo"])
@pytest.mark.parametrize("name", [*FIELDS, *POD_FIELDS])
def test_show_survives_any_value_in_any_field(name, value):
    """Also a row whose every value is another than was promised."""
    text = (FIELDS | POD_FIELDS)[name]
    row = defaultdict(lambda: value, why=value, node=value, exit_code=value, created=value, ended=value) | {"class": value}
    assert readable(lambda: visible_line(text(row))).isprintable()


def test_what_can_not_be_read_is_named():
    assert readable(lambda: f"{'x':g}").startswith("(can't be read: ValueError: ")
    assert Column("a", "a").text("a row that is none").startswith("(can't be read: AttributeError: ")


@pytest.mark.parametrize("moment", ["4713-01-01 BC", "294276-12-31T00:00:00+00:00", "soon\x1b", "infinity", 7, [], {"a": 1}])
def test_a_time_that_python_does_not_have_is_shown_as_it_is(moment):
    assert when(moment) == plain(moment)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_at_the_end_of_the_calendar_is_shown(moment):
    assert moment[:4] in when(moment)


def test_values_for_people_are_not_written_in_ascii():
    assert compact({"a": "grüße\x1b\u202e"}) == '{"a": "grüße\\u001b\\u202e"}'
