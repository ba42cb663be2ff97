"""Locks against a real database: never two live ones that overlap, whoever asks, in whatever order."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TypeAlias

import asyncpg
import pytest

from saga.database import Schemas
from saga.messaging.job import NO_SPAN, Result
from saga.settings import Settings
from schemas.replies import LockAcquired, LockRefused, LockReleased
from tests.support.jobs import Measured, acquire, cancelled, carry_out, confirmed, failed, lock_id, release
from workers.confirmation.desk import sell_at_desk
from workers.locking.handler import LockHandler

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@pytest.fixture
def handler(settings: Settings, measured: Measured) -> LockHandler:
    return LockHandler(Schemas(settings.schema_prefix), measured.meters.contentions)


async def states(pool: Pool, settings: Settings) -> dict[str, str]:
    """The state of every lock, by lock command."""
    table = f"{Schemas(settings.schema_prefix)['locking']}.locks"
    return {row[0]: row[1] for row in await pool.fetch(f"SELECT lock_command_id, state FROM {table}")}


async def expire_now(pool: Pool, settings: Settings, booking: str) -> None:
    """Let a hold's ten minutes be over."""
    table = f"{Schemas(settings.schema_prefix)['locking']}.locks"
    await pool.execute(
        f"UPDATE {table} SET expires_at = clock_timestamp() - interval '1 second' WHERE booking_id = $1", booking
    )


async def updates(pool: Pool, settings: Settings) -> tuple[int, int]:
    """Rows of the lock table ever updated, and how many of them without touching an index."""
    table = f"{Schemas(settings.schema_prefix)['locking']}.locks"
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    row = await pool.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = $1::regclass", table
    )
    assert row is not None
    return row[0], row[1]


def refusal(result: Result) -> LockRefused:
    assert isinstance(result.reply, LockRefused)
    return result.reply


async def test_a_free_room_is_held_for_ten_minutes_of_database_time(database: Pool, handler: LockHandler) -> None:
    now_ms = await database.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    [result] = await carry_out(database, handler, acquire("a"))
    assert isinstance(result.reply, LockAcquired)
    assert 600_000 <= result.reply.expires_at_ms - float(now_ms) + 1 < 605_000
    assert result.report.name == "booking.acquire_lock"
    assert result.report.error is None
    assert result.report.attributes == {
        "booking.reservation_id": result.reply.reservation_id,
        "booking.lock_type": "pessimistic",
        "booking.lock_acquired": True,
        "booking.lock_ttl_ms": 600_000,
    }


async def test_of_two_bookings_in_one_poll_the_first_wins_and_the_other_is_told_who_did(
    database: Pool, handler: LockHandler, measured: Measured
) -> None:
    first, second = await carry_out(database, handler, acquire("a"), acquire("b", check_in=date(2027, 3, 3)))
    assert isinstance(first.reply, LockAcquired)
    assert refusal(second).reason == "contention"
    assert refusal(second).competing_reservation == first.reply.reservation_id
    assert second.report.error == "Lock contention"
    assert second.report.error_type == "lock_contention"
    assert second.report.attributes["booking.lock_acquired"] is False
    [event] = second.report.events
    assert event.name == "lock_contention"
    assert event.attributes == {
        "booking.contention_reason": "held",
        "booking.competing_reservation": first.reply.reservation_id,
    }
    assert measured.counts("booking.lock.contentions", "reason") == {"held": 1}


