"""The role ``orchestrator``: consumes requests and replies, and sweeps. As many instances as one likes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.booking import DEFINITION, DEFINITIONS
from saga.database import Schemas, Statements, connect_pool, migrate
from saga.engine.machine import Birth
from saga.messaging.batchworker import LOST_CONNECTION
from saga.messaging.consumer import run_consumer
from saga.messaging.heritage import Heritage
from saga.messaging.intake import Handle, Intake, Reading
from saga.orchestrator.admission import Admission
from saga.orchestrator.orchestrator import Orchestrator
from saga.store.store import Store
from saga.telemetry import names
from schemas.topics import REPLIES, REQUESTS

if TYPE_CHECKING:
    from saga.faults import FaultPoint
    from saga.messaging.kafka import KafkaPublisher
    from saga.runtime import Runtime

_log = logging.getLogger(__name__)

_COUNT_EVERY_S = 5.0


async def run(runtime: Runtime) -> None:
    """Orchestrate until the runtime is stopping."""
    settings, telemetry = runtime.settings, runtime.telemetry
    await migrate(settings, "saga")
    pool = await connect_pool(settings, role=runtime.role)
    store = Store(settings.schema_prefix, DEFINITIONS, DEFINITION)
    schemas = Schemas(settings.schema_prefix, (("owner", "saga"),))
    exporters = Statements.load("saga.messaging", "sql/exporters.sql", schemas)
    heritage = Heritage(pool, exporters, store.sql["unexported"], runtime.role, telemetry)
    requests = frozenset({DEFINITION.starts_on, DEFINITION.cancels_on})
    # A running saga finishes on the version it started with, so the replies of every version are understood.
    replies = frozenset(reply for version in DEFINITIONS.values() for reply in version.replies)
    reading = Reading(
        requests | replies,
        untrusted=frozenset({REQUESTS}),
        gated=frozenset({REQUESTS}),
        by_topic={REQUESTS: requests, REPLIES: replies},
    )
    admission = Admission(settings.live_sagas)
    helpers: set[asyncio.Task[None]] = set()

    async def handle_with(publisher: KafkaPublisher, intake: Intake, faults: FaultPoint) -> Handle:
        orchestrator = Orchestrator(
            store,
            pool,
            heritage,
            publisher,
            intake,
            telemetry,
            faults,
            admission,
            birth=Birth(settings.pace, settings.topic_prefix),
            topic_prefix=settings.topic_prefix,
        )
        helpers.add(asyncio.create_task(_sweep(orchestrator, settings.sweep_interval_s)))
        helpers.add(asyncio.create_task(_count(runtime, store, pool)))
        return orchestrator.handle

    try:
        await run_consumer(runtime, (REQUESTS, REPLIES), reading, heritage, handle_with, admission.open)
    finally:
        for helper in helpers:
            helper.cancel()
        await pool.close()


async def _sweep(orchestrator: Orchestrator, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            while await orchestrator.sweep():
                pass
        except LOST_CONNECTION as error:
            _log.warning("the sweeper waits for the database: %s", error)


async def _count(runtime: Runtime, store: Store, pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Keep the gauges of sagas under way and sagas that need attention."""
    counts: dict[str, int] = {}
    meters = runtime.telemetry.meters

    def active() -> list[tuple[float, dict[str, str]]]:
        return [(counts.get(s, 0), {f"{names.NAMESPACE}.status": s}) for s in ("RUNNING", "COMPENSATING")]

    meters.observe(names.ACTIVE, "{saga}", "sagas under way", active)
    meters.observe(
        names.NEEDS_ATTENTION,
        "{saga}",
        "sagas whose undo keeps failing",
        lambda: [(counts.get("NEEDS_ATTENTION", 0), {})],
    )
    while True:
        try:
            with suppress_instrumentation():
                async with pool.acquire() as connection:
                    current = await store.counts(connection)
            counts.clear()
            counts.update(current)
        except LOST_CONNECTION as error:
            _log.warning("sagas cannot be counted: %s", error)
        await asyncio.sleep(_COUNT_EVERY_S)
