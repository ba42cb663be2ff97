"""Asking the saga for things, as its own clients do: requests onto ``booking.requests``, each with its send span.

With a collector configured every request begins a trace (or continues a caller's) with a ``send booking.requests`` span
of the service ``publisher``. Without one no context of ours is sent, so that no trace ever hangs from a span that
nobody will see: the orchestrator then begins the trace.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from saga.engine.envelope import Envelope, Outgoing
from saga.errors import UsageError
from saga.messaging.wire import body_to_json, encode
from saga.telemetry import names
from saga.telemetry.redaction import contains_card_number
from saga.telemetry.spans import SAMPLED, SpanContext, derive_trace_id
from schemas.requests import BookingCancellationRequested, BookingRequested
from schemas.topics import REQUESTS

if TYPE_CHECKING:
    from saga.messaging.broker import Outbound
    from saga.messaging.kafka import KafkaPublisher
    from saga.settings import Settings
    from saga.telemetry.pipeline import SpanPipeline

SERVICE = "publisher"
CARD_REFUSED = "there is what looks like a card number in it; send the payment provider's token (tok_...) instead"

_SOURCE = "/booking/publisher"
_EXPORT_S = 0.8  # how long an exporter that makes no progress is waited for
_EXPORT_AT_MOST_S = 10.0
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u to mistake


@dataclass(frozen=True, slots=True)
class Request:
    """Something to ask for. ``key`` is the booking id; ``parent`` the caller's span, if the caller is traced."""

    key: str
    body: BookingRequested | BookingCancellationRequested
    parent: SpanContext | None = None

    @property
    def message_id(self) -> str:
        """Depends on the content only, so that the same request published twice is recognised as one."""
        content = type(self.body).type_name().encode() + b"|" + body_to_json(self.body)
        return f"{self.key}.{blake2b(content, digest_size=8).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Published:
    """A request that the broker has acknowledged, and the trace in which its saga is to be found."""

    booking_id: str
    message_id: str
    trace_id: str


def new_booking_id(now_ms: int | None = None) -> str:
    """A booking id that sorts by time and can be read aloud: ``bk-01kar3xv8z-6gk2m9rw``."""
    while True:
        when = _base32(time.time_ns() // 1_000_000 if now_ms is None else now_ms, 10)
        booking_id = f"bk-{when}-{_base32(secrets.randbits(40), 8)}"
        if not contains_card_number(booking_id):  # all digits by chance: the saga would refuse it
            return booking_id


def _base32(number: int, places: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(places)))


class BookingPublisher:
    """Publishes requests; to be used as an async context manager.

    Entering creates the topic where it is missing and connects, raising :class:`BrokerUnreachable` or
    :class:`SagaError`. After leaving, ``lost_spans`` says how many send spans the collector did not take in time; a
    collector that is away delays leaving by less than a second and fails nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spans: SpanPipeline | None = None
        self._kafka: KafkaPublisher | None = None
        self.created_topics: Sequence[str] = ()
        self.lost_spans = 0

    async def __aenter__(self) -> Self:
        from opentelemetry.metrics import NoOpMeterProvider

        from saga.messaging.kafka import KafkaPublisher
        from saga.messaging.topics import ensure_topics
        from saga.telemetry.meters import Meters

        self.created_topics = await ensure_topics(self._settings, (REQUESTS,))
        self._spans = _pipeline(self._settings)
        meters = Meters(NoOpMeterProvider().get_meter(names.SCOPE))
        self._kafka = KafkaPublisher(self._settings, SERVICE, self._spans, meters)
        try:
            await self._kafka.start()
        except BaseException:
            self._spans.shutdown(0.0)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._kafka is not None
        assert self._spans is not None
        try:
            await self._kafka.close()
        finally:
            await asyncio.to_thread(self._export, self._spans)

    async def publish(self, requests: Sequence[Request]) -> list[Published]:
        """Write ``requests`` and return when the broker has acknowledged each. May be called concurrently.

        Raises :class:`UsageError`, having sent none of them, when one holds a card number;
        :class:`BrokerUnreachable` when any may not have been written: publishing them again is then right, for the
        saga recognises those it has.
        """
        assert self._kafka is not None
        for request in requests:
            refuse_card_number(request)
        outbounds = [self._outbound(request) for request in requests]
        await self._kafka.publish(outbounds)
        return [self._published(outbound) for outbound in outbounds]

    def _outbound(self, request: Request) -> Outbound:
        message_id = request.message_id
        context = request.parent
        if self._settings.otlp_endpoint:
            parent = request.parent or SpanContext(secrets.randbits(128) or 1, 0, SAMPLED)
            context = parent.child(secrets.randbits(64) or 1)
        envelope = Envelope(message_id, request.key, request.body, time.time_ns() // 1_000, _SOURCE, context)
        return encode(Outgoing(REQUESTS, envelope, request.parent), self._settings.topic_prefix)

    def _published(self, outbound: Outbound) -> Published:
        key = outbound.key.decode()
        # Where no context was sent, this is what the orchestrator will derive (saga.engine.machine).
        trace_id = (
            outbound.context.trace_id
            if outbound.context is not None
            else derive_trace_id(self._settings.topic_prefix, key, outbound.message_id)
        )
        return Published(key, outbound.message_id, f"{trace_id:032x}")

    def _export(self, spans: SpanPipeline) -> None:
        deadline = time.monotonic() + _EXPORT_AT_MOST_S
        exported = -1
        # As long as the collector takes spans it is given time for the rest.
        while spans.exported > exported and time.monotonic() < deadline:
            exported = spans.exported
            if spans.force_flush(int(_EXPORT_S * 1000)):
                break
        spans.shutdown(0.05)
        self.lost_spans = spans.dropped


def refuse_card_number(request: Request) -> None:
    """Raises :class:`UsageError` for a request that holds what looks like a card number anywhere."""
    text = body_to_json(request.body).decode()
    if contains_card_number(text) or contains_card_number(request.key):
        raise UsageError(f"refused, nothing was sent: {CARD_REFUSED}")


def _pipeline(settings: Settings) -> SpanPipeline:
    from saga.telemetry.pipeline import SpanPipeline

    if not settings.otlp_endpoint:
        return SpanPipeline(None)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from saga.telemetry.exporter import FastOTLPExporter

    release = version("booking-saga")
    resource = Resource.create(
        {
            "service.name": SERVICE,
            "service.namespace": names.NAMESPACE,
            "service.version": release,
            "service.domain": names.DOMAIN,
            "deployment.environment.name": settings.environment,
        }
    )
    exporter = FastOTLPExporter(
        resource,
        InstrumentationScope(names.SCOPE, release),
        endpoint=settings.otlp_endpoint,
        insecure=settings.otlp_insecure or None,
        timeout_s=_EXPORT_S,
    )
    return SpanPipeline(exporter, capacity=settings.trace_capacity)
