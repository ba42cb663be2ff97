"""``--since`` takes a time ago or a moment."""

from __future__ import annotations

import pytest

from saga.cli.audit import moment_us
from saga.errors import UsageError

NOW_S = 1_790_000_000.0


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("90s", NOW_S - 90),
        ("15m", NOW_S - 900),
        ("2h", NOW_S - 7_200),
        ("1d", NOW_S - 86_400),
        ("2026-11-22T10:00:00", 1_795_341_600),
        ("2026-11-22T10:00:00+01:00", 1_795_338_000),
    ],
)
def test_a_moment_is_understood(text: str, expected_s: float) -> None:
    assert moment_us(text, NOW_S) == int(expected_s * 1_000_000)


@pytest.mark.parametrize("text", ["yesterday", "15", "m", "-5m"])
def test_anything_else_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(UsageError, match="neither like 15m"):
        moment_us(text, NOW_S)
