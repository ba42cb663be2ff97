"""How times, durations, amounts and statuses are written, and tables that survive a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from saga.engine.state import Status

_STATUS_COLOURS = {
    Status.CONFIRMED: "green",
    Status.RUNNING: "cyan",
    Status.COMPENSATING: "cyan",
    Status.CANCELLED: "yellow",
    Status.FAILED: "red",
    Status.TIMED_OUT: "red",
    Status.NEEDS_ATTENTION: "bright_magenta",
}
# ISO 4217 currencies whose minor unit is not a hundredth.
_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def moment(us: int) -> str:
    """Microseconds since the epoch as ``2026-11-22T16:14:03.120Z``."""
    at = datetime.fromtimestamp(us / 1_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{us // 1_000 % 1_000:03d}Z"


def duration(us: int) -> str:
    """A duration a person can read: ``41 ms``, ``3.2 s``, ``4 min 10 s``."""
    if us < 0:
        return f"-{duration(-us)}"
    if us < 1_000_000:
        return f"{us / 1_000:.1f} ms" if us < 10_000 else f"{us // 1_000} ms"
    seconds = us / 1_000_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def amount(minor: int, currency: str) -> str:
    """Integer minor units as people write them: ``420.00 EUR``, ``16350 JPY``."""
    digits = _MINOR_DIGITS.get(currency, 2)
    if digits == 0:
        return f"{minor} {currency}"
    major, rest = divmod(minor, 10**digits)
    return f"{major}.{rest:0{digits}d} {currency}"


def status(value: Status) -> str:
    """A status in its colour; click drops the colour where it is not wanted."""
    return click.style(value.value, fg=_STATUS_COLOURS[value])


def heading(text: str) -> str:
    """A line that begins a part of the output."""
    return click.style(text, bold=True)


def faint(text: str) -> str:
    """Something beside the point."""
    return click.style(text, dim=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, indent: str = "") -> str:
    """Columns lined up by spaces, nothing cut off, so that ``grep`` and ``awk`` can read it as well."""
    cells = [list(row) for row in rows]
    names = [click.style(name, dim=True) for name in columns]
    widths = [max(len(click.unstyle(cell)) for cell in column) for column in zip(names, *cells, strict=True)]
    lines = []
    for row in [names, *cells]:
        padded = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        lines.append((indent + "  ".join(padded)).rstrip())
    return "\n".join(lines)
