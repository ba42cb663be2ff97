"""A bare pump: what this broker, this database and this collector let anybody do, without doing anything for it.

It moves as many records of the same sizes through topics of the same shape, commits as often and writes as many rows of
the same size, and exports as many spans to the same collector; it decides nothing, validates nothing, calls nobody.

Orders: ``start`` (shape, which of how many processes), ``feed`` (count, label): begin so many chains.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from saga.bench.errand import Answer, carry_out_orders, run_errand
from saga.bench.shape import Hop, Shape
from saga.database import Schemas, Statements, connect_pool
from saga.errors import UsageError
from saga.messaging.kafka import client_options
from saga.messaging.wire import TRACEPARENT
from saga.settings import Settings
from saga.telemetry.exporter import FastOTLPExporter
from saga.telemetry.messaging import Origin, process_span, send_span
from saga.telemetry.pipeline import SpanPipeline
from saga.telemetry.spans import SpanContext

GROUP = "bench.pump"
_UNDER_WAY = 4  # batches between poll and acknowledgement
_AT_ONCE = 200
_COMMIT_EVERY_S = 0.2
_LOCAL = 2**64


class _Share:
    """So many of something per record, though a record cannot have a part of one."""

    def __init__(self, each: float) -> None:
        self._each = each
        self._owed = 0.0

    def of(self, records: int) -> int:
        """How many are due for ``records`` more."""
        self._owed += records * self._each
        due = int(self._owed)
        self._owed -= due
        return due


@dataclass(slots=True)
class _Batch:
    """Records polled together, and the offsets to commit when they, and all before them, are done."""

    offsets: dict[TopicPartition, int]
    done: bool = False


@dataclass(slots=True)
class _Filler:
    """Bytes and text to fill records and rows with: random, so that nothing can be made smaller."""

    text: str = field(default_factory=lambda: os.urandom(64 * 1024).hex())

    def rows(self, size: int) -> str:
        start = random.randrange(len(self.text) - size)
        return self.text[start : start + size]


class Pump:
    """One process of the pump: all hops of the chains whose partitions are its own."""

    def __init__(
        self, settings: Settings, shape: Shape, number: int, processes: int, pool: asyncpg.Pool[asyncpg.Record]
    ) -> None:
        self._settings = settings
        self._hops = shape.hops
        self._own = [place for place in range(settings.partitions) if place % processes == number]
        self._pool = pool
        self._put = Statements.load("saga.bench", "sql/pump.sql", Schemas(settings.schema_prefix))["put"]
        each = shape.messages
        self._passed = [_Share(hop.share) for hop in shape.hops]
        self._rows = _Share(shape.rows / each)
        self._commits = _Share(shape.commits / each)
        self._spans = _Share(shape.spans / each)
        self._row_bytes = shape.row_bytes
        self._filler = _Filler()
        self._values = [b"%02d" % n + b"x" * max(0, hop.value - 2) for n, hop in enumerate(shape.hops)]
        self._headers = [_filled(hop) for hop in shape.hops]
        self._pipeline = _pipeline(settings)
        self._producer = AIOKafkaProducer(
            **client_options(settings, "bench-pump"),
            acks="all",
            enable_idempotence=settings.broker_kind == "kafka",
            linger_ms=0,
            max_batch_size=131_072,
        )
        self._consumer = AIOKafkaConsumer(
            **client_options(settings, "bench-pump"),
            group_id=settings.topic_prefix + GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
        )
        self._room = asyncio.Semaphore(_UNDER_WAY)
        self._open: deque[_Batch] = deque()
        self._ready_to_commit: dict[TopicPartition, int] = {}
        self._written = 0
        self._unique = f"{number}:{os.getpid()}"

    async def run(self, started: asyncio.Event) -> None:
        """Pump until cancelled."""
        topics = sorted({self._settings.topic_prefix + hop.topic for hop in self._hops})
        await self._producer.start()
        await self._consumer.start()
        try:
            places = [TopicPartition(topic, place) for topic in topics for place in self._own]
            self._consumer.assign(places)
            started.set()
            async with asyncio.TaskGroup() as working:
                working.create_task(self._commit_regularly())
                while True:
                    batches = await self._consumer.getmany(timeout_ms=1_000, max_records=self._settings.batch_records)
                    if not batches:
                        continue
                    batch = _Batch({place: records[-1].offset + 1 for place, records in batches.items()})
                    self._open.append(batch)
                    await self._room.acquire()
                    records = [record for some in batches.values() for record in some]
                    working.create_task(self._move(batch, records, time.time_ns()))
        finally:
            await self._commit()
            await self._consumer.stop()
            await self._producer.stop()
            await asyncio.to_thread(self._pipeline.shutdown)

    async def feed(self, count: int, label: str) -> list[str]:
        """Begin ``count`` chains; returns their keys when their first records are acknowledged."""
        room = asyncio.Semaphore(_UNDER_WAY)
        width = max(1, self._hops[0].key - len(label) - 1)
        keys = [f"{label}-{number:0{width}d}" for number in range(count)]

        async def send(start: int) -> None:
            try:
                acks = []
                for number, key in enumerate(keys[start : start + _AT_ONCE], start):
                    context = b"00-%032x-%016x-01" % (random.randrange(1, _LOCAL**2), random.randrange(1, _LOCAL))
                    acks.append(await self._send(0, key.encode(), self._own[number % len(self._own)], context))
                await asyncio.wait(acks)
            finally:
                room.release()

        async with asyncio.TaskGroup() as sending:
            for start in range(0, count, _AT_ONCE):
                await room.acquire()
                sending.create_task(send(start))
        return keys

    async def _send(self, hop: int, key: bytes, place: int, context: bytes) -> asyncio.Future[Any]:
        headers = [(TRACEPARENT, context) if name == TRACEPARENT else (name, raw) for name, raw in self._headers[hop]]
        topic = self._settings.topic_prefix + self._hops[hop].topic
        ack: asyncio.Future[Any] = await self._producer.send(
            topic, self._values[hop], key, partition=place, headers=headers
        )
        return ack

    async def _move(self, batch: _Batch, records: Sequence[Any], received_ns: int) -> None:
        try:
            await self._store(len(records))
            acks = []
            for record in records:
                hop = self._following(int(record.value[:2]))
                if hop < len(self._hops):
                    acks.append(await self._send(hop, record.key, record.partition, _context(record)))
            if acks:
                await asyncio.wait(acks)
                for ack in acks:
                    ack.result()
            self._record(records, received_ns)
        finally:
            self._room.release()
        batch.done = True
        while self._open and self._open[0].done:
            self._ready_to_commit.update(self._open.popleft().offsets)

    def _following(self, hop: int) -> int:
        """The hop after ``hop``; a command that not every chain has is passed over, with its reply, by the others."""
        hop += 1
        while hop < len(self._hops) and hop % 2 and self._hops[hop].share < 1 and not self._passed[hop].of(1):
            hop += 2
        return hop

    async def _store(self, records: int) -> None:
        """The rows of ``records``, in as many transactions as the saga makes for so many, and in one at least."""
        rows = self._rows.of(records)
        commits = max(1, self._commits.of(records))
        for commit in range(commits):
            share = rows * (commit + 1) // commits - rows * commit // commits
            if share:
                ids = [f"{self._unique}:{self._written + number}" for number in range(share)]
                self._written += share
                payloads = [self._filler.rows(max(1, self._row_bytes - 60)) for _ in ids]
                await self._pool.execute(self._put, ids, payloads)

    def _record(self, records: Sequence[Any], received_ns: int) -> None:
        end_ns = time.time_ns()
        for number in range(self._spans.of(len(records))):
            record = records[number % len(records)]
            parent = SpanContext(int(_context(record)[3:35], 16), int(_context(record)[36:52], 16))
            own = parent.child(random.randrange(1, _LOCAL))
            key = record.key.decode()
            if number % 2:
                span = send_span(
                    topic=record.topic,
                    key=key,
                    message_id=f"{key}.message.id",
                    attempt=1,
                    context=own,
                    parent=parent,
                    start_ns=received_ns,
                    end_ns=end_ns,
                    partition=record.partition,
                    offset=record.offset,
                )
            else:
                span = process_span(
                    origin=Origin(record.topic, record.partition, record.offset),
                    group=GROUP,
                    key=key,
                    message_id=f"{key}.message.id",
                    context=own,
                    parent=parent,
                    start_ns=received_ns,
                    end_ns=end_ns,
                )
            self._pipeline.record(span)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            await self._commit()

    async def _commit(self) -> None:
        due, self._ready_to_commit = self._ready_to_commit, {}
        if due:
            await self._consumer.commit(due)


def _context(record: Any) -> bytes:
    for name, raw in record.headers:
        if name == TRACEPARENT:
            context: bytes = raw
            return context
    raise AssertionError("every record of the pump carries its chain's traceparent")


def _filled(hop: Hop) -> list[tuple[str, bytes]]:
    headers = [(name, b"x" * size) for name, size in hop.headers]
    if TRACEPARENT not in dict(headers):
        headers.append((TRACEPARENT, b""))
    return headers


def _pipeline(settings: Settings) -> SpanPipeline:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    if not settings.otlp_endpoint:
        return SpanPipeline(None)
    resource = Resource.create({"service.name": "pump", "service.namespace": "bench"})
    scope = InstrumentationScope("bench-pump", version("booking-saga"))
    exporter = FastOTLPExporter(
        resource, scope, endpoint=settings.otlp_endpoint, insecure=settings.otlp_insecure or None
    )
    return SpanPipeline(exporter, capacity=settings.trace_capacity)


async def _serve(settings: Settings) -> None:
    async with await connect_pool(settings, role="pump", min_size=_UNDER_WAY, max_size=_UNDER_WAY) as pool:
        pumps: list[Pump] = []
        pumping: list[asyncio.Task[None]] = []

        async def handle(order: str, words: Answer) -> Answer:
            answer: dict[str, Any] = {}
            if order == "start":
                started = asyncio.Event()
                shape = Shape.from_json(words["shape"])
                pumps.append(Pump(settings, shape, words["number"], words["processes"], pool))
                pumping.append(asyncio.create_task(pumps[0].run(started)))
                waiting = asyncio.create_task(started.wait())
                await asyncio.wait({waiting, *pumping}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            elif order == "feed":
                answer["keys"] = await pumps[0].feed(words["count"], words["label"])
            else:
                raise UsageError(f"the pump has no order {order!r}")
            if pumping[0].done():
                await pumping[0]  # raises what ended it
            return answer

        try:
            await carry_out_orders(handle)
        finally:
            for task in pumping:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


if __name__ == "__main__":
    run_errand("pump", _serve)
