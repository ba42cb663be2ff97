"""A trace as readers see it: spans as a tree, whoever stored them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from saga.telemetry.spans import Kind

Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]
Status = Literal["unset", "ok", "error"]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened within a span; ``at_ns`` is nanoseconds since the epoch."""

    name: str
    at_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceLink:
    """A reference to another span, of this trace or of another."""

    trace_id: int
    span_id: int
    tracestate: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span as it was received. Times are nanoseconds since the epoch; ``parent_id`` 0 means none."""

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    kind: Kind
    service: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    events: tuple[TraceEvent, ...] = ()
    links: tuple[TraceLink, ...] = ()
    status: Status = "unset"
    message: str = ""
    flags: int = 0
    tracestate: str = ""
    scope: str = ""
    resource: Mapping[str, Value] = field(default_factory=dict)

    @property
    def duration_ns(self) -> int:
        """How long it took; never negative, whatever the clocks said."""
        return max(0, self.end_ns - self.start_ns)

    @property
    def failed(self) -> bool:
        """Whether its status is ERROR."""
        return self.status == "error"


@dataclass(frozen=True, eq=False)
class Trace:
    """Every span of one trace, each once, in order of start.

    ``external_parent`` is the id of a span that is known to live elsewhere: the publisher's, which the saga continues.
    """

    trace_id: int
    spans: tuple[TraceSpan, ...]
    external_parent: int = 0

    @classmethod
    def of(cls, trace_id: int, spans: Iterable[TraceSpan], external_parent: int = 0) -> Trace:
        """A trace of ``spans``. A span that was emitted twice, after a crash, is one span: the last received counts."""
        by_id = {span.span_id: span for span in spans}
        ordered = sorted(by_id.values(), key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
        return cls(trace_id, tuple(ordered), external_parent)

    def continuing(self, external_parent: int) -> Trace:
        """The same trace, known to continue one in which ``external_parent`` is the publisher's span (0: none)."""
        return Trace(self.trace_id, self.spans, external_parent)

    def __len__(self) -> int:
        return len(self.spans)

    @cached_property
    def by_id(self) -> Mapping[int, TraceSpan]:
        """Spans by their id."""
        return {span.span_id: span for span in self.spans}

    @cached_property
    def _children(self) -> Mapping[int, tuple[TraceSpan, ...]]:
        children: dict[int, list[TraceSpan]] = {}
        for span in self.spans:
            children.setdefault(span.parent_id, []).append(span)
        return {parent: tuple(spans) for parent, spans in children.items()}

    def children(self, span: TraceSpan) -> tuple[TraceSpan, ...]:
        """The spans directly under ``span``, in order of start."""
        return self._children.get(span.span_id, ())

    def parent(self, span: TraceSpan) -> TraceSpan | None:
        """The span that ``span`` is under, when it was received."""
        return self.by_id.get(span.parent_id)

    @cached_property
    def roots(self) -> tuple[TraceSpan, ...]:
        """Spans without a parent, and those whose parent is the publisher's."""
        return tuple(span for span in self.spans if span.parent_id == 0 or self._is_external(span))

    @cached_property
    def orphans(self) -> tuple[TraceSpan, ...]:
        """Spans whose parent was not received and is not the publisher's: the trace is incomplete, or unfinished."""
        return tuple(
            span
            for span in self.spans
            if span.parent_id and span.parent_id not in self.by_id and not self._is_external(span)
        )

    def _is_external(self, span: TraceSpan) -> bool:
        return span.parent_id != 0 and span.parent_id == self.external_parent and span.parent_id not in self.by_id

    def walk(self, roots: Iterable[TraceSpan] | None = None) -> Iterator[tuple[int, TraceSpan]]:
        """(depth, span) of the whole tree, parents before children; orphans follow the roots. Cycles are cut."""
        seen: set[int] = set()
        stack = [(0, span) for span in reversed([*self.roots, *self.orphans] if roots is None else [*roots])]
        while stack:
            depth, span = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield depth, span
            stack += [(depth + 1, child) for child in reversed(self.children(span))]

    def named(self, name: str) -> tuple[TraceSpan, ...]:
        """Every span called ``name``, in order of start."""
        return tuple(span for span in self.spans if span.name == name)

    def one(self, name: str) -> TraceSpan:
        """The only span called ``name``. Raises ``LookupError`` when there is none or more than one."""
        found = self.named(name)
        if len(found) != 1:
            raise LookupError(f"trace {self.trace_id:032x} has {len(found)} spans called {name!r}, not one")
        return found[0]

    def where(self, condition: Callable[[TraceSpan], bool]) -> tuple[TraceSpan, ...]:
        """Every span for which ``condition`` holds, in order of start."""
        return tuple(span for span in self.spans if condition(span))

    @property
    def start_ns(self) -> int:
        """When the first span began; 0 for an empty trace."""
        return self.spans[0].start_ns if self.spans else 0

    @property
    def end_ns(self) -> int:
        """When the last span ended; 0 for an empty trace."""
        return max((span.end_ns for span in self.spans), default=0)

    @property
    def services(self) -> tuple[str, ...]:
        """Who took part, in order of appearance."""
        return tuple(dict.fromkeys(span.service for span in self.spans))
