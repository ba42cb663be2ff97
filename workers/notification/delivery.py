"""Handing one claimed letter to the mail server, and what is said about it; for first attempts and later ones alike."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from opentelemetry.metrics import Counter

from saga.errors import TransientFailure
from saga.messaging.job import Report
from saga.telemetry.spans import Attribute
from workers import attributes as at
from workers.notification.ledger import Due, NotificationLedger, Told
from workers.notification.letters import Letter, LetterWriter
from workers.notification.mailer import Refused, Sent

CHANNEL = "email"
NAME = "booking.send_notification"

Outcome = Literal["sent", "refused", "deferred"]

_AWAY = "smtp_unavailable"
_AWAY_S = 5.0
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0


class MailServer(Protocol):
    """Who takes letters; :class:`workers.notification.mailer.Mailer`."""

    async def send(self, letter: Letter) -> Sent | Refused:
        """Hand over ``letter``. Raises :class:`TransientFailure` when the server cannot take it now."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """How handing over a letter went; ``error_type`` says why it was refused or deferred."""

    outcome: Outcome
    error_type: str = ""


class Delivery:
    """Sends claimed letters, a few at a time. While the mail server is away letters are put off without asking it."""

    def __init__(
        self,
        mailer: MailServer,
        ledger: NotificationLedger,
        sent: Counter,
        *,
        at_once: int = 16,
        away_s: float = _AWAY_S,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._mailer = mailer
        self._ledger = ledger
        self._sent = sent
        self._writer = LetterWriter()
        self._room = asyncio.Semaphore(at_once)
        self._away_s = away_s
        self._first_pause_s = first_pause_s
        self._away_until = 0.0
        self.put_off = asyncio.Event()
        """Set whenever a letter has been kept for later."""

    @property
    def away(self) -> bool:
        """Whether the mail server was found away a moment ago."""
        return time.monotonic() < self._away_until

    async def hand_over(self, due: Due, *, even_if_away: bool = False) -> Attempt:
        """Send the claimed letter about ``due.event``, and write down what came of it before returning."""
        async with self._room:
            if self.away and not even_if_away:
                return await self._defer(due, _AWAY)
            try:
                taken = await self._mailer.send(self._writer.write(due.event_id, due.event))
            except TransientFailure as failure:
                self._away_until = time.monotonic() + self._away_s
                return await self._defer(due, failure.error_type)
        self._away_until = 0.0
        if isinstance(taken, Refused):
            await self._ledger.tell(Told(due.event_id, "refused", 1))
            return self._count(Attempt("refused", "smtp_refused"))
        await self._ledger.tell(Told(due.event_id, "sent", taken.attempts))
        return self._count(Attempt("sent"))

    async def _defer(self, due: Due, error_type: str) -> Attempt:
        pause_s = min(_LONGEST_PAUSE_S, self._first_pause_s * 2 ** min(due.attempts - 1, 10))
        await self._ledger.defer(replace(due, pause_s=pause_s))
        self.put_off.set()
        return self._count(Attempt("deferred", error_type))

    def _count(self, attempt: Attempt) -> Attempt:
        self._sent.add(1, {"channel": CHANNEL, "outcome": attempt.outcome})
        return attempt


def report_of(outcome: str, error_type: str = "", attempt: int = 1) -> Report:
    """What the span of an attempt says; never to whom the letter goes."""
    told: dict[str, Attribute] = {
        at.CHANNEL: CHANNEL,
        at.NOTIFICATION_OUTCOME: outcome,
        at.NOTIFICATION_ATTEMPT: attempt,
    }
    if not error_type:
        return Report(NAME, told)
    error = "the mail server refuses the letter" if outcome == "refused" else "the mail server does not answer"
    return Report(NAME, told, error=error, error_type=error_type)
