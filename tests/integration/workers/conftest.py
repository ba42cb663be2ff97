"""One environment per module, emptied before each test; and a hotel for the workers to sell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from saga.database import Schemas, connect_pool, migrate
from saga.settings import Settings
from tests.support.jobs import Measured
from tests.support.stacks import StartedStack, drop_schemas, isolated_settings
from workers.availability.catalogue import Listing, Room, load_inventory, tariff_of
from workers.pricing.rates import load_rates

HOTEL = Listing(
    property_id="hotel-1",
    name="Hotel One",
    city="Lisbon",
    country="PT",
    stars=3,
    currency="EUR",
    rooms=(
        Room(room_id="101", room_type="double", capacity=2, nightly_minor=10_000),
        Room(room_id="102", room_type="double", capacity=2, nightly_minor=10_000),
        Room(room_id="103", room_type="suite", capacity=4, nightly_minor=25_000),
    ),
)
_OWNERS = ("inventory", "locking", "payment", "notification", "provider", "pricing")
_EMPTIED = tuple(owner for owner in _OWNERS if owner != "pricing")  # its exchange rates come with the migrations


@pytest.fixture(scope="module")
async def environment(stack: StartedStack) -> AsyncIterator[tuple[Settings, asyncpg.Pool[asyncpg.Record]]]:
    """Migrated schemas of this module's own, and a pool on them."""
    settings = isolated_settings(stack.endpoints)
    try:
        await migrate(settings, *_OWNERS)
        pool = await connect_pool(settings, role="tests", max_size=8)
        try:
            yield settings, pool
        finally:
            await pool.close()
    finally:
        await asyncio.to_thread(drop_schemas, settings)


@pytest.fixture
def settings(environment: tuple[Settings, asyncpg.Pool[asyncpg.Record]]) -> Settings:
    """The module's environment."""
    return environment[0]


@pytest.fixture
def schemas(settings: Settings) -> Schemas:
    """The names of the module's schemas."""
    return Schemas(settings.schema_prefix)


@pytest.fixture
async def database(
    environment: tuple[Settings, asyncpg.Pool[asyncpg.Record]], schemas: Schemas
) -> asyncpg.Pool[asyncpg.Record]:
    """The module's pool, its tables empty."""
    pool = environment[1]
    tables = await pool.fetchval(
        "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables "
        "WHERE schemaname = ANY ($1::text[]) AND tablename !~ 'yoyo'",
        [schemas.name(owner) for owner in _EMPTIED],
    )
    await pool.execute(f"TRUNCATE {tables}")
    return pool


@pytest.fixture
async def hotel(database: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> None:
    """Three rooms: two doubles (101, 102) at 100.00 a night and a suite (103) for four at 250.00."""
    await load_rates(database, schemas, [tariff_of(HOTEL)])
    await load_inventory(database, schemas, [HOTEL])


@pytest.fixture
def measured() -> Measured:
    """Meters that can be read back."""
    return Measured()
