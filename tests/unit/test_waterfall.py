"""The waterfall: what it says at any width, with and without colour."""

from __future__ import annotations

import re
from io import StringIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from saga.traces.model import Trace
from saga.traces.timeline import Timeline, duration
from saga.traces.waterfall import Waterfall
from tests.support import traces
from tests.support.traces import EPOCH_NS, TRACE_ID, TraceBuilder


class Output(StringIO):
    """A terminal's end of a pipe, in some encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute where StringIO has a read-only one
        return self._encoding


def draw(
    trace: Trace, width: int = 120, *, colour: bool = False, encoding: str = "utf-8", show_messaging: bool = False
) -> str:
    out = Output(encoding)
    Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None).print(
        Waterfall(trace, show_messaging=show_messaging)
    )
    return out.getvalue()


def labels(drawing: str) -> list[str]:
    """Span names in order, with their guides."""
    return [
        found[1].rstrip()
        for line in drawing.splitlines()
        if (found := re.match(r" ([├└│┣┗┃─━ ]*[a-zA-Z][\w.]+)", line))
    ]


def test_steps_stand_as_siblings_in_order_of_start() -> None:
    drawing = draw(traces.confirmed())
    steps = [label.lstrip("├└─ ") for label in labels(drawing) if re.match("[├└]─ booking", label)]
    assert steps == [
        "booking.accepted",
        "booking.check_availability",
        "booking.acquire_lock",
        "booking.process_payment",
        "booking.confirm",
        "booking.send_notification",
    ]
    assert "bk-000042   CONFIRMED   41.3 ms · 23 spans · 8 services" in drawing
    assert f"{TRACE_ID:032x}" in drawing


def test_undos_hang_in_reverse_from_the_rollback_and_name_what_they_undo() -> None:
    lines = draw(traces.rolled_back()).splitlines()
    begin = next(number for number, line in enumerate(lines) if "booking.rollback" in line)
    told = " ".join(" ".join(lines[begin + 1 :]).split())
    expected = (
        "because of no_inventory",
        "┣━ booking.restore_inventory",
        "↶ undoes booking.confirm",
        "┣━ booking.refund_payment",
        "↶ undoes booking.process_payment",
        "┗━ booking.release_lock",
        "↶ undoes booking.acquire_lock",
    )
    places = [told.index(part) for part in expected]
    assert places == sorted(places)


def test_errors_and_events_are_told_under_their_span() -> None:
    lines = [line.strip(" │├└─┃") for line in draw(traces.rolled_back()).splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("booking.acquire_lock"))
    assert lines[at + 1].startswith("◆ lock_contention  +1.20 ms  contention_reason=held  competing_reservation=bk-")
    assert lines[at + 2] == "✗ Lock contention"
    assert "◆" in lines[at], "the event is marked on the bar as well"


def test_errors_are_red_and_the_rollback_magenta() -> None:
    drawing = draw(traces.rolled_back(), colour=True)
    assert "\x1b[1;31mbooking.confirm" in drawing
    assert "\x1b[1;35mbooking.rollback" in drawing
    assert "\x1b[" not in draw(traces.rolled_back())


def test_messaging_spans_are_folded_and_counted_and_unfold() -> None:
    folded = draw(traces.confirmed())
    assert "send booking" not in folded
    assert "booking.create ✉12" in folded
    assert "12 send and process spans are folded" in folded
    unfolded = draw(traces.confirmed(), show_messaging=True)
    assert "✉" not in unfolded
    assert len(re.findall(r"send booking|process booking", unfolded)) == 12


def test_a_failed_send_is_never_folded() -> None:
    made = TraceBuilder()
    root = made.add("booking.create", "orchestrator", 0, 5)
    made.add("send booking.replies", "locking", 1, 2, root, kind="producer", error="refused", attributes=traces.KAFKA)
    assert "send booking.replies" in draw(made.trace())


def test_what_hangs_from_a_folded_span_moves_up() -> None:
    made = TraceBuilder()
    received = made.message("booking.requests", "cli", "orchestrator", 0, 0)
    root = made.add("booking.create", "orchestrator", 1, 5, received)
    made.add("booking.accepted", "orchestrator", 2, 3, root)
    assert labels(draw(made.trace()))[-2:] == ["booking.create", "└─ booking.accepted"]


def test_an_unfinished_trace_says_so() -> None:
    drawing = draw(traces.unfinished())
    assert "(parent 0000000000000001 has not arrived)" in drawing
    assert "booking.check_availability" in drawing
    assert "unfinished or incomplete" in drawing


def test_a_trace_without_spans_is_drawn() -> None:
    assert "no span of it has been received" in draw(Trace.of(TRACE_ID, []))


@pytest.mark.parametrize("made", [traces.confirmed, traces.rolled_back, traces.cancelled_later, traces.unfinished])
def test_no_line_is_wider_than_the_terminal(made: object) -> None:
    assert callable(made)
    for width in (20, 40, 60, 80, 100, 140, 250):
        assert all(cell_len(line) <= width for line in draw(made(), width).splitlines())


def test_narrow_terminals_lose_the_service_first_and_then_the_bars() -> None:
    assert "orchestrator" in draw(traces.confirmed(), 90)
    narrow = draw(traces.confirmed(), 62)
    assert "orchestrator" not in narrow
    assert "━━" in narrow
    narrowest = draw(traces.confirmed(), 44)
    assert "━━" not in narrowest
    assert "booking.process_payment" in narrowest
    assert "14.0 ms" in narrowest


def test_a_terminal_without_unicode_gets_ascii() -> None:
    drawing = draw(traces.rolled_back(), encoding="ascii")
    assert drawing.isascii()
    assert "undoes booking.process_payment" in drawing


def test_bars_are_to_scale() -> None:
    lines = {line.split()[1]: line for line in draw(traces.confirmed(), 160).splitlines() if "─ booking" in line}
    paid, locked = lines["booking.process_payment"].count("━"), lines["booking.acquire_lock"].count("━")
    assert paid / locked == pytest.approx(14 / 2.1, rel=0.35)


def test_a_long_wait_is_cut_and_its_length_told() -> None:
    drawing = draw(traces.cancelled_later(), 120)
    axis = drawing.splitlines()[1]
    assert "⋯" in axis
    assert "40 min" in axis
    assert drawing.count("━") > 60, "what happened before and after the wait is still drawn to scale"


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)).map(sorted), min_size=1, max_size=6),
    st.integers(1, 200),
)
def test_time_never_runs_backwards_on_the_axis(intervals: list[list[int]], width: int) -> None:
    busy = [(EPOCH_NS + start, EPOCH_NS + end) for start, end in intervals]
    start, end = min(pair[0] for pair in busy), max(pair[1] for pair in busy)
    line = Timeline(busy, start, end, width)
    places = [line.place(moment) for moment in sorted(moment for pair in busy for moment in pair)]
    assert places == sorted(places)
    assert all(0 <= place <= width for place in places)
    for began, ended in busy:
        first, last = line.halves(began, ended)
        assert 0 <= first < last <= width * 2
    ticks = line.ticks()
    assert all(not one.overlaps(other) for one, other in pairwise(ticks))


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0"),
        (840, "0.84 µs"),
        (200_000, "200 µs"),
        (999_600, "1.00 ms"),
        (41_300_000, "41.3 ms"),
        (999_900_000, "1.00 s"),
        (59_990_000_000, "1 min 00 s"),
        (123_000_000_000, "2 min 03 s"),
        (7_260_000_000_000, "2 h 01 min"),
    ],
)
def test_durations_read_well(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
