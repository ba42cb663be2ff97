"""The role ``pricing``: the pricing engine as a process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from saga.database import Schemas, connect_pool
from saga.runtime import Runtime
from workers.pricing.rates import RateBook
from workers.pricing.service import PricingService
from workers.serving import serve


async def run(runtime: Runtime) -> None:
    """Serve quotes on the port of ``SAGA_PRICING_URL`` until told to stop.

    Raises :class:`saga.errors.DatabaseUnreachable` when the rates cannot be read at the start; afterwards the engine
    goes on from memory while the database is away.
    """
    settings = runtime.settings
    async with await connect_pool(settings, role="pricing", max_size=2) as pool:
        book = RateBook(pool, Schemas(settings.schema_prefix))
        await book.refresh()
        refreshing = asyncio.create_task(book.keep_fresh())
        try:
            await serve(runtime, PricingService(book).app(), settings.pricing_url)
        finally:
            refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await refreshing
