"""A tracer for the HTTP instrumentations, whose spans cost a quarter of the SDK's.

Two HTTP calls lie on every booking's way, each a client and a server span. The SDK's spans bound, clean and lock every
attribute, and ask a sampler; here attributes are what the instrumentations make of them (plain values), and sampled is
what has no unsampled parent. What is recorded is the same, and goes to the same pipeline.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util._decorator import _agnosticcontextmanager

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from saga.telemetry.pipeline import SpanPipeline

_MAX_TEXT = 512
_ON_EXIT = ("end_on_exit", "record_exception", "set_status_on_exception")
_UNSET = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class LeanTracerProvider(trace.TracerProvider):
    """Makes tracers whose spans go to ``pipeline`` as soon as they end. Spans are used by one task at a time."""

    def __init__(self, resource: Resource, ids: IdGenerator, pipeline: SpanPipeline) -> None:
        self._resource = resource
        self._ids = ids
        self._pipeline = pipeline

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> trace.Tracer:
        """A tracer with this instrumentation scope."""
        scope = InstrumentationScope(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return _LeanTracer(self._resource, self._ids, self._pipeline, scope)


class _LeanTracer(trace.Tracer):
    def __init__(
        self, resource: Resource, ids: IdGenerator, pipeline: SpanPipeline, scope: InstrumentationScope
    ) -> None:
        self._resource = resource
        self._ids = ids
        self._pipeline = pipeline
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A span below the current one, or one that does nothing where that is not sampled."""
        above = trace.get_current_span(context).get_span_context()
        parent = above if above.is_valid else None
        own = trace.SpanContext(
            self._ids.generate_trace_id() if parent is None else parent.trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=_SAMPLED if parent is None else parent.trace_flags,
            trace_state=None if parent is None else parent.trace_state,
        )
        if parent is not None and not parent.trace_flags.sampled:
            return NonRecordingSpan(own)
        span = _LeanSpan(name, own, parent, kind, self._resource, self._scope, self._pipeline)
        span._links = list(links or ())
        span._start_time = start_time or time.time_ns()
        if attributes:
            span.set_attributes(attributes)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:
        """Like :meth:`start_span`, made current, and ended when the context is left."""
        on_exit = {key: kwargs.pop(key, True) for key in _ON_EXIT}
        span = self.start_span(name, *args, **kwargs)
        with trace.use_span(span, **on_exit) as current:
            yield current


class _LeanSpan(trace.Span, ReadableSpan):
    """What the exporter reads of the SDK's own spans, without their bounds and locks."""

    def __init__(
        self,
        name: str,
        context: trace.SpanContext,
        parent: trace.SpanContext | None,
        kind: SpanKind,
        resource: Resource,
        scope: InstrumentationScope,
        pipeline: SpanPipeline,
    ) -> None:
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._resource = resource
        self._instrumentation_scope = scope
        self._pipeline = pipeline
        self._attributes: dict[str, Any] = {}
        self._events: list[Event] = []
        self._links: list[Link] = []
        self._status = _UNSET
        self._start_time: int | None = None
        self._end_time: int | None = None

    def get_span_context(self) -> trace.SpanContext:
        """See the API."""
        assert self._context is not None
        return self._context

    def is_recording(self) -> bool:
        """Until it has ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Texts are cut to 512 characters, as everywhere; None is no value."""
        if self._end_time is None and value is not None:
            self._attributes[key] = value[:_MAX_TEXT] if type(value) is str else value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """See :meth:`set_attribute`."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def update_name(self, name: str) -> None:
        """See the API."""
        self._name = name

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """See the API."""
        if self._end_time is None:
            self._events.append(Event(name, attributes, timestamp))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """The last word counts, but nothing changes OK and nobody sets UNSET."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        if self._status.status_code is not StatusCode.OK and status.status_code is not StatusCode.UNSET:
            self._status = status

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """As an event, in the terms of the semantic conventions."""
        kind = type(exception)
        told = {
            "exception.type": f"{kind.__module__}.{kind.__qualname__}"
            if kind.__module__ != "builtins"
            else kind.__name__,
            "exception.message": str(exception)[:_MAX_TEXT],
            "exception.stacktrace": "".join(traceback.format_exception(exception))[:_MAX_TEXT],
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**told, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Hand it over; a second end changes nothing."""
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._pipeline.on_end(self)
