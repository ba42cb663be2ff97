"""Points in time as people type them, and how times, durations and amounts are written."""

from __future__ import annotations

import pytest

from saga.cli.moments import parse_moment
from saga.cli.wording import amount, duration, moment, table

NOW_US = 1_795_364_043_120_000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("now", NOW_US),
        ("15m", NOW_US - 900_000_000),
        ("90s ago", NOW_US - 90_000_000),
        ("1.5h", NOW_US - 5_400_000_000),
        ("3d", NOW_US - 259_200_000_000),
        ("1w", NOW_US - 604_800_000_000),
        ("2026-11-22", 1_795_305_600_000_000),
        ("2026-11-22T16:14:03.12Z", 1_795_364_043_120_000),
        ("2026-11-22T17:14:03.120000+01:00", 1_795_364_043_120_000),
    ],
)
def test_a_moment_is_understood(text: str, us: int) -> None:
    assert parse_moment(text).absolute_us(NOW_US) == us


@pytest.mark.parametrize("text", ["", "soon", "15", "m", "-5m", "2026-13-01", "1e9h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nvalid|must be|out of range"):
        parse_moment(text)


def test_a_written_moment_is_understood_again() -> None:
    assert moment(NOW_US) == "2026-11-22T16:14:03.120Z"
    assert parse_moment(moment(NOW_US)).absolute_us(0) == NOW_US


@pytest.mark.parametrize(
    ("us", "written"),
    [
        (0, "0.0 ms"),
        (1_500, "1.5 ms"),
        (41_400, "41 ms"),
        (3_200_000, "3.2 s"),
        (250_000_000, "4 min 10 s"),
        (7_300_000_000, "2 h 01 min"),
        (200_000_000_000, "2 d 7 h"),
        (-41_400, "-41 ms"),
    ],
)
def test_a_duration_is_readable(us: int, written: str) -> None:
    assert duration(us) == written


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [(42_005, "EUR", "420.05 EUR"), (16_350, "JPY", "16350 JPY"), (1_234, "KWD", "1.234 KWD"), (7, "USD", "0.07 USD")],
)
def test_an_amount_is_written_with_its_currencys_digits(minor: int, currency: str, written: str) -> None:
    assert amount(minor, currency) == written


def test_a_table_lines_up_and_cuts_nothing_off() -> None:
    long = "x" * 300
    lines = table(("A", "B"), [("1", "22"), (long, "3")]).splitlines()
    assert lines[2] == f"{long}  3"
    assert lines[1].index("22") == len(long) + 2
