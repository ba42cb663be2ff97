"""The role ``locking``: holds rooms for bookings, one at a time, and lets them go."""

from __future__ import annotations

from saga.database import migrate
from saga.messaging.consumer import run_batch_worker
from saga.runtime import Runtime
from schemas import topics
from workers.locking.handler import LockHandler


async def run(runtime: Runtime) -> None:
    """Handle lock commands, and promote the locks of confirmed bookings, until told to stop."""
    # Sold nights are read from the inventory, whose worker may start later.
    await migrate(runtime.settings, "inventory", "locking")
    contentions = runtime.telemetry.meters.contentions
    await run_batch_worker(
        runtime,
        owner="locking",
        topics=(topics.LOCKING, topics.EVENTS),
        make=lambda schemas: LockHandler(schemas, contentions),
    )
