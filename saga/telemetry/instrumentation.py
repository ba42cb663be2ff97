"""Switch on the libraries' instrumentations so that nothing is recorded twice.

* aiohttp client and server, asyncpg: as they are (with the stable names), since they open one span per call; aiohttp's
  are on every booking's way and get a tracer whose spans cost less (:mod:`saga.telemetry.tracer`).
* aiokafka: its spans end before the broker answers and before the record is looked at, so the saga's own ``send T`` and
  ``process T`` take their place. It is given a tracer that opens no span while our publisher is sending (the record's
  context is in the headers already, and :mod:`saga.telemetry.propagation` leaves it alone) and none for receiving.
  A plain ``producer.send`` by anybody else in the process is still traced by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util._decorator import _agnosticcontextmanager

_sending_ours: ContextVar[bool] = ContextVar("saga_sending", default=False)


@contextmanager
def our_own_send() -> Iterator[None]:
    """While this is open, records already carry their send span's context: the instrumentation adds nothing."""
    token = _sending_ours.set(True)
    try:
        yield
    finally:
        _sending_ours.reset(token)


class _AdoptingTracer(Tracer):
    """Opens no span where the saga makes its own."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Span:
        """A span, or the invalid one where ours is already there."""
        return INVALID_SPAN if self._ours(kwargs) else self._tracer.start_span(name, *args, **kwargs)

    @_agnosticcontextmanager
    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Span]:
        """Like :meth:`start_span`, made current; an invalid span is not made current."""
        if self._ours(kwargs):
            yield INVALID_SPAN
            return
        with self._tracer.start_as_current_span(name, *args, **kwargs) as span:
            yield span

    def _ours(self, kwargs: dict[str, Any]) -> bool:
        kind = kwargs.get("kind", SpanKind.INTERNAL)
        return kind is not SpanKind.PRODUCER or _sending_ours.get()


class _AdoptingProvider(TracerProvider):
    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return _AdoptingTracer(self._provider.get_tracer(*args, **kwargs))


def instrument(provider: TracerProvider, http: TracerProvider) -> None:
    """Instrument the libraries of this process; to be called once, before clients and servers are made.

    ``http`` makes the spans of the HTTP clients and servers.
    """
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
    from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
    from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

    AioHttpClientInstrumentor().instrument(tracer_provider=http)
    AioHttpServerInstrumentor().instrument(tracer_provider=http)
    AIOKafkaInstrumentor().instrument(tracer_provider=_AdoptingProvider(provider))
    AsyncPGInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]  # it publishes no types
