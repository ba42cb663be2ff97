"""The HTTP and SMTP services, really running on free loopback ports, for tests of what talks to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saga.database import Schemas, connect_pool, migrate
from workers.notification.mailbox import MailStore, receiving
from workers.pricing.rates import RateBook
from workers.pricing.service import PricingService
from workers.provider.faults import Faults
from workers.provider.ledger import Ledger
from workers.provider.service import ProviderService
from workers.serving import listening

if TYPE_CHECKING:
    import asyncpg

    from saga.settings import Settings

    Pool = asyncpg.Pool[asyncpg.Record]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers at ``url``, and the pool it uses."""

    url: str
    pool: Pool
    schemas: Schemas

    async def settled(self) -> None:
        """Wait until the pricing engine is willing to look for new rates again (it does so twenty times a second)."""
        await asyncio.sleep(0.06)


@asynccontextmanager
async def pricing_running(settings: Settings) -> AsyncIterator[Running]:
    """The pricing engine with whatever rates are loaded."""
    await migrate(settings, "pricing")
    schemas = Schemas(settings.schema_prefix)
    async with await connect_pool(settings, role="test-pricing", max_size=2) as pool:
        book = RateBook(pool, schemas)
        await book.refresh()
        async with listening(PricingService(book).app(), HOST, 0) as port:
            yield Running(f"http://{HOST}:{port}", pool, schemas)


@asynccontextmanager
async def provider_running(settings: Settings, faults: Faults | None = None) -> AsyncIterator[Running]:
    """The payment provider with the API key of ``settings``."""
    await migrate(settings, "provider")
    schemas = Schemas(settings.schema_prefix)
    async with await connect_pool(settings, role="test-provider") as pool:
        ledger = Ledger(pool, schemas)
        service = ProviderService(ledger, settings.provider_api_key.get_secret_value(), faults or Faults())
        async with listening(service.app(), HOST, 0) as port:
            yield Running(f"http://{HOST}:{port}", pool, schemas)
        await ledger.settle()


@asynccontextmanager
async def mailbox_running(settings: Settings, *, port: int = 0) -> AsyncIterator[tuple[int, MailStore]]:
    """The development mailbox: its port, and what it received."""
    await migrate(settings, "notification")
    async with await connect_pool(settings, role="test-mailbox", max_size=2) as pool:
        store = MailStore(pool, Schemas(settings.schema_prefix))
        async with receiving(store, HOST, port) as bound:
            yield bound, store
