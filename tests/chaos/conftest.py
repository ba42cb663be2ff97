"""One environment of real processes for all of these tests: starting ten processes costs more than most of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from saga.database import connect_pool
from saga.stacks.environment import variables_of
from saga.stacks.prepare import prepare
from saga.stacks.services import Services
from saga.store.reading import Reader
from tests.support.chaos import House
from tests.support.stacks import StartedStack, delete_topics, drop_schemas, isolated_settings


@pytest.fixture(scope="package")
async def house(stack: StartedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Every role, running. A test that hurts it puts it back."""
    settings = isolated_settings(stack.endpoints)
    services = Services(variables_of(settings), tmp_path_factory.mktemp("house"))
    try:
        await prepare(settings, seed=True)
        pool = await connect_pool(settings, role="tests", max_size=4)
        try:
            await asyncio.to_thread(services.start)
            lodgings = await Reader(pool, settings.schema_prefix).lodgings()
            yield House(services, pool, lodgings)
        finally:
            await asyncio.to_thread(services.stop)
            await pool.close()
            await delete_topics(settings)
    finally:
        await asyncio.to_thread(drop_schemas, settings)
