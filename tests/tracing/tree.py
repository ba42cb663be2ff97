"""What a trace must look like, written down as a tree, and the differences between that and what arrived."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saga.telemetry.spans import Kind
from saga.traces.model import Status, Trace, TraceSpan


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """A value that cannot be known beforehand: it must be a ``kind`` for which ``holds``."""

    kind: type
    what: str
    holds: Callable[[Any], bool] = lambda _: True

    def __eq__(self, other: object) -> bool:
        return type(other) is self.kind and self.holds(other)

    __hash__ = None  # type: ignore[assignment]  # it equals many values

    def __repr__(self) -> str:
        return f"<{self.what}>"


OFFSET = Where(int, "an offset", lambda value: value >= 0)
PARTITION = Where(str, "a partition", str.isdecimal)
ANY_TEXT = Where(str, "any text")
POSITIVE = Where(float, "a positive number", lambda value: value > 0)


def like(pattern: str) -> Where:
    """Text that matches ``pattern`` from end to end."""
    return Where(str, f"text like {pattern}", lambda value: re.fullmatch(pattern, value) is not None)


def one_of(values: Iterable[str]) -> Where:
    """One of these texts."""
    known = frozenset(values)
    return Where(str, f"one of {', '.join(sorted(known))}", known.__contains__)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span: its name and every attribute it has."""

    name: str
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Node:
    """A span as it must be: every attribute, event and link it has, and every span under it.

    ``links`` name spans of the trace: ``booking.acquire_lock`` or, where there are several, ``booking.acquire_lock#2``
    for the second to start. Children of one name and service are listed in the order in which they start.
    """

    name: str
    kind: Kind
    service: str
    attributes: Mapping[str, object]
    children: tuple[Node, ...] = ()
    status: Status = "unset"
    message: object = ""
    events: tuple[Event, ...] = ()
    links: tuple[str, ...] = ()
    optional: frozenset[str] = field(default_factory=frozenset)
    """Attributes that may be missing."""

    def under(self, *children: Node) -> Node:
        """The same span with more under it."""
        return replace(self, children=(*self.children, *children))


def differences(trace: Trace, roots: Sequence[Node]) -> list[str]:
    """How ``trace`` differs from the trees of ``roots``, one line each; empty when it does not.

    ``trace`` must know the publisher's span as its external parent; orphans and cycles are differences too.
    """
    found = [f"orphan: {span.name} of {span.service}" for span in trace.orphans]
    names = _names(trace)
    found += _compare("", trace.roots, roots, trace, names)
    reached = {span.span_id for _, span in trace.walk()}
    return found + [f"in a cycle: {span.name}" for span in trace.spans if span.span_id not in reached]


def twice(spans: Iterable[TraceSpan]) -> list[str]:
    """The spans that arrived more than once, among all that arrived."""
    counts = Counter((span.trace_id, span.span_id) for span in spans)
    named = {(span.trace_id, span.span_id): f"{span.name} of {span.service}" for span in spans}
    return [f"{named[key]}: {count} times" for key, count in counts.items() if count > 1]


def _names(trace: Trace) -> Mapping[int, str]:
    """How links name spans."""
    counts = Counter(span.name for span in trace.spans)
    number: Counter[str] = Counter()
    names = {}
    for span in trace.spans:
        number[span.name] += 1
        names[span.span_id] = span.name if counts[span.name] == 1 else f"{span.name}#{number[span.name]}"
    return names


def _compare(
    path: str, actual: Sequence[TraceSpan], expected: Sequence[Node], trace: Trace, names: Mapping[int, str]
) -> list[str]:
    found: list[str] = []
    keys = dict.fromkeys([*((s.name, s.service) for s in actual), *((n.name, n.service) for n in expected)])
    for key in keys:
        here = f"{path}/{key[0]} ({key[1]})"
        spans = [span for span in actual if (span.name, span.service) == key]
        nodes = [node for node in expected if (node.name, node.service) == key]
        if len(spans) != len(nodes):
            found.append(f"{here}: {len(spans)} spans, {len(nodes)} expected")
        for number, (span, node) in enumerate(zip(spans, nodes, strict=False), 1):
            place = here if len(nodes) == 1 else f"{here} #{number}"
            found += [f"{place}: {line}" for line in _span(span, node, names)]
            found += _compare(place, trace.children(span), node.children, trace, names)
    return found


def _span(span: TraceSpan, node: Node, names: Mapping[int, str]) -> list[str]:
    found = []
    if span.kind != node.kind:
        found.append(f"kind {span.kind}, not {node.kind}")
    if span.status != node.status or node.message != span.message:
        found.append(f"status {span.status} {span.message!r}, not {node.status} {node.message!r}")
    if span.end_ns <= span.start_ns:
        found.append("it ends before it has begun")
    found += _attributes("attribute", span.attributes, node.attributes, node.optional)
    events = [event.name for event in span.events]
    if events != [event.name for event in node.events]:
        found.append(f"events {events}, not {[event.name for event in node.events]}")
    else:
        for event, wanted in zip(span.events, node.events, strict=True):
            found += _attributes(f"event {event.name}: attribute", event.attributes, wanted.attributes, frozenset())
            if not span.start_ns <= event.at_ns <= span.end_ns:
                found.append(f"event {event.name} is not within the span")
    links = [names.get(link.span_id, "of another trace") for link in span.links]
    if links != [*node.links]:
        found.append(f"links to {links}, not {[*node.links]}")
    return found


def _attributes(
    what: str, actual: Mapping[str, object], expected: Mapping[str, object], optional: frozenset[str]
) -> list[str]:
    found = [f"{what} {name}={actual[name]!r} is not expected" for name in actual.keys() - expected.keys()]
    found += [f"{what} {name} is missing" for name in expected.keys() - actual.keys() - optional]
    for name in actual.keys() & expected.keys():
        wanted = expected[name]
        # Python's True equals 1; a trace's does not.
        same_type = isinstance(wanted, Where) or type(wanted) is type(actual[name])
        if not same_type or wanted != actual[name]:
            found.append(f"{what} {name} is {actual[name]!r}, not {wanted!r}")
    return sorted(found)
