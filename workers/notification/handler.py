"""The notification worker: one letter per event, sent once, and never in the way of a booking.

A letter is *claimed* in the database before it goes to the mail server and *told* there as soon as the server has it,
both before the event counts as handled. So a worker that dies anywhere but between the server's answer and its own next
commit leaves no doubt; there, and only there, the letter is sent again, under the same Message-ID. What the server will
not take now is kept as due and sent later by :mod:`workers.notification.postman`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from saga.messaging.job import Job, Result, Write
from schemas.base import Message
from schemas.events import BookingCancelled, BookingConfirmed, BookingFailed
from workers.notification.delivery import Delivery, report_of
from workers.notification.ledger import Claim, Due, NotificationLedger
from workers.notification.letters import BookingEvent

_LOOK_AGAIN_S = 1.0


class NotificationHandler:
    """See :class:`saga.messaging.job.CallHandler`."""

    handles: frozenset[type[Message]] = frozenset({BookingConfirmed, BookingFailed, BookingCancelled})

    def __init__(self, ledger: NotificationLedger, delivery: Delivery) -> None:
        self._ledger = ledger
        self._delivery = delivery

    async def call(self, job: Job[Any]) -> Result:
        """Send the letter about ``job.body``, or put it off. Raises nothing: nobody would send the event again."""
        event: BookingEvent = job.body
        state = await self._ledger.claim(Claim(job.id, event))
        while state == "sending":
            # Another process is at it, or has died over it; the claim tells which in a few seconds.
            await asyncio.sleep(_LOOK_AGAIN_S)
            state = await self._ledger.claim(Claim(job.id, event))
        if state != "claimed":
            return Result(None, report_of("deferred" if state == "due" else state))
        headers = job.envelope.saga
        parent = headers.parent if headers and headers.parent else job.envelope.context
        attempt = await self._delivery.hand_over(Due(job.id, event, parent, job.span_context))
        return Result(None, report_of(attempt.outcome, attempt.error_type))

    def writes(self, done: Sequence[tuple[Job[Any], Result]]) -> Sequence[Write]:
        """Everything is written already: before and after each letter."""
        return ()
