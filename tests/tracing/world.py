"""A whole running environment: every role a process of its own, their telemetry and their topics read back."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from saga.database import Schemas
from saga.settings import Settings
from saga.stacks.services import ROLES, Services
from saga.traces.model import TraceSpan
from schemas import topics
from schemas.commands import AcquireLock
from tests.support.otlp import OtlpReceiver
from workers.availability.catalogue import Listing, Room, load_inventory, tariff_of
from workers.locking.ledger import Held, LockLedger, Wanted
from workers.pricing.rates import load_rates

TRACED_ROLES = tuple(role for role in ROLES if role != "collector")
CHECK_IN = date.today() + timedelta(days=90)  # noqa: DTZ011  # a night well ahead in whatever zone the database has
NIGHTS = 3
CHECK_OUT = CHECK_IN + timedelta(days=NIGHTS)
NIGHTLY_MINOR = 10_000
PATIENCE_S = 60.0
"""How long anything may take on a slow, shared machine before a test says that it did not happen."""

_ROOMS = {1: 40, 2: 4, 3: 4, 4: 4, 60: 1}  # rooms of a hotel: how many such hotels there are


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands on a topic. ``topic`` is without the environment's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def texts(self, name: str) -> list[str]:
        """The values of every header called ``name``."""
        return [value.decode("utf-8", "replace") for header, value in self.headers if header == name]

    def text(self, name: str) -> str:
        """The value of the only header called ``name``."""
        (only,) = self.texts(name)
        return only


@dataclass(frozen=True, slots=True)
class Publisher:
    """The span of somebody who asks: its saga continues this trace."""

    trace_id: int
    span_id: int
    flags: int = 1
    tracestate: str = ""

    @classmethod
    def new(cls, flags: int = 1, tracestate: str = "") -> Publisher:
        """A publisher nobody else has."""
        return cls(secrets.randbits(128) | 1, secrets.randbits(64) | 1, flags, tracestate)

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What it puts on its record."""
        parent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"
        state = [("tracestate", self.tracestate.encode())] if self.tracestate else []
        return [("traceparent", parent.encode()), *state]


def a_request(hotel: str, **changes: Any) -> dict[str, Any]:
    """The JSON body of a valid ``BookingRequested``, with ``changes``."""
    return {
        "user_id": "u-7",
        "property_id": hotel,
        "check_in": CHECK_IN.isoformat(),
        "check_out": CHECK_OUT.isoformat(),
        "guests": 2,
        "payment_token": "tok_visa",
        "email": "ada@example.org",
        "guest_name": "Ada",
        "source": "web",
        **changes,
    }


