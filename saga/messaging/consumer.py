"""Put a consumer together: subscription, publisher, intake, heritage, lag; run it until the role is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from saga.database import Schemas, Statements, connect_pool, migrate
from saga.faults import FaultPoint
from saga.messaging.batchworker import BatchWorker
from saga.messaging.broker import Partition
from saga.messaging.callworker import CallWorker
from saga.messaging.heritage import Heritage
from saga.messaging.inbox import Inbox
from saga.messaging.intake import Handle, Intake, Reading
from saga.messaging.job import BatchHandler, CallHandler
from saga.messaging.kafka import KafkaPublisher, KafkaSubscription
from saga.messaging.settlement import Settlement
from saga.messaging.topics import ensure_topics
from saga.telemetry import names
from schemas import topics as all_topics
from schemas.base import Message

if TYPE_CHECKING:
    from saga.runtime import Runtime

_log = logging.getLogger(__name__)

_LAG_EVERY_S = 5.0
_ASSIGNMENT_S = 60.0


async def run_batch_worker(
    runtime: Runtime, *, owner: str, topics: Collection[str], make: Callable[[Schemas], BatchHandler]
) -> None:
    """Run a worker whose whole effect is in its database. ``owner`` is the schema it writes."""

    async def build(pool: asyncpg.Pool[asyncpg.Record], settlement: Settlement) -> Handle:
        return BatchWorker(make(Schemas(runtime.settings.schema_prefix)), pool, settlement).handle

    handles = make(Schemas(runtime.settings.schema_prefix)).handles
    await _run_worker(runtime, owner, topics, Reading(handles), build)


async def run_call_worker(
    runtime: Runtime,
    *,
    owner: str,
    topics: Collection[str],
    make: Callable[[asyncpg.Pool[asyncpg.Record], Schemas], Awaitable[CallHandler]],
    handles: frozenset[type[Message]],
    repeatable: bool = False,
) -> None:
    """Run a worker that calls the outside world. ``make`` gets a pool of its own database sessions; ``repeatable``:
    see :class:`CallWorker`."""

    async def build(pool: asyncpg.Pool[asyncpg.Record], settlement: Settlement) -> Handle:
        handler = await make(pool, Schemas(runtime.settings.schema_prefix))
        return CallWorker(handler, pool, settlement, window=runtime.settings.window, repeatable=repeatable).handle

    await _run_worker(runtime, owner, topics, Reading(handles), build)


async def _run_worker(
    runtime: Runtime,
    owner: str,
    topics: Collection[str],
    reading: Reading,
    build: Callable[[asyncpg.Pool[asyncpg.Record], Settlement], Awaitable[Handle]],
) -> None:
    settings, telemetry = runtime.settings, runtime.telemetry
    await migrate(settings, owner)
    pool = await connect_pool(settings, role=runtime.role)
    inbox = Inbox(runtime.role, owner, settings.schema_prefix)
    schemas = Schemas(settings.schema_prefix, (("owner", owner),))
    exporters = Statements.load("saga.messaging", "sql/exporters.sql", schemas)
    heritage = Heritage(pool, exporters, inbox.sql["unexported"], runtime.role, telemetry)

    async def handle_with(publisher: KafkaPublisher, intake: Intake, faults: FaultPoint) -> Handle:
        settlement = Settlement(
            runtime.role,
            inbox,
            heritage,
            publisher,
            intake,
            topic_prefix=settings.topic_prefix,
            recorder=telemetry.spans,
            meters=telemetry.meters,
            faults=faults,
            afterwards=telemetry.afterwards,
        )
        return await build(pool, settlement)

    try:
        await run_consumer(runtime, topics, reading, heritage, handle_with)
    finally:
        await pool.close()


async def run_consumer(
    runtime: Runtime,
    topics: Collection[str],
    reading: Reading,
    heritage: Heritage,
    handle_with: Callable[[KafkaPublisher, Intake, FaultPoint], Awaitable[Handle]],
    gate: Callable[[], bool] = lambda: True,
) -> None:
    """Consume ``topics`` as the group named after the role until the runtime is stopping."""
    settings, telemetry = runtime.settings, runtime.telemetry
    await ensure_topics(settings, all_topics.ALL)
    publisher = KafkaPublisher(settings, runtime.role, telemetry.spans, telemetry.meters, telemetry.afterwards)
    subscription = KafkaSubscription(
        settings, runtime.role, f"{names.NAMESPACE}.{runtime.role}", topics, telemetry.meters
    )
    faults = FaultPoint(settings.fault, runtime.role)
    reading = replace(reading, topic_prefix=settings.topic_prefix, batch_records=settings.batch_records)
    intake = Intake(
        subscription,
        publisher,
        reading,
        recorder=telemetry.spans,
        meters=telemetry.meters,
        faults=faults,
        gate=gate,
    )
    lags: dict[Partition, int] = {}
    telemetry.meters.observe(
        names.CONSUMER_LAG,
        "{message}",
        "records behind the end of the topic",
        lambda: [(lag, {names.DESTINATION: p.topic, names.PARTITION: str(p.number)}) for p, lag in lags.items()],
    )
    helpers: set[asyncio.Task[None]] = set()
    try:
        await publisher.start()
        await heritage.start()
        handle = await handle_with(publisher, intake, faults)
        await subscription.start()
        helpers = {
            asyncio.create_task(heritage.run()),
            asyncio.create_task(_watch_lag(subscription, lags)),
            asyncio.create_task(_announce(runtime, subscription)),
        }
        await intake.run(handle, runtime.stopping)
    finally:
        for helper in helpers:
            helper.cancel()
        await subscription.close()
        await publisher.close()
        await heritage.close()


async def _announce(runtime: Runtime, subscription: KafkaSubscription) -> None:
    """Ready means: partitions are assigned, so that nothing published from now on waits for a rebalance."""
    try:
        await asyncio.wait_for(subscription.assigned.wait(), _ASSIGNMENT_S)
    except TimeoutError:
        _log.warning("no partitions assigned after %.0f s; another member may hold them all", _ASSIGNMENT_S)
    runtime.ready()


async def _watch_lag(subscription: KafkaSubscription, lags: dict[Partition, int]) -> None:
    while True:
        await asyncio.sleep(_LAG_EVERY_S)
        current = await subscription.lag()
        lags.clear()
        lags.update(current)
