"""Points in time as people type them: ``15m``, ``2h``, ``3d`` ago, ``2026-11-22``, ``2026-11-22T16:14:03+01:00``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|h|d|w)(?:\s+ago)?")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Moment:
    """So many microseconds ago, or else at ``at_us`` microseconds since the epoch."""

    ago_us: int | None = None
    at_us: int = 0

    def absolute_us(self, now_us: int) -> int:
        """Microseconds since the epoch, when now is ``now_us``."""
        return self.at_us if self.ago_us is None else now_us - self.ago_us


def parse_moment(text: str) -> Moment:
    """A moment from its text; without a zone it is UTC. Raises ``ValueError``."""
    text = text.strip()
    if text == "now":
        return Moment(ago_us=0)
    if match := _AGO.fullmatch(text):
        return Moment(ago_us=int(float(match[1]) * _SECONDS[match[2]] * 1_000_000))
    at = datetime.fromisoformat(text)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return Moment(at_us=int(at.timestamp() * 1_000_000))


class MomentType(click.ParamType[Moment]):
    """An option that takes a moment."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """See click."""
        try:
            return value if isinstance(value, Moment) else parse_moment(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; use 15m, 2h or 3d (ago), or 2026-11-22T16:14:03 (UTC)", param, ctx)