class World:
    """The environment: what was started, and ways to ask things of it and to see what came of them."""

    def __init__(
        self, settings: Settings, services: Services, receiver: OtlpReceiver, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        self.settings = settings
        self.services = services
        self.receiver = receiver
        self.pool = pool
        self.schemas = Schemas(settings.schema_prefix)
        self._producer = AIOKafkaProducer(bootstrap_servers=settings.brokers, acks="all")
        self._published: set[tuple[str, int, int]] = set()
        self._hotels = {
            rooms: iter([f"hotel-{rooms}-{number:02d}" for number in range(1, count + 1)])
            for rooms, count in _ROOMS.items()
        }

    async def open(self) -> None:
        """Stock the hotels and connect."""
        listings = [
            Listing(
                property_id=f"hotel-{rooms}-{number:02d}",
                name="Hotel",
                city="Lisbon",
                country="PT",
                stars=3,
                currency="EUR",
                rooms=tuple(
                    Room(room_id=str(100 + place), room_type="double", capacity=2, nightly_minor=NIGHTLY_MINOR)
                    for place in range(1, rooms + 1)
                ),
            )
            for rooms, count in _ROOMS.items()
            for number in range(1, count + 1)
        ]
        await load_rates(self.pool, self.schemas, [tariff_of(listing) for listing in listings])
        await load_inventory(self.pool, self.schemas, listings)
        await self._producer.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    def hotel(self, rooms: int = 1) -> str:
        """A hotel with so many rooms (doubles 101, 102, ...) that no other test has used."""
        return next(self._hotels[rooms])

    def topic(self, name: str) -> str:
        """A topic's name in this environment."""
        return self.settings.topic_prefix + name

    # --- asking ---------------------------------------------------------------------------------------------------

    async def request(
        self,
        hotel: str,
        *,
        key: str = "",
        publisher: Publisher | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        **changes: Any,
    ) -> str:
        """Publish ``BookingRequested`` as a client that is traced (``publisher``) or not; returns the booking id."""
        key = key or new_key()
        traced = publisher.headers if publisher else []
        body = json.dumps(a_request(hotel, **changes)).encode()
        await self.publish(key.encode(), body, [("ce_type", b"booking.BookingRequested.v1"), *traced, *headers])
        return key

    async def cancel(self, key: str, *, publisher: Publisher | None = None, reason: str = "changed plans") -> None:
        """Publish ``BookingCancellationRequested``."""
        traced = publisher.headers if publisher else []
        headers = [("ce_type", b"booking.BookingCancellationRequested.v1"), *traced]
        await self.publish(key.encode(), json.dumps({"reason": reason}).encode(), headers)

    async def publish(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]],
        topic: str = topics.REQUESTS,
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Write one record; returns its partition and offset."""
        place = await self._producer.send_and_wait(
            self.topic(topic), value, key, headers=list(headers), partition=partition
        )
        self._published.add((topic, place.partition, place.offset))
        return place.partition, place.offset

    def is_ours(self, record: Record) -> bool:
        """Whether a test has written it, and none of the roles."""
        return (record.topic, record.partition, record.offset) in self._published

    # --- interfering ----------------------------------------------------------------------------------------------

    @contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """Nothing comes of what is sent to this process until the end of the block, which must come within seconds."""
        child = self.services.child(name)
        child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            child.signal(signal.SIGCONT)

    async def hold(self, hotel: str, room: str, reservation: str) -> None:
        """Somebody else holds the room, for the days of every booking here."""
        wanted = AcquireLock(
            booking_id=f"bk-of-{reservation}",
            reservation_id=reservation,
            property_id=hotel,
            room_id=room,
            check_in=CHECK_IN,
            check_out=CHECK_OUT,
        )
        async with self.pool.acquire() as connection, connection.transaction():
            grants = await LockLedger(self.schemas).acquire(connection, [Wanted(f"{reservation}.lock", wanted)])
        assert isinstance(grants[reservation], Held)

    # --- seeing ---------------------------------------------------------------------------------------------------

    async def saga(self, key: str) -> dict[str, Any]:
        """The stored row of a saga, with its state as a dictionary."""
        row = await self.pool.fetchrow(f"SELECT * FROM {self.schemas['saga']}.sagas WHERE id = $1", key)
        if row is None:
            return {"status": "", "epoch": 0, "state": {}}
        return {**row, "state": json.loads(row["state"])}

    async def ended(self, key: str, status: str) -> dict[str, Any]:
        """Wait until the saga has ended as ``status``; the stored row."""
        row: dict[str, Any] = {}

        async def reached() -> bool:
            nonlocal row
            row = await self.saga(key)
            return bool(row["status"] == status)

        assert await eventually(reached), f"{key} is {row['status']} ({row.get('error_type')}), not {status}"
        return row

    async def status(self, key: str, status: str) -> None:
        """Wait until the saga stands so."""
        await self.ended(key, status)

    async def step(self, key: str, step: str) -> None:
        """Wait until the saga waits for ``step``."""

        async def reached() -> bool:
            return bool((await self.saga(key)).get("step") == step)

        assert await eventually(reached), f"{key} never waited for {step}"

    async def records(self, *names: str) -> list[Record]:
        """Everything that stands on these topics (all of them, if none is named)."""
        return await read_back(self.settings, [*(names or topics.ALL)])

    def logs(self) -> Mapping[str, str]:
        """What every process has logged, by its name."""
        return {
            name: self.services.log(name).read_text(errors="replace")
            for name in (*TRACED_ROLES,)
            if self.services.log(name).exists()
        }

    def spans(self, trace_id: int) -> Sequence[TraceSpan]:
        """Every span that has arrived of a trace, as often as it arrived."""
        return self.receiver.of_trace(trace_id)


def new_key() -> str:
    """A booking id nobody else has. Letters only, so that it never looks like a card number."""
    return "bk-" + "".join(secrets.choice("abcdefghjkmnpqrstvwxyz") for _ in range(12))


async def eventually(condition: Callable[[], Any], deadline_s: float = PATIENCE_S) -> bool:
    """Whether ``condition`` (which may be a coroutine function) came true in time."""
    until = time.monotonic() + deadline_s
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return True
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)


async def read_back(settings: Settings, names: Sequence[str]) -> list[Record]:
    """Every record of these topics up to their present end, in order within each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers, auto_offset_reset="earliest", fetch_max_wait_ms=50, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(settings.topic_prefix + name, number)
            for name in names
            for number in range(settings.partitions)
        ]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        records = []
        waiting = {place for place in places if ends[place] > 0}
        while waiting:
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                for raw in batch:
                    name = place.topic.removeprefix(settings.topic_prefix)
                    headers = tuple((header, bytes(value or b"")) for header, value in raw.headers)
                    records.append(Record(name, place.partition, raw.offset, raw.key, raw.value, headers))
            for place in list(waiting):
                if await consumer.position(place) >= ends[place]:
                    waiting.discard(place)
        return records
    finally:
        await consumer.stop()
