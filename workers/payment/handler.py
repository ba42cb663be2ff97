"""The payment worker: charges once, gives back whole, and says "unknown" when nobody can know."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from opentelemetry.metrics import Counter, Histogram

from saga.errors import TransientFailure
from saga.messaging.job import AttemptFailed, Job, Report, Result, Write
from saga.telemetry.spans import Attribute, SpanEvent
from schemas.base import Message
from schemas.commands import ProcessPayment, RefundPayment
from schemas.limits import MAX_REASON
from schemas.replies import PaymentDeclined, PaymentProcessed, PaymentRefunded, PaymentUnknown
from workers import attributes as at
from workers.payment.gateway import (
    Answered,
    Captured,
    ChargeOrder,
    ChargeOutcome,
    Declined,
    PaymentProvider,
    Refunded,
    Rejected,
    Retry,
    UndoOutcome,
    Unknown,
    Voided,
)
from workers.payment.ledger import ChargeEntry, PaymentLedger, UndoEntry

UNDONE = "undone"
"""The reason of a refusal where the undo came first."""

_PROCESS = "booking.process_payment"
_REFUND = "booking.refund_payment"
_STATUSES: dict[type[ChargeOutcome], str] = {
    Captured: "captured",
    Declined: "declined",
    Voided: "voided",
    Rejected: "rejected",
    Unknown: "unknown",
}


class _Story:
    """What the span of one attempt will say, collected while it happens."""

    def __init__(self, name: str, attributes: dict[str, Attribute]) -> None:
        self._name = name
        self._attributes = attributes
        self._events: list[SpanEvent] = []
        self._retries = 0

    def retried(self, retry: Retry) -> None:
        self._retries += 1
        told: dict[str, Attribute] = {
            at.PAYMENT_ATTEMPT: retry.attempt,
            at.RETRY_REASON: retry.reason,
            at.RETRY_DELAY_MS: round(retry.delay_s * 1000, 1),
        }
        self._events.append(SpanEvent(at.RETRY, retry.at_ns, told))

    def answered(self, status: str, answered: Answered[Any]) -> None:
        self.add(at.PAYMENT_STATUS, status)
        self.add(at.GATEWAY_LATENCY_MS, answered.gateway_latency_ms)
        self.add(at.PAYMENT_ATTEMPT, answered.attempts)

    def add(self, name: str, value: Attribute | None) -> None:
        if value not in (None, ""):
            self._attributes[name] = value

    def happened(self, event: str, told: dict[str, Attribute]) -> None:
        self._events.append(SpanEvent(event, time.time_ns(), told))

    def report(self, error: str | None = None, error_type: str | None = None) -> Report:
        return Report(self._name, self._attributes, "client", tuple(self._events), error, error_type)

    def failed(self, failure: TransientFailure) -> AttemptFailed:
        """The provider did not answer, and it is certain that this attempt took nothing."""
        self.add(at.PAYMENT_STATUS, "unavailable")
        self.add(at.PAYMENT_ATTEMPT, self._retries + 1)
        return AttemptFailed(failure, self.report("the payment provider does not answer", failure.error_type))


class PaymentHandler:
    """See :class:`saga.messaging.job.CallHandler`. ``durations`` is in seconds, ``declines`` counts by reason."""

    handles: frozenset[type[Message]] = frozenset({ProcessPayment, RefundPayment})

    def __init__(
        self, provider: PaymentProvider, ledger: PaymentLedger, *, durations: Histogram, declines: Counter
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._durations = durations
        self._declines = declines

    async def call(self, job: Job[Any]) -> Result:
        """Charge or undo. Raises :class:`AttemptFailed` when the provider is away and nothing was taken."""
        return await (self._refund(job) if isinstance(job.body, RefundPayment) else self._process(job))

    def writes(self, done: Sequence[tuple[Job[Any], Result]]) -> Sequence[Write]:
        """See :meth:`saga.messaging.job.CallHandler.writes`."""
        rows = [result.row for _, result in done]
        return self._ledger.writes(
            [row for row in rows if isinstance(row, ChargeEntry)],
            [row for row in rows if isinstance(row, UndoEntry)],
        )

    async def _process(self, job: Job[ProcessPayment]) -> Result:
        asked = job.body
        story = _Story(
            _PROCESS,
            {
                at.RESERVATION_ID: asked.reservation_id,
                at.PAYMENT_METHOD: asked.payment_method,
                at.PAYMENT_CURRENCY: asked.currency,
            },
        )
        story.add(at.CARD_LAST_FOUR, asked.card_last_four)
        # An undo that came first is the provider's to remember (see the seam's promises): nobody else sees it in time.
        order = ChargeOrder(job.id, asked.booking_id, asked.amount_minor, asked.currency, asked.payment_token)
        try:
            answered = await self._provider.charge(order, story.retried)
        except TransientFailure as failure:
            raise story.failed(failure) from failure
        outcome = answered.outcome
        status = _STATUSES[type(outcome)]
        story.answered(status, answered)
        self._measure("charge", status, answered)
        return self._charged(job, outcome, story)

    def _charged(self, job: Job[ProcessPayment], outcome: ChargeOutcome, story: _Story) -> Result:
        asked = job.body
        if isinstance(outcome, Captured):
            story.add(at.TRANSACTION_ID, outcome.transaction_id)
            story.add(at.CARD_LAST_FOUR, outcome.card_last_four)
            last_four = outcome.card_last_four or asked.card_last_four
            reply = PaymentProcessed(
                booking_id=asked.booking_id,
                transaction_id=outcome.transaction_id,
                amount_minor=outcome.amount_minor,
                currency=outcome.currency,
                card_last_four=last_four,
            )
            return Result(
                reply, story.report(), ChargeEntry(job.id, asked, "captured", outcome.transaction_id, last_four)
            )
        if isinstance(outcome, Unknown):
            unknown = PaymentUnknown(booking_id=asked.booking_id, reason=outcome.reason[:MAX_REASON])
            report = story.report("nobody can say whether money was taken", "payment_unknown")
            return Result(unknown, report, ChargeEntry(job.id, asked, "unknown", reason=outcome.reason))
        if isinstance(outcome, Voided):
            return Result(PaymentDeclined(booking_id=asked.booking_id, reason=UNDONE), story.report())
        reason = outcome.reason[:MAX_REASON]
        tell = partial(self._declines.add, 1, {"reason": reason})
        story.happened(at.DECLINED, {at.DECLINE_REASON: reason})
        declined = PaymentDeclined(booking_id=asked.booking_id, reason=reason)
        if isinstance(outcome, Rejected):
            # Not the card's bank but the provider: the order itself is wrong, and somebody should look at it.
            report = story.report(f"the payment provider rejects the order: {reason}", "payment_rejected")
            return Result(declined, report, ChargeEntry(job.id, asked, "rejected", reason=reason), tell)
        story.add(at.TRANSACTION_ID, outcome.transaction_id)
        story.add(at.CARD_LAST_FOUR, outcome.card_last_four)
        last_four = outcome.card_last_four or asked.card_last_four
        entry = ChargeEntry(job.id, asked, "declined", outcome.transaction_id or None, last_four, reason)
        return Result(declined, story.report(), entry, tell)

    async def _refund(self, job: Job[RefundPayment]) -> Result:
        asked = job.body
        story = _Story(_REFUND, {at.RESERVATION_ID: asked.reservation_id, at.PAYMENT_CURRENCY: asked.currency})
        try:
            answered = await self._provider.undo(
                asked.undoes, booking_id=asked.booking_id, reason="booking undone", on_retry=story.retried
            )
        except TransientFailure as failure:
            raise story.failed(failure) from failure
        outcome: UndoOutcome = answered.outcome
        status = "refunded" if isinstance(outcome, Refunded) else "voided"
        story.answered(status, answered)
        self._measure("undo", status, answered)
        if not isinstance(outcome, Refunded):
            nothing = PaymentRefunded(booking_id=asked.booking_id, refunded_minor=0, currency=asked.currency)
            return Result(nothing, story.report(), UndoEntry(job.id, asked))
        story.add(at.TRANSACTION_ID, outcome.transaction_id)
        story.add(at.REFUND_ID, outcome.refund_id)
        reply = PaymentRefunded(
            booking_id=asked.booking_id,
            refunded_minor=outcome.amount_minor,
            currency=outcome.currency,
            refund_id=outcome.refund_id,
        )
        entry = UndoEntry(
            job.id, asked, outcome.amount_minor, outcome.currency, outcome.refund_id, outcome.transaction_id
        )
        return Result(reply, story.report(), entry)

    def _measure(self, operation: str, status: str, answered: Answered[Any]) -> None:
        self._durations.record(
            answered.gateway_latency_ms / 1000, {"payment.operation": operation, at.PAYMENT_STATUS: status}
        )
