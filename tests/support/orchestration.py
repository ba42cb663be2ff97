"""An orchestrator in this process, on the memory broker and a real database, with workers played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date

import asyncpg
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from saga.booking import DEFINITION, DEFINITIONS
from saga.database import Schemas, Statements
from saga.engine.envelope import Envelope, Outgoing, SagaHeaders, outgoing
from saga.engine.machine import Birth
from saga.faults import FaultPoint
from saga.messaging.broker import Record
from saga.messaging.heritage import Heritage
from saga.messaging.intake import Intake, Reading
from saga.messaging.memory import MemoryBroker, MemoryPublisher, MemorySubscription
from saga.messaging.wire import decode, encode
from saga.orchestrator.admission import Admission
from saga.orchestrator.orchestrator import Orchestrator
from saga.settings import Settings
from saga.store.store import Store
from saga.telemetry.meters import Meters
from saga.telemetry.pipeline import SpanPipeline
from saga.telemetry.setup import Telemetry
from schemas import Message, commands, message_classes, replies, requests, topics

EVERYTHING = frozenset(message_classes())
COMMANDS = (topics.AVAILABILITY, topics.LOCKING, topics.PAYMENT, topics.CONFIRMATION)

Worker = Callable[[Message], Message | None]


def telemetry(instance: str) -> Telemetry:
    """Telemetry that leads nowhere."""
    metrics = MeterProvider()
    return Telemetry(instance, SpanPipeline(None), Meters(metrics.get_meter("tests")), TracerProvider(), metrics)


@dataclass
class Played:
    """One orchestrator process of a test, and the means to talk to it."""

    settings: Settings
    pool: asyncpg.Pool[asyncpg.Record]
    broker: MemoryBroker
    orchestrator: Orchestrator
    store: Store
    heritage: Heritage
    _answered: int = field(default=0)

    async def request(self, key: str, body: Message) -> None:
        """Publish a request as anyone may."""
        envelope = Envelope(f"{key}.{type(body).__name__}", key, body, 1)
        await self.broker.append(encode(outgoing(topics.REQUESTS, envelope, None)))

    async def reply(self, command: Envelope, body: Message) -> None:
        """Answer a command."""
        assert command.saga is not None
        headers = SagaHeaders(command.saga.epoch, command.saga.step, command.saga.attempt, command.id)
        out: Outgoing = outgoing(
            topics.REPLIES, Envelope(f"{command.id}.reply", command.key, body, 1, saga=headers), None
        )
        await self.broker.append(encode(out))

    async def command(self, kind: type[Message], *, nth: int = 1, seconds: float = 5.0) -> Envelope:
        """The ``nth`` command of a kind, waited for."""
        async with asyncio.timeout(seconds):
            while True:
                found = [e for e in self.said() if isinstance(e.body, kind)]
                if len(found) >= nth:
                    return found[nth - 1]
                await asyncio.sleep(0.005)

    def said(self, *names: str) -> list[Envelope]:
        """Everything the orchestrator has published, on ``names`` or on all command and event topics."""
        records: list[Record] = []
        for topic in names or (*COMMANDS, topics.EVENTS):
            records += self.broker.records(topic)
        return [decode(record, EVERYTHING) for record in records]

    async def confirm(self, key: str) -> None:
        """Play every worker so that the saga ``key`` confirms."""
        offer = replies.Offer(room_id="r1", room_type="double", total_minor=20_000, currency="EUR")
        script: list[tuple[type[Message], Message]] = [
            (commands.CheckAvailability, replies.AvailabilityFound(booking_id=key, offers=(offer,))),
            (commands.AcquireLock, replies.LockAcquired(booking_id=key, reservation_id="rsv-1", expires_at_ms=1)),
            (
                commands.ProcessPayment,
                replies.PaymentProcessed(booking_id=key, transaction_id="ch_1", amount_minor=20_000, currency="EUR"),
            ),
            (commands.ConfirmBooking, replies.ConfirmationIssued(booking_id=key, confirmation_code="BK-1")),
        ]
        for kind, answer in script:
            await self.reply(await self.command(kind), answer)

    async def status(self, key: str, wanted: str, seconds: float = 5.0) -> asyncpg.Record:
        """The saga's row once it has the wanted status."""
        row = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    row = await self.row(key)
                    if row is not None and row["status"] == wanted:
                        return row
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{key} is not {wanted} but {dict(row) if row else None}") from None

    async def row(self, key: str) -> asyncpg.Record | None:
        """The saga's row as it is."""
        schema = Schemas(self.settings.schema_prefix)["saga"]
        return await self.pool.fetchrow(f"SELECT * FROM {schema}.sagas WHERE id = $1", key)


def booking_request(**changes: object) -> requests.BookingRequested:
    """A request that is fine, but for ``changes``."""
    fields: dict[str, object] = {
        "user_id": "user-1",
        "property_id": "lisbon-01",
        "check_in": date(2027, 3, 1),
        "check_out": date(2027, 3, 4),
        "guests": 2,
        "payment_token": "tok_visa",
        "email": "ana@example.com",
    }
    return requests.BookingRequested.model_validate(fields | changes)


@asynccontextmanager
async def playing(
    settings: Settings,
    pool: asyncpg.Pool[asyncpg.Record],
    broker: MemoryBroker,
    *,
    group: str = "orchestrator",
    pace: float = 1.0,
) -> AsyncIterator[Played]:
    """Run an orchestrator on ``broker``; leaving the context is a crash: nothing is finished or committed any more."""
    told = telemetry(f"orchestrator-{group}-{id(broker)}")
    store = Store(settings.schema_prefix, DEFINITIONS, DEFINITION)
    schemas = Schemas(settings.schema_prefix, (("owner", "saga"),))
    exporters = Statements.load("saga.messaging", "sql/exporters.sql", schemas)
    heritage = Heritage(pool, exporters, store.sql["unexported"], "orchestrator", told)
    publisher = MemoryPublisher(broker, told.spans)
    subscription = MemorySubscription(broker, group, (topics.REQUESTS, topics.REPLIES))
    reading = Reading(EVERYTHING, frozenset({topics.REQUESTS}))
    faults = FaultPoint("", "orchestrator")
    intake = Intake(subscription, publisher, reading, recorder=told.spans, meters=told.meters, faults=faults)
    orchestrator = Orchestrator(
        store, pool, heritage, publisher, intake, told, faults, Admission(500), birth=Birth(pace, settings.topic_prefix)
    )
    running = asyncio.create_task(intake.run(orchestrator.handle, asyncio.Event()))
    try:
        yield Played(settings, pool, broker, orchestrator, store, heritage)
    finally:
        running.cancel()
        await asyncio.wait({running})
