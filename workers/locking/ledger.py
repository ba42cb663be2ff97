"""The locks as the database has them: whole batches of holds, releases and promotions, one statement each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import asyncpg

from saga.database import Connection, Schemas, Statements
from saga.database.rows import as_rows
from schemas.commands import AcquireLock, ReleaseLock

_ROUNDS = 3
"""A refusal whose cause is gone when it is looked up is tried again, at most so often."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lock that somebody asks for. ``command_id`` is its idempotency key."""

    command_id: str
    body: AcquireLock


@dataclass(frozen=True, slots=True)
class Held:
    """The room is held, until ``expires_ms`` (milliseconds since the epoch, by the database's clock)."""

    expires_ms: int


@dataclass(frozen=True, slots=True)
class Contended:
    """Something is in the way: a live lock (``held``, ``confirmed``), a night that is ``sold``, or, for a lock that has
    been lost to its expiry, ``expired``. ``rival`` is the reservation in the way, where there is one."""

    reason: Literal["held", "confirmed", "sold", "expired"]
    rival: str | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """The undo of this lock came first."""


Grant = Held | Contended | Undone


class LockLedger:
    """Runs in the transaction of whoever calls it; knows nothing of messages and spans."""

    def __init__(self, schemas: Schemas) -> None:
        self._sql = Statements.load("workers.locking", "sql/locks.sql", schemas)
        self.acquiring = self._sql["acquire"]
        self._acquire = f"WITH {self.acquiring} SELECT reservation_id, expires_ms FROM held"  # noqa: S608  # our own file's

    async def acquire(self, connection: Connection, wanted: Sequence[Wanted]) -> Mapping[str, Grant]:
        """Take what can be taken; what became of each, by reservation id. First come, first served.

        An expired hold in the way is released. Asking again under the same reservation gives the same answer, unless
        the hold has expired meanwhile: then it is lost.
        """
        grants: dict[str, Grant] = {}
        open_ = list(wanted)
        for last in (False,) * (_ROUNDS - 1) + (True,):
            for row in await connection.fetch(self._acquire, lock_rows(open_)):
                grants[row["reservation_id"]] = Held(row["expires_ms"])
            open_ = [one for one in open_ if one.body.reservation_id not in grants]
            if not open_:
                break
            rows = await connection.fetch(self._sql["explain"], *_stays(open_, reservations=True))
            explained = {row["reservation_id"]: _explanation(row, last=last) for row in rows}
            grants |= {reservation: grant for reservation, grant in explained.items() if grant is not None}
            open_ = [one for one in open_ if one.body.reservation_id not in grants]
            if not open_:
                break
            # A hold that this very batch asked for again may be among the expired: then it is lost, and told so.
            for row in await connection.fetch(self._sql["expire"], *_stays(open_)):
                grants.pop(row["reservation_id"], None)
            open_ = [one for one in wanted if one.body.reservation_id not in grants]
        return grants

    async def release(self, connection: Connection, undos: Sequence[ReleaseLock]) -> Collection[str]:
        """No lock of these reservations is held from now on, or ever will be; returns those that were."""
        rows = await connection.fetch(
            self._sql["release"],
            [undo.reservation_id for undo in undos],
            [undo.undoes for undo in undos],
            [undo.booking_id for undo in undos],
        )
        return {row["reservation_id"] for row in rows}

    async def promote(self, connection: Connection, reservations: Sequence[str]) -> Collection[str]:
        """The locks of these reservations no longer expire; returns those that were held, and so are confirmed now."""
        rows = await connection.fetch(self._sql["promote"], list(reservations))
        return {row["reservation_id"] for row in rows}


def lock_rows(wanted: Sequence[Wanted]) -> str:
    """The parameter of the statement that acquires; the order of ``wanted`` is who came first."""
    return as_rows(
        {
            "n": n,
            "reservation_id": body.reservation_id,
            "command_id": command_id,
            "booking_id": body.booking_id,
            "property_id": body.property_id,
            "room_id": body.room_id,
            "check_in": body.check_in,
            "check_out": body.check_out,
            "ttl_ms": body.ttl_ms,
        }
        for n, (command_id, body) in enumerate((one.command_id, one.body) for one in wanted)
    )


def _stays(wanted: Sequence[Wanted], *, reservations: bool = False) -> tuple[list[object], ...]:
    bodies = [one.body for one in wanted]
    stays: tuple[list[object], ...] = (
        [body.property_id for body in bodies],
        [body.room_id for body in bodies],
        [body.check_in for body in bodies],
        [body.check_out for body in bodies],
    )
    return ([body.reservation_id for body in bodies], *stays) if reservations else stays


def _explanation(row: asyncpg.Record, *, last: bool) -> Grant | None:
    """Why a lock was not taken, or None if it is worth trying again."""
    own = row["own_state"]
    if row["own_expired"] and not last:
        return None  # it is over: to say that it is held would be true until somebody else wants the room
    if own in ("held", "confirmed"):
        return Held(row["expires_ms"])
    if own is not None:
        return Undone() if row["released_by"] == "undo" else Contended("expired", row["rival"])
    if row["sold"]:
        return Contended("sold")
    if row["rival"] is not None and (last or not row["rival_expired"]):
        return Contended(row["rival_state"], row["rival"])
    return Contended("held") if last else None
