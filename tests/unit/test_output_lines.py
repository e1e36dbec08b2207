"""However a body's output is torn by reads and by what is shown before a line ends, the same lines come of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfstep_worker.children import page as pages
from halfstep_worker.children.capture import OPEN_SECONDS, Piece, Stream, lines_of
from halfstep_worker.children.marks import marker

TOKEN = b"0123456789abcdef"
TEXTS = [
    b"a",
    b"bc ",
    b"\n",
    b"\n\n",
    "é".encode(),
    "€".encode(),
    "\U0001f600".encode(),
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f",
]
BARS = [*TEXTS[:6], b"\r", b"\r\n", b" 10 %", b"\r20 %", b"   \r"]


@contextlib.contextmanager
def pipe() -> Iterator[tuple[Stream, int]]:
    """A stream, and where to write to it."""
    fd = pages.create()
    page, (out, into) = pages.Page(fd), os.pipe()
    stream = Stream("stdout", index=0, fd=out, page=page, token=TOKEN)
    os.set_blocking(out, False)
    try:
        yield stream, into
    finally:
        stream.close()
        page.close()
        for one in (fd, into):
            os.close(one)


def shown(data: bytes, cuts: list[tuple[int, bool]]) -> list[str]:
    """The lines of the data, its pieces joined, when it is read in parts, after some of which all that is due is shown."""
    places = [0, *sorted(cut for cut, _ in cuts if cut < len(data)), len(data)]
    waits = [wait for _, wait in cuts] + [True] * len(places)
    pieces: list[Piece] = []
    with pipe() as (stream, into):
        for (start, end), wait in zip(pairwise(places), waits, strict=False):
            os.write(into, data[start:end])
            stream.read()
            pieces += stream.pieces(stream.read_at)
            if wait:
                pieces += stream.pieces(stream.read_at + OPEN_SECONDS + 1)
        os.write(into, marker(TOKEN, 7))
        stream.read()
        pieces += stream.pieces(stream.read_at)
        assert pieces[-1].number == 7
        assert not stream.waiting
    return joined(pieces)


def joined(pieces: list[Piece]) -> list[str]:
    lines: list[str] = []
    goes_on = False
    for piece in pieces:
        for place, line in enumerate(piece.lines):
            if goes_on:
                lines[-1] += line
            else:
                lines.append(line)
            goes_on = piece.goes_on and place == len(piece.lines) - 1
    return lines


def text_of(parts: list[bytes]) -> bytes:
    return b"".join(parts)


CUTS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=8)


@given(st.lists(st.sampled_from(TEXTS), max_size=25).map(text_of), CUTS)
def test_lines_are_the_same_however_they_are_torn(data: bytes, cuts: list[tuple[int, bool]]) -> None:
    lines = data.split(b"\n")
    expected = [line.decode(errors="replace").replace("\0", "\ufffd") for line in (lines if lines[-1] else lines[:-1])]
    assert shown(data, cuts) == lines_of(data) == expected


@given(st.lists(st.sampled_from(BARS), max_size=25).map(text_of), CUTS)
@example(b"\r20 %", [(2, True)])
@example(b"aa   \r", [(1, True)])
def test_the_last_state_of_every_line_is_shown_in_order_whatever_was_shown_before(
    data: bytes, cuts: list[tuple[int, bool]]
) -> None:
    told = iter(shown(data, cuts))
    assert all(any(line.strip() in seen for seen in told) for line in lines_of(data) if line.strip())


@pytest.mark.parametrize("count", [1, 19, 20, 100, 15_000])
def test_what_is_no_marker_after_all_is_text(count: int) -> None:
    data = b"\0" + TOKEN + b"1" * count + b"x\n"
    assert "".join(shown(data, [(5, True), (30, True)])).replace("\ufffd", "") == (data[1:-1]).decode()
