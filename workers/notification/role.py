"""The role ``notification``: tells guests by e-mail what became of their bookings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from saga.database import Schemas
from saga.messaging.consumer import run_call_worker
from saga.runtime import Runtime
from schemas import topics
from workers.notification.delivery import Delivery
from workers.notification.handler import NotificationHandler
from workers.notification.ledger import NotificationLedger
from workers.notification.mailer import Mailer
from workers.notification.postman import Postman

if TYPE_CHECKING:
    import asyncpg

_ATTEMPTS = 2
"""At once; after that the letter is put off, so that a mail server that is away holds nothing up."""
_TIMEOUT_S = 5.0


async def run(runtime: Runtime) -> None:
    """Send a letter for every event until told to stop."""
    settings, telemetry = runtime.settings, runtime.telemetry
    helpers: set[asyncio.Task[None]] = set()
    async with Mailer(settings, attempts=_ATTEMPTS, timeout_s=_TIMEOUT_S) as mailer:

        async def make(pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> NotificationHandler:
            ledger = NotificationLedger(pool, schemas, telemetry.instance)
            delivery = Delivery(mailer, ledger, telemetry.meters.notifications)
            helpers.add(asyncio.create_task(Postman(ledger, delivery, telemetry.spans).run()))
            return NotificationHandler(ledger, delivery)

        try:
            await run_call_worker(
                runtime,
                owner="notification",
                topics=(topics.EVENTS,),
                make=make,
                handles=NotificationHandler.handles,
                repeatable=True,  # a letter that is told is not sent again
            )
        finally:
            for helper in helpers:
                helper.cancel()
            if helpers:
                await asyncio.wait(helpers)
