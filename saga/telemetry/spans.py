"""Spans as plain values.

Everything the saga records about itself is a :class:`SpanRecord`: it can be produced by the pure state machine, stored
in a row, and emitted (again) by whichever process is alive. Span ids are derived from message ids, so a span that is
emitted twice after a crash carries the same identity and readers keep one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, Protocol

Attribute = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, Attribute]
Kind = Literal["internal", "producer", "consumer", "client", "server"]

SAMPLED = 0x01
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class SpanContext:
    """Identity of a span, as W3C Trace Context carries it."""

    trace_id: int
    span_id: int
    flags: int = SAMPLED
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """The ``traceparent`` header, version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"

    @property
    def sampled(self) -> bool:
        """Whether the head decision was to record."""
        return bool(self.flags & SAMPLED)

    def child(self, span_id: int) -> SpanContext:
        """A span of the same trace and decision."""
        return SpanContext(self.trace_id, span_id, self.flags, self.tracestate)


def parse_traceparent(value: str, tracestate: str = "") -> SpanContext | None:
    """The context a ``traceparent`` names, or None where it is malformed (the rule of W3C Trace Context, section 4)."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id, flags = int(match[2], 16), int(match[3], 16), int(match[4], 16)
    return SpanContext(trace_id, span_id, flags, tracestate) if trace_id and span_id else None


def derive_span_id(*parts: str) -> int:
    """A non-zero 64-bit id that depends only on ``parts``. The format is an identity: never change it."""
    return int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big") or 1


def derive_trace_id(*parts: str) -> int:
    """A non-zero 128-bit id that depends only on ``parts``; uniformly spread, so ratio samplers treat it fairly."""
    return int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=16).digest(), "big") or 1


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span; ``at_ns`` is nanoseconds since the epoch."""

    name: str
    at_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One finished span. ``error`` is the status description and makes the status ERROR; None leaves it UNSET."""

    name: str
    kind: Kind
    context: SpanContext
    parent: SpanContext | None
    start_ns: int
    end_ns: int
    attributes: Attributes = field(default_factory=dict)
    error: str | None = None
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanContext, ...] = ()


class Recorder(Protocol):
    """Where finished spans go."""

    def record(self, span: SpanRecord) -> None:
        """Accept a finished span; never blocks and never raises."""
        ...
