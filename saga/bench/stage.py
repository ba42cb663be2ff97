"""Where a measurement takes place: a fresh stack, every role in a process of its own, and the client beside them."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from saga.errors import StackUnavailable
from saga.stacks.choose import Choice, choose
from saga.stacks.prepare import prepare
from saga.stacks.services import ROLES, Services
from saga.stacks.supervise import inherited

if TYPE_CHECKING:
    from saga.bench.plan import Plan
    from saga.settings import Settings
    from saga.stacks.base import Progress, Stack

COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stack with everything running on it. ``why`` says how it came to be this stack."""

    stack: Stack
    description: str
    why: str
    services: Services
    directory: Path

    @property
    def settings(self) -> Settings:
        """What leads to this stack and its services."""
        return self.services.settings

    @property
    def environment(self) -> Mapping[str, str]:
        """The same, for another process."""
        return self.services.environment

    def stop_roles(self) -> None:
        """Stop every role but the collector, which whoever comes next exports to as well."""
        for role in reversed(ROLES):
            if role != COLLECTOR:
                self.services.child(role).stop()

    def start_roles(self) -> None:
        """Start them again."""
        self.services.start_some(role for role in ROLES if role != COLLECTOR)


def choose_stack(name: str | None) -> Choice:
    """The stack asked for; else Apache Kafka itself where it can run, because that is what counts.

    Raises :class:`StackUnavailable` when none can run.
    """
    asked = name or os.environ.get("SAGA_STACK") or "auto"
    if asked != "auto":
        return choose(asked)
    try:
        return Choice(choose("kafka").stack, "Apache Kafka itself, the default here", {})
    except StackUnavailable as error:
        best = choose("auto")
        return Choice(best.stack, best.reason, {"kafka": str(error), **best.passed_over})


@contextmanager
def running_stage(name: str | None, plan: Plan, progress: Progress) -> Iterator[Stage]:
    """Start everything; at the end all of it is stopped and removed. Raises :class:`StackError`."""
    choice = choose_stack(name)
    progress(f"stack {choice.stack.name}: {choice.reason}")
    endpoints = choice.stack.start(progress)
    directory = Path(tempfile.mkdtemp(prefix="booking-saga-bench-"))
    try:
        variables = {**inherited(), **endpoints.environment()}
        shared = choice.stack.name == "env"
        if shared:  # other people's: nothing of theirs is touched, and nothing of ours stays
            unique = token_hex(4)
            variables |= {"SAGA_TOPIC_PREFIX": f"bench-{unique}.", "SAGA_SCHEMA_PREFIX": f"bench_{unique}_"}
        services = Services(variables, directory, progress=lambda _: None)
        try:
            asyncio.run(_prepare(services.settings, plan, progress))
            progress("starting the services")
            with services:
                yield Stage(choice.stack, endpoints.description, choice.reason, services, directory)
        finally:
            if shared:
                asyncio.run(_clear(services.settings))
    finally:
        choice.stack.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def _prepare(settings: Settings, plan: Plan, progress: Progress) -> None:
    from saga.seeding import load_seeder

    await prepare(settings, seed=False, progress=progress)
    catalogue = plan.catalogue()
    progress(f"loading {catalogue.properties} properties with {catalogue.rooms} rooms")
    await load_seeder().load(settings, catalogue)


async def _clear(settings: Settings) -> None:
    """Remove the topics and schemas of the measurement from a broker and a database that stay."""
    from aiokafka.admin import AIOKafkaAdminClient

    from saga.database import Schemas, Statements, connect_pool
    from saga.messaging.kafka import client_options

    assert settings.topic_prefix
    assert settings.schema_prefix, "without prefixes this would be somebody else's"
    sql = Statements.load("saga.bench", "sql/stored.sql", Schemas(settings.schema_prefix))
    async with await connect_pool(settings, role="bench", max_size=1, reads_widely=True) as pool:
        await pool.execute(sql["define_clear"])
        await pool.execute(sql["clear"], settings.schema_prefix)
    options = client_options(settings, "bench-admin")
    admin = AIOKafkaAdminClient(**{name: value for name, value in options.items() if name != "metadata_max_age_ms"})
    try:
        await admin.start()
        await admin.delete_topics([t for t in await admin.list_topics() if t.startswith(settings.topic_prefix)])
    finally:
        await admin.close()
