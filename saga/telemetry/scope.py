"""What is current while a step is carried out: its span, its baggage, and ids that repeat when it is repeated.

A worker may die after an HTTP call whose server already reported its side. When the command is redelivered the step is
carried out again; if the client span then had a new random id, the server's span would hang in the air for ever. So
within a scope the n-th span the SDK makes gets an id derived from the command, its attempt and n.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.span import TraceState

from saga.telemetry.spans import SpanContext, derive_span_id

_baggage = W3CBaggagePropagator()


@dataclass(slots=True)
class _Series:
    seed: str
    made: int = 0


_series: ContextVar[_Series | None] = ContextVar("saga_span_ids", default=None)


class ScopedIdGenerator(RandomIdGenerator):
    """Random ids, except within a :func:`step_scope`."""

    def generate_span_id(self) -> int:
        """The next id of the scope's series, or a random one outside any scope."""
        series = _series.get()
        if series is None:
            return super().generate_span_id()
        series.made += 1
        return call_span_id(series.seed, series.made)


def call_series(command_id: str, attempt: int) -> str:
    """The seed from which the spans of the calls that an attempt at a command makes get their ids."""
    return f"{command_id}:{attempt}"


def call_span_id(series: str, number: int) -> int:
    """The id of the n-th of those spans, from 1."""
    return derive_span_id(series, str(number), "inner")


def to_otel(context: SpanContext) -> trace.SpanContext:
    """Our span context as the API's."""
    return trace.SpanContext(
        context.trace_id,
        context.span_id,
        is_remote=False,
        trace_flags=trace.TraceFlags(context.flags),
        trace_state=TraceState.from_header([context.tracestate]) if context.tracestate else None,
    )


@contextmanager
def step_scope(context: SpanContext | None, baggage: str, seed: str) -> Iterator[None]:
    """Make ``context`` the current span, ``baggage`` the current baggage, and derive inner span ids from ``seed``."""
    scope = otel_context.Context()
    if context is not None:
        scope = trace.set_span_in_context(trace.NonRecordingSpan(to_otel(context)), scope)
    if baggage:
        scope = _baggage.extract({"baggage": baggage}, scope)
    token = otel_context.attach(scope)
    series = _series.set(_Series(seed))
    try:
        yield
    finally:
        _series.reset(series)
        otel_context.detach(token)
