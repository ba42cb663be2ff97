"""An orchestrator is stopped in mid-decision, replaced, and then goes on where it was: what it decides is refused."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

import pytest

from saga.engine.state import Status
from saga.generate import ALL_CONFIRMED
from saga.telemetry import names
from tests.support.chaos import House, until

_FORGOTTEN_US = 6_000_000
"""After so long without a word from the database an orchestrator reads a saga again instead of remembering it."""


@pytest.mark.timeout(400)
async def test_what_a_zombie_orchestrator_decides_is_rejected(house: House) -> None:
    since_us = await house.reader.now_us()
    await house.stop("payment")  # so that the sagas wait for it
    # Without a sweeper nothing but a message makes this orchestrator look at its sagas.
    await house.restart("orchestrator", {"SAGA_SWEEP_INTERVAL_S": "60"})
    keys = await house.book(list(islice(house.guests(ALL_CONFIRMED), 12)))
    cancelled = keys[::2]

    async def forgotten() -> bool:
        found = (await house.reader.outcomes(keys)).values()
        latest_us = max((summary.updated_us for summary in found), default=0)
        waiting = [summary.step for summary in found] == ["process_payment"] * len(keys)
        return waiting and await house.reader.now_us() - latest_us > _FORGOTTEN_US

    await until(forgotten, "every saga has been waiting for its payment for a while")
    before = await house.counted("orchestrator", names.EPOCH_CONFLICTS)
    zombie = house.services.child("orchestrator")
    async with _held_up(house):
        await asyncio.gather(*(house.cancel(key) for key in cancelled))
        await until(lambda: _is_reading(house), "the orchestrator is about to be told how the sagas stand")
        zombie.signal(signal.SIGSTOP)
    try:
        # The answer is on its way to somebody who does not listen; ready is who has been given the partitions instead.
        await house.start("orchestrator:2", "payment")
        ended = await house.ended(keys)
        history = "{saga}.history WHERE saga_id = ANY ($1)"
        steps = await house.count(history, keys)
        zombie.signal(signal.SIGCONT)

        async def rejected() -> bool:
            return await house.counted("orchestrator", names.EPOCH_CONFLICTS) > before

        await until(rejected, "the zombie acts on what it was told, and learns that the sagas have moved on")
        assert {ended[key].status for key in cancelled} == {Status.CANCELLED}
        assert {ended[key].status for key in keys if key not in cancelled} == {Status.CONFIRMED}
        assert await house.reader.outcomes(keys) == ended
        assert await house.count(history, keys) == steps, "and nothing of it is written"
    finally:
        zombie.signal(signal.SIGCONT)
        await house.stop("orchestrator:2")
        await house.restart("orchestrator")
    await house.audited(keys, since_us, confirmed=6, compensated=6)


@asynccontextmanager
async def _held_up(house: House) -> AsyncIterator[None]:
    """Nobody is told how any saga stands while the context lasts."""
    async with house.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {house.schemas['saga']}.sagas IN ACCESS EXCLUSIVE MODE")
        yield


async def _is_reading(house: House) -> bool:
    waiting: bool = await house.pool.fetchval(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'booking-saga-orchestrator' "
        "AND wait_event_type = 'Lock' AND query LIKE '%unnest($1::text[]) AS asked(id)%' AND query LIKE $1",
        f"%{house.schemas['saga']}.sagas%",
    )
    return waiting
