"""Finding free rooms: the questions of all bookings under way are answered by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from saga.coalescer import Coalescer
from saga.database import Schemas, Statements
from schemas.commands import CheckAvailability
from workers.patience import patiently

if TYPE_CHECKING:
    import asyncpg


@dataclass(frozen=True, slots=True)
class FreeRoom:
    """A room without a sold night in the stay. ``held``: another booking holds it at the moment."""

    room_id: str
    room_type: str
    held: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """What the inventory says. ``past``: check-in was before yesterday by the database's date, so nowhere today."""

    known: bool
    past: bool
    rooms: tuple[FreeRoom, ...]


class RoomSearch:
    """``await search(question)`` from any number of tasks."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> None:
        self._pool = pool
        self._sql = Statements.load("workers.availability", "sql/search.sql", schemas)["search"]
        self._ask: Coalescer[CheckAvailability, Findings] = Coalescer(self._search, max_batch=100, concurrency=2)

    async def __call__(self, question: CheckAvailability) -> Findings:
        """What there is for ``question``, at most ``max_offers`` rooms; a property that is not known has none."""
        return await self._ask(question)

    async def settle(self) -> None:
        """Wait until no search is under way."""
        await self._ask.settle()

    async def _search(self, questions: Sequence[CheckAvailability]) -> list[Findings]:
        columns = (
            [question.property_id for question in questions],
            [question.check_in for question in questions],
            [question.check_out for question in questions],
            [question.guests for question in questions],
            [question.room_type for question in questions],
            [question.max_offers for question in questions],
            [place_of(question.booking_id) for question in questions],
        )
        rows = await patiently(lambda: self._pool.fetch(self._sql, *columns))
        rooms: list[list[FreeRoom]] = [[] for _ in questions]
        stated: list[tuple[bool, bool]] = [(False, False)] * len(questions)
        for n, known, past, room_id, room_type, held in rows:
            stated[n] = (known, past)
            if room_id is not None:
                rooms[n].append(FreeRoom(room_id, room_type, held))
        return [Findings(known, past, tuple(found)) for (known, past), found in zip(stated, rooms, strict=True)]


def place_of(booking_id: str) -> int:
    """Where on the ring of rooms a booking's search starts: the same place whenever it is repeated."""
    return int.from_bytes(blake2b(booking_id.encode(), digest_size=4).digest(), "big", signed=True)
