"""Running environments for the tests of traces and metrics; starting one takes longer than most of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from saga.database import connect_pool, migrate
from saga.stacks.environment import variables_of
from saga.stacks.services import Services
from tests.support.otlp import OtlpReceiver
from tests.support.stacks import StartedStack, create_topics, delete_topics, drop_schemas, isolated_settings
from tests.tracing.world import TRACED_ROLES, World

# Spans are exported as soon as they end; no command is sent twice because the machine was slow for a moment.
QUICK_AND_PATIENT = {"OTEL_BSP_SCHEDULE_DELAY": "50", "SAGA_PACE": "30", "SAGA_LOG_LEVEL": "DEBUG"}


@asynccontextmanager
async def running(
    stack: StartedStack, directory: Path, environment: Mapping[str, str], roles: Sequence[str] = TRACED_ROLES
) -> AsyncIterator[World]:
    """An environment of its own on the session's stack, with a receiver for its telemetry."""
    settings = isolated_settings(stack.endpoints)
    with OtlpReceiver() as receiver:
        try:
            await migrate(settings)
            await create_topics(settings)
            async with await connect_pool(settings, role="tests", max_size=4) as pool:
                given = {**variables_of(settings), "SAGA_OTLP_ENDPOINT": receiver.endpoint, **environment}
                services = Services(given, directory, roles=roles)
                world = World(settings, services, receiver, pool)
                await world.open()
                try:
                    await asyncio.to_thread(services.start)
                    yield world
                finally:
                    await asyncio.to_thread(services.stop)
                    await world.close()
                await delete_topics(settings)
        finally:
            await asyncio.to_thread(drop_schemas, settings)


@pytest_asyncio.fixture(scope="session")
async def world(stack: StartedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Every role, running well; shared by all tests of this directory that leave it so."""
    async with running(stack, tmp_path_factory.mktemp("world"), QUICK_AND_PATIENT) as made:
        yield made


@pytest_asyncio.fixture(scope="session")
async def troubled(stack: StartedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Every role, for tests that kill some of them, or start them in another way, and put them back."""
    async with running(stack, tmp_path_factory.mktemp("troubled"), QUICK_AND_PATIENT) as made:
        yield made
