"""A trace drawn in the terminal: the tree on the left, bars to scale on the right, remarks in between.

    Console().print(Waterfall(trace))

Wide terminals get service, bar and duration; narrow ones lose the service first, then the bars. Without colour the
drawing says the same: a rollback has heavy guides, an error a cross, an event a diamond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from saga.traces.model import Trace, TraceSpan
from saga.traces.rows import Row, RowBuilder, Tone, is_messaging
from saga.traces.timeline import Timeline, duration

_SERVICE_COLOURS = ("cyan", "green", "blue", "bright_cyan", "bright_green", "bright_blue", "yellow", "white")
_TONES: dict[Tone, str] = {"plain": "", "rollback": "magenta", "error": "red", "event": "yellow", "dim": "dim"}
_STATUS_STYLES = {"CONFIRMED": "black on green", "FAILED": "white on red", "NEEDS_ATTENTION": "white on red"}
_DURATION = 10  # cells
_LEAST_BAR = 16
_ASCII = str.maketrans(dict(zip("├└│┣┗┃─━╺╸┄◆✗↶✉·…µ⋯┊", "|`|#`#-=-- *x<m..u~ ", strict=True)))


@dataclass(frozen=True, slots=True)
class _Columns:
    label: int
    service: int  # 0: not shown
    bar: int  # 0: not shown


class Waterfall:
    """A rich renderable of ``trace``. ``show_messaging`` unfolds the send and process spans of every record."""

    def __init__(self, trace: Trace, *, show_messaging: bool = False, title: str | None = None) -> None:
        self._trace = trace
        self._title = title
        builder = RowBuilder(trace, show_messaging=show_messaging)
        self._rows = builder.build()
        self._folded = builder.folded
        self._colours = {
            service: _SERVICE_COLOURS[number % len(_SERVICE_COLOURS)] for number, service in enumerate(trace.services)
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines(options.max_width):
            line.no_wrap, line.overflow, line.end = True, "ellipsis", "\n"
            if options.ascii_only:
                line.plain = line.plain.translate(_ASCII)
            yield line

    def _lines(self, width: int) -> Iterator[Text]:
        yield from self._header(width)
        if not self._rows:
            yield Text("no span of it has been received", style="dim")
            return
        columns = self._columns(width)
        spans = [row.span for row in self._rows if row.span is not None]
        timeline = Timeline(
            [(span.start_ns, span.end_ns) for span in spans if not self._waits(span)],
            min(span.start_ns for span in spans),
            max(span.end_ns for span in spans),
            columns.bar,
        )
        if columns.bar:
            yield self._axis(columns, timeline)
        for row in self._rows:
            yield self._row(row, columns, timeline)
            for remark in row.remarks:
                line = Text(" ")
                _guide(line, row.below)
                line.append(f"{remark.sign} {remark.text}", _TONES[remark.tone])
                yield line
        yield from self._footer()

    def _waits(self, span: TraceSpan) -> bool:
        """Whether a span's time is mostly that of what is under it, so that it does not make a moment busy."""
        return span.span_id in self._parents

    @cached_property
    def _parents(self) -> frozenset[int]:
        """Spans that something shown hangs from, directly or through folded ones."""
        found: set[int] = set()
        for row in self._rows:
            span = row.span and self._trace.parent(row.span)
            while span is not None and is_messaging(span) and span.span_id not in found:
                found.add(span.span_id)
                span = self._trace.parent(span)
            if span is not None:
                found.add(span.span_id)
        return frozenset(found)

    def _columns(self, width: int) -> _Columns:
        label = 2 + max(sum(len(text) for text, _ in row.guides) + cell_len(_label(row)) for row in self._rows)
        service = 2 + max((cell_len(row.span.service) for row in self._rows if row.span), default=0)
        label = min(label, max(30, width * 2 // 5))
        if (bar := width - label - service - _DURATION) >= _LEAST_BAR:
            return _Columns(label, service, bar)
        if (bar := width - label - _DURATION) >= _LEAST_BAR:
            return _Columns(label, 0, bar)
        return _Columns(max(8, width - _DURATION), 0, 0)

    def _header(self, width: int) -> Iterator[Text]:
        trace = self._trace
        root = next((span for _, span in trace.walk(trace.roots) if not is_messaging(span)), None)
        line = Text(" ")
        if self._title is not None:
            line.append(f"{self._title}  ", "bold")
        elif root is not None:
            prefix = root.name.partition(".")[0]
            line.append(f"{root.attributes.get(f'{prefix}.id', root.name)}  ", "bold")
            if status := root.attributes.get(f"{prefix}.status"):
                line.append(f" {status} ", _STATUS_STYLES.get(str(status), "black on yellow"))
                line.append("  ")
        shown = root or trace
        length = duration(max(0, shown.end_ns - shown.start_ns))
        services = len(trace.services)
        line.append(f"{length} · {len(trace)} spans · {services} service{'s' if services != 1 else ''}")
        identity = f"trace {trace.trace_id:032x}"
        if line.cell_len + len(identity) + 3 <= width:
            line.append(" " * (width - line.cell_len - len(identity)) + identity, "dim")
            yield line
        else:
            yield line
            yield Text(f" {identity}", style="dim")

    def _axis(self, columns: _Columns, timeline: Timeline) -> Text:
        cells = [" "] * columns.bar
        for tick in timeline.ticks():
            cells[tick.cell : tick.cell + len(tick.label)] = tick.label
        for cell in range(columns.bar):
            if timeline.is_cut(cell) and cells[cell] == " ":
                cells[cell] = "⋯"
        return Text(" " * (columns.label + columns.service) + "".join(cells), style="dim")

    def _row(self, row: Row, columns: _Columns, timeline: Timeline) -> Text:
        line = Text(" ")
        _guide(line, row.guides)
        span = row.span
        room = columns.label - line.cell_len - 1
        if span is None:
            return line.append(row.label, "yellow")
        line.append(_shorten(_label(row), max(1, room)), self._label_style(row, span))
        line.append(" " * (columns.label - line.cell_len))
        colour = self._colours[span.service]
        if columns.service:
            line.append(_fit(span.service, columns.service - 1) + " ", colour)
        if columns.bar:
            style = "red" if span.failed else "magenta" if row.in_rollback else colour
            self._bar(line, span, timeline, style)
        return line.append(f"{duration(span.duration_ns):>{_DURATION}}", "red" if span.failed else "")

    @staticmethod
    def _label_style(row: Row, span: TraceSpan) -> str:
        if span.failed:
            return "bold red"
        if row.in_rollback:
            return "bold magenta"
        return "dim" if is_messaging(span) else "bold" if not row.guides else ""

    @staticmethod
    def _bar(line: Text, span: TraceSpan, timeline: Timeline, style: str) -> None:
        first, end = timeline.halves(span.start_ns, span.end_ns)
        marks = {timeline.cell(event.at_ns) for event in span.events}
        grid = {tick.cell for tick in timeline.ticks()}
        for cell in range(timeline.width):
            left, right = first <= cell * 2 < end, first <= cell * 2 + 1 < end
            if cell in marks:
                line.append("◆", "bold red" if span.failed else "bold yellow")
            elif left or right:
                bar = "┄" if timeline.is_cut(cell) else "━" if left and right else "╸" if left else "╺"
                line.append(bar, style)
            else:
                line.append("┊" if cell in grid else " ", "bright_black")

    def _footer(self) -> Iterator[Text]:
        if self._folded:
            yield Text(f" ✉ {self._folded} send and process spans are folded into the spans above", style="dim")
        if orphans := len(self._trace.orphans):
            what = "1 span has" if orphans == 1 else f"{orphans} spans have"
            yield Text(f" {what} a parent that has not arrived: the trace is unfinished or incomplete", style="yellow")


def _label(row: Row) -> str:
    return f"{row.label} ✉{row.folded}" if row.folded and row.span is not None else row.label


def _guide(line: Text, pieces: tuple[tuple[str, bool], ...]) -> None:
    for text, in_rollback in pieces:
        line.append(text, "magenta" if in_rollback else "bright_black")


def _fit(text: str, cells: int) -> str:
    return set_cell_size(_shorten(text, cells), cells)


def _shorten(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, max(0, cells - 1)) + "…"
