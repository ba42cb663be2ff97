"""A trace as the lines of a drawing: which spans are shown, under which guides, with which remarks. No widths yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saga.traces.model import Trace, TraceEvent, TraceSpan, Value
from saga.traces.timeline import duration

Tone = Literal["plain", "rollback", "error", "event", "dim"]
_MOST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of its own under a span: an event, an error, a link."""

    sign: str
    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Row:
    """One shown span. ``guides`` lead to it and ``below`` lead on to its remarks; a piece is (text, in a rollback).

    ``span`` is None for a parent that was not received. ``folded`` counts the messaging spans hidden directly under it.
    """

    span: TraceSpan | None
    label: str
    guides: tuple[tuple[str, bool], ...]
    below: tuple[tuple[str, bool], ...]
    remarks: tuple[Remark, ...] = ()
    folded: int = 0
    in_rollback: bool = False


def is_messaging(span: TraceSpan) -> bool:
    """Whether it is a ``send`` or ``process`` span of a record: plumbing, unless it failed."""
    return span.kind in ("producer", "consumer") and "messaging.system" in span.attributes and not span.failed


def is_rollback(span: TraceSpan) -> bool:
    """Whether what is under it undoes something."""
    return "saga.rollback_reason" in span.attributes or span.name.endswith(".rollback")


class RowBuilder:
    """Lays a trace out as rows."""

    def __init__(self, trace: Trace, *, show_messaging: bool) -> None:
        self._trace = trace
        self._show_messaging = show_messaging
        self._rows: list[Row] = []
        self._seen: set[int] = set()
        self.folded = 0

    def build(self) -> Sequence[Row]:
        """Every row, from top to bottom: roots, then what hangs from a parent that was not received."""
        trace = self._trace
        for root in self._visible(trace.roots)[0]:
            self._add(root, (), (), in_rollback=False)
        missing: dict[int, list[TraceSpan]] = {}
        for orphan in trace.orphans:
            missing.setdefault(orphan.parent_id, []).append(orphan)
        for parent_id, spans in missing.items():
            shown, folded = self._visible(spans)
            if shown:
                label = f"(parent {parent_id:016x} has not arrived)"
                self._rows.append(Row(None, label, (), (), folded=folded))
                self._add_all(shown, (), in_rollback=False)
        return self._rows

    def _visible(self, spans: Sequence[TraceSpan]) -> tuple[list[TraceSpan], int]:
        """``spans`` with the folded ones replaced by what is under them, in order of start; how many were folded."""
        shown: list[TraceSpan] = []
        folded = 0
        stack = list(reversed(spans))
        while stack:
            span = stack.pop()
            if span.span_id in self._seen:
                continue
            self._seen.add(span.span_id)
            if is_messaging(span) and not self._show_messaging:
                folded += 1
                stack += reversed(self._trace.children(span))
            else:
                shown.append(span)
        self.folded += folded
        return sorted(shown, key=lambda span: span.start_ns), folded

    def _add_all(self, spans: Sequence[TraceSpan], stem: tuple[tuple[str, bool], ...], *, in_rollback: bool) -> None:
        tee, corner, pipe = ("┣━ ", "┗━ ", "┃  ") if in_rollback else ("├─ ", "└─ ", "│  ")
        for span in spans:
            last = span is spans[-1]
            guides = (*stem, (corner if last else tee, in_rollback))
            below = (*stem, ("   " if last else pipe, in_rollback))
            self._add(span, guides, below, in_rollback=in_rollback)

    def _add(
        self,
        span: TraceSpan,
        guides: tuple[tuple[str, bool], ...],
        stem: tuple[tuple[str, bool], ...],
        *,
        in_rollback: bool,
    ) -> None:
        inside = in_rollback or is_rollback(span)
        children, folded = self._visible(self._trace.children(span))
        below = (*stem, (("┃  " if inside else "│  ") if children else "   ", inside))
        self._rows.append(Row(span, span.name, guides, below, self._remarks(span), folded, inside))
        self._add_all(children, stem, in_rollback=inside)

    def _remarks(self, span: TraceSpan) -> tuple[Remark, ...]:
        remarks = [Remark("↶", self._link(span, link.span_id), "rollback") for link in span.links]
        if is_rollback(span) and (reason := span.attributes.get("saga.rollback_reason")):
            remarks.append(Remark("↶", f"because of {_text(reason)}", "rollback"))
        remarks += [Remark("◆", _event(span, event), "event") for event in span.events[:_MOST_EVENTS]]
        if len(span.events) > _MOST_EVENTS:
            remarks.append(Remark("◆", f"and {len(span.events) - _MOST_EVENTS} more events", "dim"))
        if span.failed:
            kind = span.attributes.get("error.type")
            what = " · ".join(_text(part) for part in dict.fromkeys((span.message, kind)) if part)
            remarks.append(Remark("✗", what or "failed", "error"))
        return tuple(remarks)

    def _link(self, span: TraceSpan, target_id: int) -> str:
        target = self._trace.by_id.get(target_id)
        name = target.name if target else _text(span.attributes.get("saga.compensates") or f"span {target_id:016x}")
        return f"undoes {name}" if span.attributes.get("saga.compensation") else f"linked to {name}"


def _event(span: TraceSpan, event: TraceEvent) -> str:
    after = duration(max(0, event.at_ns - span.start_ns))
    ours = f"{span.name.partition('.')[0]}."  # "booking.": said once, by the span's name
    said = [f"{key.removeprefix(ours)}={_text(value)}" for key, value in event.attributes.items()]
    return "  ".join([event.name, f"+{after}", *said])


def _text(value: Value) -> str:
    """A value on one line, whatever it holds."""
    return " ".join(str(value).split())