async def test_of_many_bookings_on_many_connections_exactly_one_wins(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    polls = [
        carry_out(database, handler, *(acquire(f"b{n}-{room}", room) for room in ("101", "102", "103")))
        for n in range(6)
    ]
    replies = [result.reply for poll in await asyncio.gather(*polls) for result in poll]
    assert sum(isinstance(reply, LockAcquired) for reply in replies) == 3
    assert sum(isinstance(reply, LockRefused) for reply in replies) == 15
    assert list((await states(database, settings)).values()) == ["held"] * 3


async def test_stays_that_meet_on_the_day_of_departure_do_not_overlap(database: Pool, handler: LockHandler) -> None:
    results = await carry_out(
        database,
        handler,
        acquire("a", check_in=date(2027, 3, 1), check_out=date(2027, 3, 4)),
        acquire("b", check_in=date(2027, 3, 4), check_out=date(2027, 3, 6)),
        acquire("c", check_in=date(2027, 2, 26), check_out=date(2027, 3, 1)),
        acquire("d", "102"),
        acquire("e", property_id="hotel-2"),
    )
    assert all(isinstance(result.reply, LockAcquired) for result in results)


async def test_an_expired_hold_gives_way_and_never_comes_back(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    await carry_out(database, handler, acquire("a"))
    await expire_now(database, settings, "a")
    [taken] = await carry_out(database, handler, acquire("b"))
    assert isinstance(taken.reply, LockAcquired)
    assert await states(database, settings) == {lock_id("a"): "released", lock_id("b"): "held"}
    await carry_out(database, handler, confirmed("a"))
    assert await states(database, settings) == {lock_id("a"): "released", lock_id("b"): "held"}
    [again] = await carry_out(database, handler, acquire("a"))
    assert refusal(again).reason == "contention"
    assert refusal(again).competing_reservation == taken.reply.reservation_id


async def test_a_hold_that_has_not_expired_stands(database: Pool, settings: Settings, handler: LockHandler) -> None:
    await carry_out(database, handler, acquire("a", ttl_ms=3_600_000))
    [refused] = await carry_out(database, handler, acquire("b"))
    assert refusal(refused).reason == "contention"
    assert await states(database, settings) == {lock_id("a"): "held"}


async def test_several_expired_holds_give_way_to_one_long_stay(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    await carry_out(
        database,
        handler,
        acquire("a", check_in=date(2027, 3, 1), check_out=date(2027, 3, 3)),
        acquire("b", check_in=date(2027, 3, 3), check_out=date(2027, 3, 5)),
    )
    await expire_now(database, settings, "a")
    await expire_now(database, settings, "b")
    [result] = await carry_out(database, handler, acquire("c", check_out=date(2027, 3, 5)))
    assert isinstance(result.reply, LockAcquired)


async def test_a_confirmed_lock_never_expires(database: Pool, settings: Settings, handler: LockHandler) -> None:
    await carry_out(database, handler, acquire("a"))
    [promoted] = await carry_out(database, handler, confirmed("a"))
    assert promoted.reply is None
    assert promoted.report.name == "booking.promote_lock"
    assert promoted.report.attributes["booking.lock_promoted"] is True
    [refused] = await carry_out(database, handler, acquire("b"))
    assert refusal(refused).reason == "contention"
    assert refused.report.events[0].attributes["booking.contention_reason"] == "confirmed"
    table = f"{Schemas(settings.schema_prefix)['locking']}.locks"
    assert await database.fetchval(f"SELECT expires_at FROM {table}") is None


async def test_promoting_a_lock_touches_no_index(database: Pool, settings: Settings, handler: LockHandler) -> None:
    before = await updates(database, settings)
    await carry_out(database, handler, *(acquire(f"b{n}", str(n)) for n in range(20)))
    await carry_out(database, handler, *(confirmed(f"b{n}") for n in range(20)))
    for _ in range(50):
        after = await updates(database, settings)
        if after[0] == before[0] + 20:
            break
        await asyncio.sleep(0.1)
    assert after == (before[0] + 20, before[1] + 20)


async def test_a_sold_night_refuses_the_lock(
    database: Pool, settings: Settings, handler: LockHandler, hotel: None, measured: Measured
) -> None:
    nights = await sell_at_desk(
        database,
        Schemas(settings.schema_prefix),
        property_id="hotel-1",
        room_id="101",
        check_in=date(2027, 3, 3),
        check_out=date(2027, 3, 4),
    )
    assert nights == 1
    sold, before, after = await carry_out(
        database,
        handler,
        acquire("a"),
        acquire("b", check_in=date(2027, 3, 1), check_out=date(2027, 3, 3)),
        acquire("c", check_in=date(2027, 3, 4), check_out=date(2027, 3, 5)),
    )
    assert refusal(sold).reason == "sold"
    assert sold.report.events[0].attributes == {"booking.contention_reason": "sold"}
    assert isinstance(before.reply, LockAcquired)
    assert isinstance(after.reply, LockAcquired)
    assert measured.counts("booking.lock.contentions", "reason") == {"sold": 1}


async def test_a_released_room_can_be_had_by_somebody_else_in_the_same_poll(
    database: Pool, handler: LockHandler
) -> None:
    await carry_out(database, handler, acquire("a"))
    released, taken = await carry_out(database, handler, release("a"), acquire("b"))
    assert isinstance(released.reply, LockReleased)
    assert released.reply.was_held
    assert released.report.name == "booking.release_lock"
    assert isinstance(taken.reply, LockAcquired)


async def test_an_undo_before_its_lock_is_recorded_and_the_late_lock_refused(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    [undone] = await carry_out(database, handler, release("a"))
    assert isinstance(undone.reply, LockReleased)
    assert not undone.reply.was_held
    [late] = await carry_out(database, handler, acquire("a"))
    assert refusal(late).reason == "undone"
    assert late.report.error is None
    assert await states(database, settings) == {lock_id("a"): "released"}
    # Only that one lock is refused: the same booking may try another room, and others the same one.
    results = await carry_out(database, handler, acquire("a", "102", number=2), acquire("b"))
    assert all(isinstance(result.reply, LockAcquired) for result in results)


async def test_a_lock_and_its_undo_in_one_poll_are_carried_out_in_the_order_they_came(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    taken, released = await carry_out(database, handler, acquire("a"), release("a"))
    assert isinstance(taken.reply, LockAcquired)
    assert isinstance(released.reply, LockReleased)
    assert released.reply.was_held
    undone, late = await carry_out(database, handler, release("b"), acquire("b"))
    assert isinstance(undone.reply, LockReleased)
    assert not undone.reply.was_held
    assert refusal(late).reason == "undone"
    assert set((await states(database, settings)).values()) == {"released"}


async def test_an_undo_racing_its_lock_on_another_connection_leaves_nothing_held(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    for n in range(20):
        await asyncio.gather(
            carry_out(database, handler, acquire(f"r{n}", str(n))), carry_out(database, handler, release(f"r{n}"))
        )
    assert set((await states(database, settings)).values()) == {"released"}


async def test_repeating_a_command_repeats_its_answer(database: Pool, handler: LockHandler) -> None:
    [first] = await carry_out(database, handler, acquire("a"))
    [again] = await carry_out(database, handler, acquire("a"))
    assert again.reply == first.reply
    await carry_out(database, handler, confirmed("a"))
    [third] = await carry_out(database, handler, acquire("a"))
    assert isinstance(third.reply, LockAcquired)
    [released] = await carry_out(database, handler, release("a"))
    [released_again] = await carry_out(database, handler, release("a"))
    assert isinstance(released.reply, LockReleased)
    assert isinstance(released_again.reply, LockReleased)


async def test_a_released_lock_stays_released_whatever_is_said_later(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    await carry_out(database, handler, acquire("a"))
    await carry_out(database, handler, release("a"))
    [promoted] = await carry_out(database, handler, confirmed("a"))
    assert promoted.report.attributes["booking.lock_promoted"] is False
    [late] = await carry_out(database, handler, acquire("a"))
    assert refusal(late).reason == "undone"
    assert await states(database, settings) == {lock_id("a"): "released"}


async def test_the_database_itself_refuses_to_bring_a_released_lock_back(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    await carry_out(database, handler, acquire("a"), release("a"))
    table = f"{Schemas(settings.schema_prefix)['locking']}.locks"
    with pytest.raises(asyncpg.RaiseError, match="released for good"):
        await database.execute(
            f"UPDATE {table} SET state = 'confirmed', released_at = NULL, released_by = NULL WHERE booking_id = 'a'"
        )


async def test_events_of_bookings_that_were_not_given_change_nothing(
    database: Pool, settings: Settings, handler: LockHandler
) -> None:
    await carry_out(database, handler, acquire("a"))
    results = await carry_out(database, handler, failed("b"), cancelled("c"))
    assert results == [Result(None, NO_SPAN)] * 2
    assert await states(database, settings) == {lock_id("a"): "held"}
