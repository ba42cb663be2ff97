"""What a dying orchestrator had not said yet is said by its successor: on the memory broker, at the exact moment."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg
import pytest

from saga.errors import BrokerUnreachable
from saga.messaging.broker import Outbound, Record
from saga.messaging.memory import MemoryBroker
from saga.settings import Settings
from schemas import commands, events, requests, topics
from tests.support.orchestration import booking_request, playing

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class HalfDeaf(MemoryBroker):
    """The same broker as somebody sees it who can never again tell what became of a booking."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker.partitions)
        vars(self).update(vars(broker))

    async def append(self, outbound: Outbound) -> Record:
        if outbound.topic == topics.EVENTS:
            raise BrokerUnreachable("this broker is deaf to events")
        return await super().append(outbound)


@pytest.mark.parametrize("cancelled_by", ["the one that confirmed it", "its successor"])
async def test_a_confirmation_nobody_heard_of_is_announced_though_it_was_cancelled_meanwhile(
    settings: Settings, database: Pool, cancelled_by: str
) -> None:
    broker = MemoryBroker()
    async with playing(settings, database, HalfDeaf(broker)) as dying:
        await dying.request("bk-1", booking_request())
        await dying.confirm("bk-1")
        await dying.status("bk-1", "CONFIRMED")
        if cancelled_by == "the one that confirmed it":
            await dying.request("bk-1", requests.BookingCancellationRequested())
            await dying.status("bk-1", "COMPENSATING")
    assert dying.said(topics.EVENTS) == []
    if cancelled_by == "its successor":
        # Topics are read in this order, so the cancellation is decided on before the reply comes again.
        await dying.request("bk-1", requests.BookingCancellationRequested())
    async with playing(settings, database, broker) as successor:
        await successor.command(commands.RestoreInventory)
        event = await successor.command(events.BookingConfirmed)
        row = await successor.status("bk-1", "COMPENSATING")
    assert event.id == "bk-1.confirmed"
    assert event.saga is not None
    history = f"{settings.schema_prefix}saga.history"
    epoch = await database.fetchval(f"SELECT epoch FROM {history} WHERE saga_id = 'bk-1' AND status = 'CONFIRMED'")
    assert event.saga.epoch == epoch < row["epoch"], "word for word what it would have said"
