"""A time axis in character cells: where moments fall, ticks, bars at half-cell precision, and long waits cut short.

A booking that is cancelled an hour after it was made would otherwise be two dots at the ends of an empty line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_IDLE = 0.5  # a stretch in which nothing happens is cut when it is at least this part of the whole ...
_CUT_TO = 0.06  # ... and is then drawn as this part of it
_STEPS = (1, 2, 5)
_TICK_CELLS = 9  # the least distance between two ticks


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled cell of the axis."""

    cell: int
    label: str

    def overlaps(self, other: Tick) -> bool:
        """Whether the labels of two ticks touch."""
        return self.cell < other.cell + len(other.label) + 2 and other.cell < self.cell + len(self.label) + 2


class Timeline:
    """Maps nanoseconds to ``width`` cells. ``busy`` are the intervals in which something happened."""

    def __init__(self, busy: Iterable[tuple[int, int]], start_ns: int, end_ns: int, width: int) -> None:
        self.width = max(1, width)
        self.start_ns = start_ns
        self.end_ns = max(end_ns, start_ns + 1)
        idle = _idle(busy, start_ns, self.end_ns)
        self.cuts = tuple(gap for gap in idle if gap[1] - gap[0] >= _IDLE * (self.end_ns - start_ns))
        self._times, self._places = self._pieces()

    def _pieces(self) -> tuple[list[int], list[float]]:
        """Corners of the piecewise linear map from time to place (0 to 1)."""
        total = self.end_ns - self.start_ns
        cut = sum(end - start for start, end in self.cuts)
        shown = max(total - cut, 1)
        scale = (1 - _CUT_TO * len(self.cuts)) / shown
        times, places = [self.start_ns], [0.0]
        for start, end in self.cuts:
            times.append(start)
            places.append(places[-1] + (start - times[-2]) * scale)
            times.append(end)
            places.append(places[-1] + _CUT_TO)
        times.append(self.end_ns)
        places.append(1.0)
        return times, places

    def place(self, at_ns: int) -> float:
        """Where a moment lies, in cells from the left; outside times fall on the nearer end."""
        if at_ns <= self.start_ns:
            return 0.0
        if at_ns >= self.end_ns:
            return float(self.width)
        piece = bisect_right(self._times, at_ns) - 1
        began, ended = self._times[piece], self._times[piece + 1]
        share = (at_ns - began) / max(1, ended - began)
        return (self._places[piece] + share * (self._places[piece + 1] - self._places[piece])) * self.width

    def cell(self, at_ns: int) -> int:
        """The cell a moment lies in."""
        return min(self.width - 1, int(self.place(at_ns)))

    def halves(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """First and last-plus-one half-cell of a bar; at least one half-cell, and within the axis."""
        first = min(int(self.place(start_ns) * 2), self.width * 2 - 1)
        return first, min(max(first + 1, round(self.place(end_ns) * 2)), self.width * 2)

    def is_cut(self, cell: int) -> bool:
        """Whether a cell stands for a stretch that was cut short."""
        return any(self.place(start) <= cell and cell + 1 <= self.place(end) for start, end in self.cuts)

    def ticks(self) -> Sequence[Tick]:
        """Offsets from the start: where each cut ends, and round ones as many as fit, none within a cut."""
        made = [self._tick(end - self.start_ns) for _, end in self.cuts]
        shown = self.end_ns - self.start_ns - sum(end - start for start, end in self.cuts)
        step = _step(shown * _TICK_CELLS / self.width)
        at = 0
        while self.start_ns + at <= self.end_ns:
            moment = self.start_ns + at
            cut = next((gap for gap in self.cuts if gap[0] < moment <= gap[1]), None)
            if cut is not None:
                at = ((cut[1] - self.start_ns) // step + 1) * step
                continue
            tick = self._tick(at)
            if tick.cell + len(tick.label) <= self.width and not any(tick.overlaps(other) for other in made):
                made.append(tick)
            at += step
        return sorted(made, key=lambda tick: tick.cell)

    def _tick(self, offset: int) -> Tick:
        label = duration(offset, short=True)
        return Tick(max(0, min(self.cell(self.start_ns + offset), self.width - len(label))), label)


def _idle(busy: Iterable[tuple[int, int]], start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    gaps = []
    reached = start_ns
    for began, ended in sorted(busy):
        if began > reached:
            gaps.append((reached, began))
        reached = max(reached, ended)
    if reached < end_ns:
        gaps.append((reached, end_ns))
    return gaps


def _step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, ... nanoseconds that is at least ``least``."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= least:
                return step * power
        power *= 10


def duration(nanoseconds: int, *, short: bool = False) -> str:
    """A length of time for people: three digits and a unit. ``short`` leaves out what a tick does not need."""
    if nanoseconds == 0:
        return "0"
    for limit, unit, size in ((1_000_000, "µs", 1_000), (1_000_000_000, "ms", 1_000_000), (60 * 10**9, "s", 10**9)):
        if nanoseconds < limit * 0.9995:
            value = nanoseconds / size
            text = f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
            return f"{_trim(text) if short else text} {unit}"
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if short and not seconds else f"{minutes} min {seconds:02d} s"


def _trim(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number
