"""The stack that a test session runs on: chosen once, started when first needed, isolated per test by prefixes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from aiokafka.admin import AIOKafkaAdminClient

from saga.errors import SagaError
from saga.messaging.topics import ensure_topics
from saga.settings import Settings
from saga.stacks import kafka_jars
from saga.stacks.base import Endpoints, Stack
from saga.stacks.choose import Choice, choose
from saga.stacks.services import Services
from saga.stacks.testcontainers import engine_unavailable
from schemas.topics import ALL


@dataclass(frozen=True)
class Session:
    """What this run of pytest has: the choice of a stack or why there is none, and what must not be missing."""

    choice: Choice | None
    problem: str
    required: frozenset[str]

    @property
    def parts(self) -> frozenset[str]:
        """Every part that ``needs`` may name and that is here."""
        parts = set(self.choice.stack.parts if self.choice is not None else ())
        if kafka_jars.unavailable() is None:
            parts.add("java")
        if engine_unavailable() is None:
            parts.add("docker")
        return frozenset(parts)


def choose_session() -> Session:
    """Choose by ``SAGA_STACK`` and ``SAGA_REQUIRE`` (parts, comma separated, for which no substitute is accepted)."""
    required = frozenset(part for part in os.environ.get("SAGA_REQUIRE", "").replace(" ", "").split(",") if part)
    try:
        return Session(choose(None, "tests", require=required), "", required)
    except SagaError as error:
        return Session(None, str(error), required)


StartServices = Callable[..., Awaitable[Services]]
"""What the ``start_services`` fixture gives: ``await start_services(roles=..., environment=...)``."""


@dataclass(frozen=True)
class StartedStack:
    """A stack that runs, and where. ``stack`` restarts its parts; its ``parts`` say what is the real thing."""

    stack: Stack
    endpoints: Endpoints


def isolated_settings(endpoints: Endpoints) -> Settings:
    """Settings of an environment that nobody else has: topics and schemas under a prefix of their own."""
    unique = f"t{uuid4().hex[:10]}"
    return Settings(
        brokers=endpoints.brokers,
        database_url=endpoints.database_url,
        broker_kind=endpoints.broker_kind,
        fetch_max_wait_ms=endpoints.fetch_max_wait_ms,
        replication=endpoints.replication,
        topic_prefix=f"{unique}.",
        schema_prefix=f"{unique}_",
    )


def drop_schemas(settings: Settings) -> None:
    """Remove every schema of the environment."""
    assert settings.schema_prefix, "only an isolated environment may be dropped"
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        names = connection.execute(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE starts_with(nspname, %s)", (settings.schema_prefix,)
        ).fetchall()
        for (name,) in names:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


async def create_topics(settings: Settings) -> None:
    """Create every topic of the environment."""
    await ensure_topics(settings, ALL)


async def delete_topics(settings: Settings) -> None:
    """Remove every topic of the environment, so that a long session does not fill the broker with partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        topics = await admin.list_topics()
        await admin.delete_topics([name for name in topics if name.startswith(settings.topic_prefix)])
    finally:
        await admin.close()
