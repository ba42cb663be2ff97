"""Sends what could not be sent at once, when its time comes and the mail server is back."""

from __future__ import annotations

import asyncio
import logging
import time

from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.messaging.batchworker import LOST_CONNECTION
from saga.telemetry import names
from saga.telemetry.spans import Attribute, Recorder, SpanRecord, derive_span_id
from workers.notification.delivery import Attempt, Delivery, report_of
from workers.notification.ledger import Due, NotificationLedger

_log = logging.getLogger(__name__)

_AT_ONCE = 20
_SHORTEST_S = 0.1


class Postman:
    """Works through letters that are due. Any number of processes may; each letter is claimed by one of them."""

    def __init__(
        self, ledger: NotificationLedger, delivery: Delivery, recorder: Recorder, *, look_s: float = 15.0
    ) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._recorder = recorder
        self._look_s = look_s

    async def run(self) -> None:
        """Work until cancelled. Looks when this process has put a letter off, and every ``look_s`` for those that
        others left."""
        while True:
            self._delivery.put_off.clear()
            try:
                with suppress_instrumentation():
                    await self.round()
                    due_s = await self._ledger.next_due_s()
            except LOST_CONNECTION as error:
                _log.warning("due letters wait for the database: %s", error)
                due_s = self._look_s
            await self._wait(self._look_s if due_s is None else max(_SHORTEST_S, min(due_s, self._look_s)))

    async def round(self) -> int:
        """Send what is due, and return how many letters were; one letter probes a server that was away."""
        sent = 0
        while letters := await self._ledger.claim_due(1 if self._delivery.away else _AT_ONCE):
            probe = self._delivery.away
            attempts = await asyncio.gather(*(self._again(letter, probe=probe) for letter in letters))
            sent += sum(1 for attempt in attempts if attempt.outcome == "sent")
            if any(attempt.outcome == "deferred" for attempt in attempts):
                break
        return sent

    async def _again(self, letter: Due, *, probe: bool) -> Attempt:
        started_ns = time.time_ns()
        attempt = await self._delivery.hand_over(letter, even_if_away=probe)
        self._record(letter, attempt, started_ns)
        return attempt

    def _record(self, letter: Due, attempt: Attempt, started_ns: int) -> None:
        """A later attempt stands beside the first one and links to it."""
        if letter.parent is None:
            return
        report = report_of(attempt.outcome, attempt.error_type, letter.attempts)
        attributes: dict[str, Attribute] = {f"{names.NAMESPACE}.id": letter.event.booking_id, **report.attributes}
        if report.error_type is not None:
            attributes[names.ERROR_TYPE] = report.error_type
        self._recorder.record(
            SpanRecord(
                report.name,
                report.kind,
                letter.parent.child(derive_span_id(letter.event_id, str(letter.attempts), "letter")),
                letter.parent,
                started_ns,
                max(time.time_ns(), started_ns + 1),
                attributes,
                report.error,
                links=() if letter.first is None else (letter.first,),
            )
        )

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._delivery.put_off.wait(), seconds)
        except TimeoutError:
            return
        # Something was put off just now: it is due in a while, not yet.
        await asyncio.sleep(_SHORTEST_S)
