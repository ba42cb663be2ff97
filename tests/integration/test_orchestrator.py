"""The orchestrator's delivery: a crash, a redelivery, a zombie or two sweepers change nothing about the outcome."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import asyncpg
import pytest

from saga.engine.envelope import Envelope
from saga.engine.machine import Tick, advance
from saga.messaging.memory import MemoryBroker
from saga.settings import Settings
from saga.store.store import Applied, Move, Saved
from schemas import commands, events, replies, requests, topics
from tests.support.orchestration import booking_request, playing

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def test_a_booking_is_confirmed_and_announced_once(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker) as world:
        await world.request("bk-1", booking_request())
        await world.confirm("bk-1")
        row = await world.status("bk-1", "CONFIRMED")
        await world.command(events.BookingConfirmed)
    assert row["wake_us"] is None
    assert [type(e.body) for e in world.said(topics.EVENTS)] == [events.BookingConfirmed]


async def test_redelivery_of_both_topics_from_the_start_changes_nothing(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker) as world:
        await world.request("bk-1", booking_request())
        await world.confirm("bk-1")
        before = await world.status("bk-1", "CONFIRMED")
        await world.command(events.BookingConfirmed)
    ids = {e.id for e in world.said()}
    async with playing(settings, database, broker, group="another") as again:
        inputs = len(broker.records(topics.REQUESTS)) + len(broker.records(topics.REPLIES))
        async with asyncio.timeout(5):
            while sum(broker.committed["another"].values()) < inputs:
                await asyncio.sleep(0.01)
        assert await again.row("bk-1") == before
    assert {e.id for e in world.said()} == ids, "whatever is said again is said under the same ids"
    assert len({e.context for e in world.said()}) == len(ids), "and its send span keeps its identity"


async def test_a_crash_between_commit_and_publish_loses_no_command(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker) as world:
        await world.request("bk-1", booking_request())
        broker.away = True
        await world.status("bk-1", "RUNNING")
    assert world.said() == []
    broker.away = False
    async with playing(settings, database, broker) as resumed:
        command = await resumed.command(commands.CheckAvailability)
        assert command.id == "bk-1.check_availability.1"
        row = await resumed.row("bk-1")
    assert row is not None
    assert row["epoch"] == 1


async def test_a_zombies_write_is_rejected(settings: Settings, database: Pool, broker: MemoryBroker) -> None:
    async with playing(settings, database, broker) as world:
        await world.request("bk-1", booking_request())
        await world.command(commands.CheckAvailability)
        async with database.acquire() as connection:
            stale = (await world.store.load(connection, ["bk-1"]))["bk-1"]
        offer = replies.Offer(room_id="r1", room_type="double", total_minor=1, currency="EUR")
        found = replies.AvailabilityFound(booking_id="bk-1", offers=(offer,))
        await world.reply(await world.command(commands.CheckAvailability), found)
        await world.command(commands.AcquireLock)
        before = await world.row("bk-1")
        # The zombie wakes up with what it had loaded, and decides that the saga has timed out.
        assert stale.state is not None
        decision = advance(stale.definition, stale.state, Tick(), stale.state.deadline_us)
        assert decision.state is not None
        move = Move(stale.state.epoch, decision.state, stale.now_us, None)
        said = Applied("bk-1", decision.state.epoch, None, "tick", None, stale.now_us, "TIMED_OUT", ())
        async with database.acquire() as connection:
            assert await world.store.save(connection, [move], [said], writer="zombie", batch=1) == Saved(
                frozenset(), None
            )
        assert await world.row("bk-1") == before
        schema = settings.schema_prefix + "saga"
        assert await database.fetchval(f"SELECT count(*) FROM {schema}.history WHERE writer = 'zombie'") == 0


async def test_a_silent_worker_is_asked_again_and_then_the_booking_times_out(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker, pace=0.01) as world:
        await world.request("bk-1", booking_request())
        await world.command(commands.CheckAvailability)

        async def sweep() -> None:
            while True:
                await world.orchestrator.sweep()
                await asyncio.sleep(0.01)

        # Two sweepers, as two orchestrators would have.
        sweepers = [asyncio.create_task(sweep()) for _ in range(2)]
        row = await world.status("bk-1", "TIMED_OUT")
        event = await world.command(events.BookingFailed)
        for sweeper in sweepers:
            sweeper.cancel()
        await asyncio.wait(sweepers)
        asked = world.said(topics.AVAILABILITY)
    assert len(asked) > 1
    assert {e.id for e in asked} == {"bk-1.check_availability.1"}
    assert [e.saga.attempt for e in asked if e.saga] == list(range(1, len(asked) + 1)), "each retry is one more attempt"
    assert isinstance(event.body, events.BookingFailed)
    assert event.body.error_type == "timeout"
    assert row["error_type"] == "timeout"


async def test_an_end_that_the_sweeper_decided_is_announced_even_if_it_dies_first(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker, pace=0.001) as world:
        await world.request("bk-1", booking_request())
        await world.command(commands.CheckAvailability)
        await asyncio.sleep(0.05)
        broker.away = True
        dying = asyncio.create_task(world.orchestrator.sweep())
        await world.status("bk-1", "TIMED_OUT")
        dying.cancel()
        await asyncio.wait({dying})
    assert world.said(topics.EVENTS) == []
    broker.away = False
    schema = settings.schema_prefix + "saga"
    async with playing(settings, database, broker, group="successor") as successor:
        await database.execute(f"UPDATE {schema}.sagas SET wake_us = 1 WHERE wake_us IS NOT NULL")
        await successor.orchestrator.sweep()
        row = await successor.row("bk-1")
    assert {e.id for e in successor.said(topics.EVENTS)} == {"bk-1.timed_out"}
    assert row is not None
    assert row["wake_us"] is None, "its last words are out: the sweeper has nothing left to do"


async def test_cancelling_what_was_never_requested_goes_to_the_dead_letters(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker) as world:
        await world.request("bk-9", requests.BookingCancellationRequested())
        await world.request("bk-1", booking_request())
        await world.command(commands.CheckAvailability)
        async with asyncio.timeout(5):
            while not broker.records(topics.DEAD_LETTERS):
                await asyncio.sleep(0.01)
    letters = broker.records(topics.DEAD_LETTERS)
    assert [dict(letter.headers)["dlq_cause"] for letter in letters] == [b"unknown_saga"]


async def test_a_request_and_its_cancellation_in_one_poll_end_cancelled(
    settings: Settings, database: Pool, broker: MemoryBroker
) -> None:
    async with playing(settings, database, broker) as world:
        await asyncio.gather(
            world.request("bk-1", booking_request()), world.request("bk-1", requests.BookingCancellationRequested())
        )
        await world.status("bk-1", "CANCELLED")
        event: Envelope = await world.command(events.BookingCancelled)
    assert isinstance(event.body, events.BookingCancelled)
    assert not event.body.compensated
