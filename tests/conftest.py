"""Fixtures that everybody shares: a running stack, and on it an environment of the test's own.

``SAGA_STACK`` forces a stack; ``SAGA_REQUIRE=kafka,postgres`` names parts whose absence fails what would be skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest

from saga.database import connect_pool, migrate
from saga.settings import Settings
from saga.stacks.environment import variables_of
from saga.stacks.services import ROLES, Services
from tests.support.stacks import (
    Session,
    StartedStack,
    StartServices,
    choose_session,
    create_topics,
    delete_topics,
    drop_schemas,
    isolated_settings,
)

_SESSION = pytest.StashKey[Session]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SESSION] = choose_session()


def pytest_report_header(config: pytest.Config) -> str:
    session = config.stash[_SESSION]
    required = f"; required: {', '.join(sorted(session.required))}" if session.required else ""
    return str(session.choice) + required if session.choice is not None else f"stack: none ({session.problem})"


def pytest_runtest_setup(item: pytest.Item) -> None:
    session = item.config.stash[_SESSION]
    wanted = {part for marker in item.iter_markers("needs") for part in marker.args}
    missing = wanted - session.parts if wanted else set()
    if missing:
        reason = f"needs {' and '.join(sorted(missing))}, which this session does not have"
        if missing & session.required:
            pytest.fail(f"{reason}, though SAGA_REQUIRE asks for it", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[StartedStack]:
    """A running stack, the same for the whole session. Restart its parts only in tests that put it back."""
    session = pytestconfig.stash[_SESSION]
    if session.choice is None:
        if session.required:
            pytest.fail(session.problem, pytrace=False)
        pytest.skip(session.problem)
    chosen = session.choice.stack
    try:
        yield StartedStack(chosen, chosen.start())
    finally:
        chosen.stop()


@pytest.fixture
def settings(stack: StartedStack) -> Settings:
    """Settings with a fresh topic prefix and schema prefix. Nothing exists there yet; see ``database``, ``topics``."""
    return isolated_settings(stack.endpoints)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """A pool on the test's own schemas, all migrations applied; the schemas are dropped afterwards."""
    try:
        await migrate(settings)
        pool = await connect_pool(settings, role="tests", max_size=8)
        try:
            yield pool
        finally:
            await pool.close()
    finally:
        await asyncio.to_thread(drop_schemas, settings)


@pytest.fixture
async def topics(settings: Settings) -> AsyncIterator[None]:
    """The test's own topics, all of them, deleted afterwards."""
    await create_topics(settings)
    yield
    await delete_topics(settings)


@pytest.fixture
async def start_services(
    settings: Settings, database: object, topics: object, tmp_path: Path
) -> AsyncIterator[StartServices]:
    """Start roles as processes in the test's own environment: ``await start_services(roles=..., environment=...)``.

    ``environment`` adds ``SAGA_*`` variables for all of them. Everything is stopped afterwards.
    """
    started: list[Services] = []

    async def start(roles: Sequence[str] = ROLES, environment: Mapping[str, str] | None = None) -> Services:
        directory = tmp_path / f"services-{len(started)}"
        services = Services({**variables_of(settings), **(environment or {})}, directory, roles=roles)
        started.append(services)
        await asyncio.to_thread(services.start)
        return services

    yield start
    for services in started:
        await asyncio.to_thread(services.stop)
