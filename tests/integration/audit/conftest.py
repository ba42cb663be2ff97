"""A finished run of the whole saga, once, and copies of its database for every violation to be planted in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from saga.database import Schemas, Statements, migrate
from saga.publishing import BookingPublisher, Request
from saga.seeding import SeedSource, load_seeder
from saga.settings import Settings
from saga.stacks.environment import variables_of
from saga.stacks.services import Services
from schemas.requests import BookingCancellationRequested, BookingRequested
from tests.support.stacks import StartedStack, create_topics, delete_topics, isolated_settings

_ENDED = frozenset({"CONFIRMED", "FAILED", "TIMED_OUT", "CANCELLED"})


@dataclass(frozen=True)
class Finished:
    """What ran, and one saga of each kind: two confirmed, one declined (one undo), one cancelled (three undos) and one
    for a property that nobody has."""

    settings: Settings
    confirmed: str = "bk-confirmed"
    other: str = "bk-other"
    declined: str = "bk-declined"
    cancelled: str = "bk-cancelled"
    unknown: str = "bk-unknown"

    @property
    def kinds(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("confirmed", "other", "declined", "cancelled", "unknown")}


Plant = Callable[[str], Awaitable[Settings]]


def _booking(**changes: object) -> BookingRequested:
    first = datetime.now(UTC).date() + timedelta(days=40)
    fields: dict[str, object] = {
        "user_id": "u-1",
        "property_id": "htl-001",
        "check_in": first,
        "check_out": first + timedelta(days=3),
        "guests": 1,
        "payment_token": "tok_visa",
        "email": "ada@example.org",
        "source": "web",
    }
    return BookingRequested.model_validate(fields | changes)


@pytest.fixture(scope="package")
async def finished(stack: StartedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Finished]:
    """Everything ran in a database of its own, and has stopped."""
    name = f"audited_{uuid4().hex[:8]}"
    await _administer(stack, f'CREATE DATABASE "{name}"')
    settings = _in_database(isolated_settings(stack.endpoints), name)
    try:
        await migrate(settings)
        await create_topics(settings)
        seeded = await load_seeder().load(settings, SeedSource(properties=4, rooms=60))
        assert seeded.rooms == 60
        done = Finished(settings)
        services = Services(variables_of(settings), tmp_path_factory.mktemp("services"))
        await asyncio.to_thread(services.start)
        try:
            await _play(services.settings, done)
        finally:
            await asyncio.to_thread(services.stop)
        yield done
    finally:
        await delete_topics(settings)
        await _administer(stack, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _play(settings: Settings, done: Finished) -> None:
    """Publish one booking of each kind, cancel one, and wait until all have ended and been told of."""
    property_id = await _a_property(settings)
    bookings = {
        done.confirmed: _booking(property_id=property_id),
        done.other: _booking(property_id=property_id),
        done.declined: _booking(property_id=property_id, payment_token="tok_declined_insufficient_funds"),
        done.cancelled: _booking(property_id=property_id),
        done.unknown: _booking(property_id="htl-that-nobody-has"),
    }
    async with BookingPublisher(settings) as publisher:
        await publisher.publish([Request(key, body) for key, body in bookings.items()])
        await _until(settings, dict.fromkeys(bookings, _ENDED))
        await publisher.publish([Request(done.cancelled, BookingCancellationRequested(reason="ill"))])
        await _until(settings, {done.cancelled: frozenset({"CANCELLED"})})


async def _until(settings: Settings, wanted: dict[str, frozenset[str]]) -> None:
    # Ended, the letter about it written, and the lock promoted: nothing will change any more.
    handled = "EXISTS (SELECT FROM {{%s}}.inbox WHERE message_id = s.id || '.' || lower(s.status))"
    sql = Schemas(settings.schema_prefix).fill(
        f"SELECT id, status FROM {{{{saga}}}}.sagas s WHERE {handled % 'notification'} AND {handled % 'locking'}"
    )
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with asyncio.timeout(90):
            while True:
                rows = await connection.fetch(sql)
                status = {row["id"]: row["status"] for row in rows}
                if all(status.get(key) in ends for key, ends in wanted.items()):
                    return
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _a_property(settings: Settings) -> str:
    schemas = Schemas(settings.schema_prefix)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        found: str = await connection.fetchval(
            f"SELECT property_id FROM {schemas['inventory']}.rooms GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        )
        return found
    finally:
        await connection.close()


@pytest.fixture
async def plant(stack: StartedStack, finished: Finished) -> AsyncIterator[Plant]:
    """``await plant(name)`` gives the settings of a copy in which the statements of that name have been run."""
    plants = Statements.load("tests.integration.audit", "plants.sql", Schemas(finished.settings.schema_prefix))
    source = _database(finished.settings)
    copies: list[str] = []

    async def in_a_copy(name: str) -> Settings:
        copy = f"{source}_{len(copies)}"
        await _administer(stack, f'CREATE DATABASE "{copy}" TEMPLATE "{source}"')
        copies.append(copy)
        settings = _in_database(finished.settings, copy)
        sql = plants[name]
        for kind, saga_id in finished.kinds.items():
            sql = sql.replace(f":{kind}", saga_id)
        connection = await asyncpg.connect(settings.database_url.get_secret_value())
        try:
            await connection.execute(sql)
        finally:
            await connection.close()
        return settings

    yield in_a_copy
    for copy in copies:
        await _administer(stack, f'DROP DATABASE "{copy}" WITH (FORCE)')


async def _administer(stack: StartedStack, sql: str) -> None:
    connection = await asyncpg.connect(stack.endpoints.database_url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _database(settings: Settings) -> str:
    return settings.database_url.get_secret_value().rpartition("/")[2]


def _in_database(settings: Settings, name: str) -> Settings:
    url = settings.database_url.get_secret_value().rpartition("/")[0]
    return settings.model_copy(update={"database_url": SecretStr(f"{url}/{name}")})
