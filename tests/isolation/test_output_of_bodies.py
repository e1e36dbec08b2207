"""Whatever a body writes and however: it is told while the body runs, in order, and belongs to the body's own attempt."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from halfstep.limits import LOG_LINE_BYTES
from halfstep_worker.children import Line
from isolation.output_bodies import LOADER
from waiting import wait_until
from worker.children_support import Work, at_work  # noqa: TID251

MARKS = """
import gc
from halfstep_worker.children.marks import Marks, marker
from halfstep_worker.children.page import BEGUN
(marks,) = [one for one in gc.get_objects() if type(one) is Marks]
token, number = marks._token, marks._words[BEGUN]
"""
"""What a body finds that looks for the markers of its child."""


class Case(NamedTuple):
    """A writer, and what a reader of its log sees: `o` or `e` for the stream, and the line."""

    name: str
    code: str
    told: list[str]


CASES = [
    Case("nothing", "", []),
    Case("blank lines", r"out(b'\n\n\n')", ["o", "o", "o"]),
    Case("a line without its end", "out(b'no end')", ["ono end"]),
    Case("a line without its end, long before the end", "out(b'no end'); wait(0.9)", ["ono end"]),
    Case("dots", r"[(out(b'.'), wait(0.1)) for _ in range(4)]; out(b'done\n')", ["o....done"]),
    Case("slow dots", r"[(out(b'.'), wait(0.7)) for _ in range(3)]; out(b'done\nnext')", ["o...done", "onext"]),
    Case("slow dots and a bare end", r"out(b'.'); wait(0.9); out(b'\nnext\n')", ["o.", "onext"]),
    Case("dots of a program", "subprocess.run(['sh', '-c', 'for n in 1 2 3; do printf .; sleep 0.4; done; echo'])", ["o..."]),
    Case("dots beside the other stream", r"out(b'.'); wait(0.9); err(b'e\n'); wait(0.1); out(b'.\n')", ["o.", "ee", "o."]),
    Case("one byte at a time", r"[out(bytes([byte])) for byte in b'hello\nworld\n']", ["ohello", "oworld"]),
    Case("lines of Windows", r"out(b'a\r\nb\r\n\r\nc\r\n')", ["oa", "ob", "o", "oc"]),
    Case("a line end of Windows in two writes", r"out(b'a\r'); wait(0.9); out(b'\nb\r'); wait(0.1); out(b'\n')", ["oa", "ob"]),
    Case("two returns before the end of a line", r"out(b'a\r\r\nb\n')", ["oa", "ob"]),
    Case("a line written over at once", r"out(b'one\rtwo\rthree\n')", ["othree"]),
    Case("a bar that begins with its return", r"[out(b'\r%d %%' % n) for n in range(101)]; out(b'\n')", ["o100 %"]),
    Case("a bar that ends with its return", r"[out(b'%d %%\r' % n) for n in range(101)]; out(b'\nnext\n')", ["o100 %", "onext"]),
    Case("a bar that wipes itself out", r"out(b'\r98 %\r99 %\r     \r')", ["o99 %"]),
    Case("a bar that stands still", r"[(out(b'\r99 %'), wait(0.01)) for _ in range(150)]", ["o99 %"]),
    Case("a bar and what follows it", r"out(b'\r50 %'); wait(0.9); out(b'\r99 %\nwell\n')", ["o50 %", "o99 %", "owell"]),
    Case(
        "dots that become a bar",
        r"out(b'load'); wait(0.9); out(b'\r10 %'); wait(0.9); out(b'\r20 %')",
        ["oload", "o10 %", "o20 %"],
    ),
    Case("a bar of a mebibyte", r"out(b'\r12 %' * 200_000 + b'\r13 %')", ["o13 %"]),
    Case(
        "no text",
        r"out(b'\xff\xfe\0\x01\n'); wait(0.1); err(bytes([0, 10, 0]))",
        ["o\ufffd\ufffd\ufffd\x01", "e\ufffd", "e\ufffd"],
    ),
    Case("a NUL at the end", r"out(b'abc\0')", ["oabc\ufffd"]),
    Case("a split character", r"out(b'caf\xc3'); wait(0.1); out(b'\xa9\n')", ["ocafé"]),
    Case("a character split for long", r"out(b'caf\xc3'); wait(0.9); out(b'\xa9\n')", ["ocafé"]),
    Case("a character that never comes whole", r"out(b'caf\xe2\x82'); wait(0.7)", ["ocaf\ufffd"]),
    Case(
        "both streams in turn",
        r"[(wait(0.02), out(b'%d\n' % n), wait(0.02), err(b'%d\n' % n)) for n in range(3)]",
        ["o0", "e0", "o1", "e1", "o2", "e2"],
    ),
    Case(
        "both streams by print",
        "for n in range(3): print(n); wait(0.02); print(n, file=sys.stderr); wait(0.02)",
        ["o0", "e0", "o1", "e1", "o2", "e2"],
    ),
    Case(
        "both streams by a program",
        "subprocess.run(['sh', '-c', 'for n in 0 1; do echo $n; sleep .05; echo $n >&2; sleep .05; done'])",
        ["o0", "e0", "o1", "e1"],
    ),
    Case("a print that is not flushed", r"print('open', end=''); err(b'first\n'); wait(0.1)", ["efirst", "oopen"]),
    Case(
        "a print that is flushed", r"print('open', end='', flush=True); wait(0.9); err(b'then\n'); wait(0.1)", ["oopen", "ethen"]
    ),
    Case("half a line on each stream", r"out(b'a'); err(b'b'); wait(0.1); out(b'a\n'); wait(0.1); err(b'b\n')", ["oaa", "ebb"]),
    Case("a false marker", r"out(b'\0' + b'0123456789abcdef' + b'7\nmine\n')", ["o\ufffd0123456789abcdef7", "omine"]),
    Case("bytes of a marker and more", r"out(b'a\0b\0'); out(b'\0\0c\n')", ["oa\ufffdb\ufffd\ufffd\ufffdc"]),
]

FORGERS = {
    "half a marker": r"out(b'forger\0' + token)",
    "what begins as a marker and goes on for ever": r"out(b'forger\0' + token + b'1' * 100_000 + b'\nforger\n')",
    "the marker of a task that was": r"out(b'forger\n' + marker(token, number - 1) + b'forger\n')",
    "the marker of a task to come": r"out(b'forger\n' + marker(token, number + 1) + b'forger\n')",
    "the marker of a task that never comes": r"out(b'forger\n' + marker(token, 2**60) + b'forger\n')",
    "its own marker": r"out(b'forger\n' + marker(token, number) + b'forger\n')",
    "its own marker, and more much later": r"out(b'forger\n' + marker(token, number)); wait(0.2); out(b'forger\n')",
    "its own marker again and again": r"[out(b'forger\n' + marker(token, number)) for _ in range(500)]",
    "its own marker on the other stream": r"out(b'forger\n'); err(marker(token, number) + b'forger')",
}
"""What a body may do that has found the token of its child."""


def told(work: Work, key: Hashable) -> list[str]:
    """The log as `halfstep logs` prints it, with the first letter of the stream."""
    shown: list[str] = []
    before: Line | None = None
    for line in [event for event in work.events if isinstance(event, Line) and event.key == key]:
        if before is not None and before.goes_on and before.stream == line.stream:
            shown[-1] += line.text
        else:
            shown.append(f"{'e' if line.stream == 'stderr' else 'o'}{line.text}")
        before = line
    return shown


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    with at_work(loader=LOADER) as work:
        yield work


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_body_writes_is_told_and_its_neighbours_in_the_same_child_have_their_own(work: Work, case: Case) -> None:
    before, after, silent = (f"{case.name} {word}" for word in ("before", "after", "silent"))
    nobody = len(work.lines(None))
    work.send(before, "run_code", code=r"out(b'before\n'); err(b'before')")
    work.send(case.name, "run_code", code=case.code)
    work.send(after, "run_code", code=r"out(b'after\n'); err(b'after')")
    work.send(silent, "nothing")
    work.ends(before, case.name, after, silent)
    assert told(work, case.name) == case.told
    assert sorted(told(work, before)) == ["ebefore", "obefore"]
    assert sorted(told(work, after)) == ["eafter", "oafter"]
    assert told(work, silent) == []
    assert len(work.lines(None)) == nobody


@pytest.mark.parametrize("forger", FORGERS)
def test_a_body_that_forges_markers_can_lose_lines_of_its_own_and_harms_no_neighbour(work: Work, forger: str) -> None:
    numbers = range(12)
    for n in numbers:
        work.send((forger, n), "run_code", code=r"out(b'mine\n'); err(b'mine')" if n % 2 else MARKS + FORGERS[forger])
    work.ends(*((forger, n) for n in numbers))
    for n in numbers:
        lines = work.lines((forger, n))
        assert lines == ["mine", "mine"] if n % 2 else all(line.startswith("forger") or "1111" in line for line in lines)


@pytest.mark.parametrize("code", ["out(b'%.6f ')", r"out(b'\r%.6f ')", r"out(b'%.6f\r')", r"out(b'%.6f\n')"])
def test_what_is_written_is_told_within_a_second_however_the_line_goes_on(work: Work, code: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    key = code, "live"
    work.send(key, "run_code", code=f"{code[:-1]} % time.time()); open(go).read()", go=str(tmp_path / "go"))
    work.until(lambda: work.lines(key))
    assert time.time() - float(work.lines(key)[0]) < 1.0
    assert key not in work.order
    (tmp_path / "go").write_text("on")
    work.ends(key)
    assert len(work.lines(key)) == 1


@pytest.mark.parametrize("order", ["oe", "eo"])
def test_of_two_streams_that_were_written_before_anybody_looked_the_first_comes_first(
    work: Work, order: str, tmp_path: Path
) -> None:
    first, second = ("out" if letter == "o" else "err" for letter in order)
    code = rf"{first}(b'first\n'); wait(0.05); {second}(b'second\n'); os.close(os.open(done, os.O_CREAT | os.O_WRONLY))"
    work.send(order, "run_code", code=code, done=str(tmp_path / "done"))
    wait_until((tmp_path / "done").exists, what="both lines")
    work.ends(order)
    assert told(work, order) == [f"{order[0]}first", f"{order[1]}second"]


@pytest.mark.parametrize("form", [r"b'\r%d of 1500'", r"b'%d of 1500\r'"])
def test_a_bar_that_is_drawn_a_thousand_times_a_second_fills_no_log_and_shows_how_it_ended(work: Work, form: str) -> None:
    key = form, "bar"
    work.send(key, "run_code", code=f"for n in range(1501): out({form} % n); wait(0.001)")
    work.ends(key)
    numbers = [int(text.split()[0]) for text in work.lines(key)]
    assert 2 <= len(numbers) <= 8, "two a second"
    assert all(one < other for one, other in pairwise(numbers))
    assert numbers[-1] == 1500


def test_a_line_that_goes_on_is_told_in_parts_of_whole_characters(work: Work) -> None:
    code = "for _ in range(40): out('é€'.encode()[:3]); wait(0.02); out('é€'.encode()[3:]); wait(0.02)"
    work.send("parts", "run_code", code=code)
    work.ends("parts")
    lines = [event for event in work.events if isinstance(event, Line) and event.key == "parts"]
    assert len(lines) > 2
    assert "".join(line.text for line in lines) == "é€" * 40
    assert all(line.goes_on for line in lines[:-1])


@pytest.mark.parametrize("write", ["out(data)", "[(out(data[at : at + 999]), wait(0.005)) for at in range(0, len(data), 999)]"])
def test_a_very_long_line_comes_whole_in_pieces(work: Work, write: str) -> None:
    key = write, "long"
    work.send(key, "run_code", code=f"data = 'ü'.encode() * 40_000; {write}")
    work.ends(key)
    pieces = [event.text for event in work.events if isinstance(event, Line) and event.key == key]
    assert "".join(pieces) == "ü" * 40_000
    assert max(len(text.encode()) for text in pieces) <= LOG_LINE_BYTES


def test_a_body_that_writes_endlessly_what_looks_like_a_marker_is_told_and_not_held(work: Work) -> None:
    code = MARKS + "out(b'\\0' + token + b'1' * 200_000); wait(0.1)"
    work.send("sham", "run_code", code=code)
    work.until(lambda: len(work.lines("sham")) > 5)
    work.ends("sham")
    assert sum(map(len, work.lines("sham"))) > 200_000


def test_the_last_words_of_a_child_that_was_killed_are_those_of_its_last_body(tmp_path: Path) -> None:
    with at_work(loader=LOADER) as work:
        work.send("dies", "run_code", code=r"out(b'half'); err(b'a\nb'); os.kill(os.getpid(), 9)")
        work.send("next", "run_code", code=r"out(b'mine\n')")
        work.ends("dies", "next")
        assert sorted(told(work, "dies")) == ["ea", "eb", "ohalf"]
        assert told(work, "next") == []
