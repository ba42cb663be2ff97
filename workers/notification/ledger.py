"""What guests were told, and what they are still to be told; written before and after each letter, in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from saga.coalescer import Coalescer
from saga.database import Schemas, Statements
from saga.messaging.wire import body_to_json
from saga.telemetry.spans import SpanContext, parse_traceparent
from schemas.base import message_class
from workers.notification.letters import BookingEvent, message_id_of
from workers.patience import patiently

if TYPE_CHECKING:
    import asyncpg

CLAIM_S = 60.0
"""How long a claim lasts; longer than a letter can take. A claim also ends when its claimer stops beating."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody is about to send the letter about an event."""

    event_id: str
    event: BookingEvent


@dataclass(frozen=True, slots=True)
class Told:
    """How a letter ended; ``tries`` counts this claim's attempts."""

    event_id: str
    outcome: Literal["sent", "refused"]
    tries: int


@dataclass(frozen=True, slots=True)
class Due:
    """A letter that could not be sent at once. ``first`` is the span of the first attempt, ``parent`` its parent."""

    event_id: str
    event: BookingEvent
    parent: SpanContext | None
    first: SpanContext | None
    attempts: int = 1
    pause_s: float = 0.0


class NotificationLedger:
    """Reads and writes ``notifications``. ``writer`` is the name under which this process beats."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas, writer: str) -> None:
        self._pool = pool
        self._writer = writer
        self._sql = Statements.load("workers.notification", "sql/notifications.sql", schemas)
        self.claim: Coalescer[Claim, str] = Coalescer(self._claim)
        """``claimed``; or how far the letter is already; ``sending`` means that somebody else is at it."""
        self.tell: Coalescer[Told, None] = Coalescer(self._tell)
        """The letter is finished, before anything else is said about it."""
        self.defer: Coalescer[Due, None] = Coalescer(self._defer)
        """Keep a claimed letter for later."""

    async def claim_due(self, limit: int) -> list[Due]:
        """Claim up to ``limit`` letters whose time has come."""
        rows = await self._pool.fetch(self._sql["claim_due"], limit, self._writer, CLAIM_S)
        return [
            Due(
                row["message_id"],
                _event(row["event_type"], row["event"]),
                _span(row["parent"]),
                _span(row["first_span"]),
                row["attempts"],
            )
            for row in rows
        ]

    async def next_due_s(self) -> float | None:
        """In how many seconds a letter will be due (negative: it is already); None when none is waiting."""
        due: float | None = await self._pool.fetchval(self._sql["next_due"])
        return due

    async def settle(self) -> None:
        """Wait until nothing is being written."""
        for coalescer in (self.claim, self.tell, self.defer):
            await coalescer.settle()

    async def _claim(self, claims: Sequence[Claim]) -> list[str]:
        ids = [claim.event_id for claim in claims]
        arguments = (
            ids,
            [claim.event.booking_id for claim in claims],
            [_kind(claim.event) for claim in claims],
            [message_id_of(event_id) for event_id in ids],
        )
        rows = await patiently(lambda: self._pool.fetch(self._sql["claim"], *arguments, self._writer, CLAIM_S))
        states = dict.fromkeys((row["message_id"] for row in rows), "claimed")
        if len(states) < len(ids):
            others = [event_id for event_id in ids if event_id not in states]
            known = await patiently(lambda: self._pool.fetch(self._sql["outcomes"], others))
            states |= {row["message_id"]: row["outcome"] for row in known}
        return [states[event_id] for event_id in ids]

    async def _tell(self, told: Sequence[Told]) -> list[None]:
        arguments = ([one.event_id for one in told], [one.outcome for one in told], [one.tries for one in told])
        await patiently(lambda: self._pool.execute(self._sql["tell"], *arguments))
        return [None] * len(told)

    async def _defer(self, due: Sequence[Due]) -> list[None]:
        arguments = (
            [one.event_id for one in due],
            [type(one.event).type_name() for one in due],
            [body_to_json(one.event).decode() for one in due],
            [one.parent and one.parent.traceparent for one in due],
            [one.first and one.first.traceparent for one in due],
            [one.pause_s for one in due],
        )
        await patiently(lambda: self._pool.execute(self._sql["defer"], *arguments))
        return [None] * len(due)


def _kind(event: BookingEvent) -> str:
    return type(event).__name__.removeprefix("Booking").lower()


def _event(event_type: str, body: str) -> BookingEvent:
    cls = message_class(event_type)
    assert cls is not None, f"a letter is due about an event of the unknown type {event_type}"
    event = cls.model_validate_json(body)
    assert isinstance(event, BookingEvent)
    return event


def _span(traceparent: str | None) -> SpanContext | None:
    return parse_traceparent(traceparent) if traceparent else None
