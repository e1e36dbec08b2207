"""Times as people write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from halfstep.errors import InvalidTask
from halfstep_cli.commands.moments import read_moment

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch):
    """The caller lives nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("+90s", timedelta(seconds=90)),
        ("+10m", timedelta(minutes=10)),
        ("+2h", timedelta(hours=2)),
        ("+1d", timedelta(days=1)),
        ("+1.5h", timedelta(minutes=90)),
    ],
)
def test_a_delay_counts_from_now(text, ahead):
    assert read_moment(text, now=NOW) == NOW + ahead


@pytest.mark.parametrize("text", ["2030-05-01T09:00:00Z", "2030-05-01T11:00:00+02:00", "2030-05-01 09:00+00:00"])
def test_a_time_with_a_zone_means_what_it_says(text, tokyo):
    assert read_moment(text, now=NOW) == datetime(2030, 5, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-03-31T01:59", datetime(2030, 3, 31, 0, 59, tzinfo=UTC)),
        ("2030-03-31T02:00", datetime(2030, 3, 31, 1, 0, tzinfo=UTC)),  # the clocks go from 02:00 to 03:00
        ("2030-03-31T02:30", datetime(2030, 3, 31, 1, 30, tzinfo=UTC)),
        ("2030-03-31T03:00", datetime(2030, 3, 31, 1, 0, tzinfo=UTC)),
        ("2030-10-27T02:30", datetime(2030, 10, 27, 0, 30, tzinfo=UTC)),  # twice, and the first is meant
    ],
)
def test_a_time_that_the_clocks_leave_out_is_after_the_gap(text, moment, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert read_moment(text, now=NOW) == moment
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["2030-05-01T09:00", "2030-05-01 09:00:00", "20300501T0900"])
def test_a_time_without_a_zone_is_the_callers(text, tokyo):
    assert read_moment(text, now=NOW) == datetime(2030, 5, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "+5", "+5w", "5m", "+-5m", "2030-13-01", "1", "+99999999999d", "9999-12-31T23:59:59-14:00x"]
)
def test_anything_else_gets_a_sentence(text):
    with pytest.raises(InvalidTask, match="is no time; write "):
        read_moment(text, now=NOW)
