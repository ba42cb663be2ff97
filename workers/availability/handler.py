"""The availability worker: which rooms could be had for a stay, and for how much."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from saga.errors import TransientFailure
from saga.messaging.job import AttemptFailed, Job, Report, Result, Write
from saga.telemetry.spans import Attribute, SpanEvent
from schemas.base import Message
from schemas.commands import CheckAvailability
from schemas.limits import MAX_AMOUNT_MINOR, MAX_NIGHTS
from schemas.replies import AvailabilityFound, AvailabilityRefused, Offer
from workers import attributes as at
from workers.availability.search import FreeRoom, RoomSearch
from workers.pricing.client import QuotesRefused
from workers.pricing.messages import QuoteRequest, Quotes, RoomToPrice

_NAME = "booking.check_availability"


class Pricing(Protocol):
    """Who knows the prices; :class:`workers.pricing.client.PricingClient`."""

    async def quotes(self, request: QuoteRequest) -> Quotes | QuotesRefused:
        """Price every room of ``request``. Raises :class:`TransientFailure` when there is no answer."""
        ...


class AvailabilityHandler:
    """See :class:`saga.messaging.job.CallHandler`. Read-only: nothing is stored but the reply."""

    handles: frozenset[type[Message]] = frozenset({CheckAvailability})

    def __init__(self, search: RoomSearch, pricing: Pricing) -> None:
        self._search = search
        self._pricing = pricing

    async def call(self, job: Job[Any]) -> Result:
        """Find and price rooms. Raises :class:`AttemptFailed` while the pricing engine is away."""
        asked: CheckAvailability = job.body
        attributes: dict[str, Attribute] = {
            at.CHECK_IN: asked.check_in.isoformat(),
            at.CHECK_OUT: asked.check_out.isoformat(),
            at.GUESTS: asked.guests,
            at.PROPERTY_ID: asked.property_id,
            at.AVAILABLE_COUNT: 0,
        }
        report = Report(_NAME, attributes)
        if not 1 <= (asked.check_out - asked.check_in).days <= MAX_NIGHTS:
            return _refused(asked, report, "invalid_stay")
        findings = await self._search(asked)
        if not findings.known:
            return _refused(asked, report, "unknown_property")
        if findings.past:
            return _refused(asked, report, "invalid_stay")
        if not findings.rooms:
            return _refused(asked, report, "no_availability")
        try:
            answer = await self._pricing.quotes(_question(asked, findings.rooms))
        except TransientFailure as failure:
            raise AttemptFailed(failure, replace(report, error="no prices", error_type=failure.error_type)) from failure
        if isinstance(answer, QuotesRefused):
            event = SpanEvent(at.NOT_PRICED, time.time_ns(), {at.NOT_PRICED_REASON: answer.reason})
            return _refused(asked, replace(report, events=(event,)), "no_availability")
        offers = _offers(findings.rooms, answer)
        if not offers:
            return _refused(asked, report, "no_availability")
        attributes[at.AVAILABLE_COUNT] = len(offers)
        return Result(AvailabilityFound(booking_id=asked.booking_id, offers=offers), report)

    def writes(self, done: Sequence[tuple[Job[Any], Result]]) -> Sequence[Write]:
        """There is nothing to write."""
        return ()


def _question(asked: CheckAvailability, rooms: Sequence[FreeRoom]) -> QuoteRequest:
    return QuoteRequest(
        property_id=asked.property_id,
        check_in=asked.check_in,
        check_out=asked.check_out,
        guests=asked.guests,
        currency=asked.currency,
        offers=tuple(RoomToPrice(room_id=room.room_id, room_type=room.room_type) for room in rooms),
    )


def _offers(rooms: Sequence[FreeRoom], answer: Quotes) -> tuple[Offer, ...]:
    """The best first: rooms nobody holds before held ones, then the cheapest; equal ones in the order of the search."""
    quoted = {quote.room_id: quote for quote in answer.quotes}
    priced = [(room, quote) for room in rooms if (quote := quoted.get(room.room_id)) is not None]
    priced.sort(key=lambda pair: (pair[0].held, pair[1].total_amount))
    return tuple(
        Offer(room_id=room.room_id, room_type=room.room_type, total_minor=quote.total_amount, currency=quote.currency)
        for room, quote in priced
        if 0 < quote.total_amount <= MAX_AMOUNT_MINOR
    )


def _refused(asked: CheckAvailability, report: Report, reason: str) -> Result:
    told = {**report.attributes, at.AVAILABILITY_REFUSED: reason}
    return Result(AvailabilityRefused(booking_id=asked.booking_id, reason=reason), replace(report, attributes=told))
