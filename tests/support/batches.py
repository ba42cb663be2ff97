"""A batch worker in this process, on the memory broker and a real database: commands in, replies out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from saga.database import Schemas, Statements
from saga.engine.envelope import Envelope, Outgoing
from saga.faults import FaultPoint
from saga.messaging.batchworker import BatchWorker
from saga.messaging.heritage import Heritage
from saga.messaging.inbox import Inbox
from saga.messaging.intake import Intake, Reading
from saga.messaging.job import BatchHandler, Job
from saga.messaging.memory import MemoryBroker, MemoryPublisher, MemorySubscription
from saga.messaging.settlement import Settlement
from saga.messaging.wire import decode, encode
from saga.settings import Settings
from schemas import topics
from schemas.base import Message
from tests.support.orchestration import EVERYTHING, telemetry

_TOPIC = topics.LOCKING
"""Any topic does: the worker reads what it understands."""


@dataclass
class PlayedWorker:
    """One worker process of a test."""

    broker: MemoryBroker

    async def send(self, *jobs: Job[Any]) -> None:
        """Have the commands of ``jobs`` read in one poll."""
        for job in jobs:
            await self.broker.append(encode(Outgoing(_TOPIC, job.envelope, None)))

    async def replies(self, number: int) -> Sequence[Envelope]:
        """The first ``number`` replies, waited for."""
        async with asyncio.timeout(5):
            while len(records := self.broker.records(topics.REPLIES)) < number:
                await asyncio.sleep(0.005)
        return [decode(record, EVERYTHING) for record in records]

    async def bodies(self, number: int) -> dict[str, Message]:
        """Those replies' bodies by saga."""
        return {reply.key: reply.body for reply in await self.replies(number)}


@asynccontextmanager
async def working(
    settings: Settings, pool: asyncpg.Pool[asyncpg.Record], handler: BatchHandler, *, role: str, owner: str
) -> AsyncIterator[PlayedWorker]:
    """Run a worker with ``handler``; everything sent before its first poll is one batch."""
    told = telemetry(role)
    broker = MemoryBroker(partitions=1)
    inbox = Inbox(role, owner, settings.schema_prefix)
    schemas = Schemas(settings.schema_prefix, (("owner", owner),))
    exporters = Statements.load("saga.messaging", "sql/exporters.sql", schemas)
    heritage = Heritage(pool, exporters, inbox.sql["unexported"], role, told)
    publisher = MemoryPublisher(broker, told.spans)
    subscription = MemorySubscription(broker, role, (_TOPIC,))
    faults = FaultPoint("", role)
    reading = Reading(handler.handles)
    intake = Intake(subscription, publisher, reading, recorder=told.spans, meters=told.meters, faults=faults)
    settlement = Settlement(
        role,
        inbox,
        heritage,
        publisher,
        intake,
        topic_prefix="",
        recorder=told.spans,
        meters=told.meters,
        faults=faults,
    )
    running = asyncio.create_task(intake.run(BatchWorker(handler, pool, settlement).handle, asyncio.Event()))
    try:
        yield PlayedWorker(broker)
    finally:
        running.cancel()
        await asyncio.wait({running})
