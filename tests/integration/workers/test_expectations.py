"""What nearly always happens takes one statement; what then does not happen leaves no trace of the attempt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

import asyncpg
import pytest

from saga.database import Connection, Schemas
from saga.messaging.job import Job, Result
from saga.settings import Settings
from schemas.replies import ConfirmationIssued, ConfirmationRefused, LockAcquired, LockRefused
from tests.support.batches import working
from tests.support.jobs import Measured, acquire, carry_out, confirm, lock_id, release
from workers.confirmation.desk import sell_at_desk
from workers.confirmation.handler import ConfirmationHandler
from workers.locking.handler import LockHandler

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

pytestmark = pytest.mark.usefixtures("hotel")


class _CountingLocks(LockHandler):
    """Counts how often it had to go the long way."""

    long_ways = 0

    async def carry_out(self, connection: Connection, jobs: Sequence[Job[Any]]) -> Sequence[Result]:
        self.long_ways += 1
        return await super().carry_out(connection, jobs)


@pytest.fixture
def locks(schemas: Schemas, measured: Measured) -> _CountingLocks:
    return _CountingLocks(schemas, measured.meters.contentions)


async def test_the_reply_says_until_when_the_database_holds_the_room_and_the_inbox_says_the_same(
    settings: Settings, database: Pool, schemas: Schemas, locks: _CountingLocks
) -> None:
    async with working(settings, database, locks, role="locking", owner="locking") as worker:
        await worker.send(acquire("a"), acquire("b", "102"))
        answered = await worker.bodies(2)
        await worker.send(acquire("a"))  # again, after a crash perhaps
        again = (await worker.replies(3))[2]
    table = f"{schemas['locking']}.locks"
    held = await database.fetch(f"SELECT booking_id, (extract(epoch FROM expires_at) * 1000)::bigint FROM {table}")
    until = {key: reply.expires_at_ms for key, reply in answered.items() if isinstance(reply, LockAcquired)}
    assert until == {row[0]: row[1] for row in held}
    assert again.id == f"{lock_id('a')}.reply"
    assert again.body == answered["a"]
    assert locks.long_ways == 0


async def test_of_two_who_want_one_room_one_gets_it_and_the_other_is_told_though_neither_was_expected(
    settings: Settings, database: Pool, locks: _CountingLocks
) -> None:
    async with working(settings, database, locks, role="locking", owner="locking") as worker:
        await worker.send(acquire("a"), acquire("b"))
        answered = await worker.bodies(2)
    assert isinstance(answered["a"], LockAcquired)
    assert isinstance(answered["b"], LockRefused)
    assert locks.long_ways == 1


async def test_a_lock_whose_undo_came_first_is_refused(
    settings: Settings, database: Pool, locks: _CountingLocks
) -> None:
    await carry_out(database, locks, release("a"))
    async with working(settings, database, locks, role="locking", owner="locking") as worker:
        await worker.send(acquire("a"))
        refused = (await worker.bodies(1))["a"]
    assert isinstance(refused, LockRefused)
    assert refused.reason == "undone"


async def test_when_one_night_of_one_stay_is_gone_the_others_are_sold_and_none_of_that_one(
    settings: Settings, database: Pool, schemas: Schemas
) -> None:
    handler = ConfirmationHandler(schemas)
    desk: dict[str, Any] = {"property_id": "hotel-1", "room_id": "101"}
    desk |= {"check_in": date(2027, 3, 3), "check_out": date(2027, 3, 4)}
    assert await sell_at_desk(database, schemas, **desk, sale_id="desk-1") == 1
    async with working(settings, database, handler, role="confirmation", owner="inventory") as worker:
        await worker.send(confirm("a"), confirm("b", room="102"))
        answered = await worker.bodies(2)
    assert isinstance(answered["a"], ConfirmationRefused)
    assert isinstance(answered["b"], ConfirmationIssued)
    sold = await database.fetch(
        f"SELECT booking_id, count(*) FROM {schemas['inventory']}.sold_nights WHERE booking_id IN ('a', 'b') GROUP BY 1"
    )
    assert [tuple(row) for row in sold] == [("b", 3)]


async def test_the_code_that_was_issued_is_the_one_that_is_kept(
    settings: Settings, database: Pool, schemas: Schemas
) -> None:
    async with working(
        settings, database, ConfirmationHandler(schemas), role="confirmation", owner="inventory"
    ) as worker:
        await worker.send(confirm("a"))
        issued = (await worker.bodies(1))["a"]
        await worker.send(confirm("a"))
        again = (await worker.replies(2))[1]
    kept = await database.fetchval(f"SELECT code FROM {schemas['inventory']}.confirmations")
    assert isinstance(issued, ConfirmationIssued)
    assert (issued.confirmation_code, again.body) == (kept, issued)
