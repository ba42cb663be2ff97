"""The role ``availability``: finds rooms in the inventory and has the pricing engine price them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saga.database import Schemas, migrate
from saga.messaging.consumer import run_call_worker
from saga.runtime import Runtime
from schemas import topics
from workers.availability.handler import AvailabilityHandler
from workers.availability.search import RoomSearch
from workers.pricing.client import PricingClient

if TYPE_CHECKING:
    import asyncpg


async def run(runtime: Runtime) -> None:
    """Handle availability commands until told to stop."""
    settings = runtime.settings
    # Live locks are read too, to offer held rooms last; their worker may start later.
    await migrate(settings, "inventory", "locking")
    async with PricingClient(settings.pricing_url, max_connections=settings.window) as pricing:

        async def make(pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> AvailabilityHandler:
            return AvailabilityHandler(RoomSearch(pool, schemas), pricing)

        await run_call_worker(
            runtime,
            owner="inventory",
            topics=(topics.AVAILABILITY,),
            make=make,
            handles=AvailabilityHandler.handles,
            repeatable=True,  # it only reads
        )
