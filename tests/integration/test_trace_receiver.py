"""Spans and metrics over real gRPC into a real PostgreSQL, and back as traces."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from saga.database import Schemas, connect_pool, migrate
from saga.errors import InvalidSettings
from saga.runtime import Runtime
from saga.settings import Settings
from saga.telemetry.exporter import FastOTLPExporter
from saga.telemetry.pipeline import SpanPipeline
from saga.telemetry.spans import SpanContext, SpanEvent, SpanRecord
from saga.traces import role
from saga.traces.reader import PostgresTraceReader
from saga.traces.store import TraceStore
from tests.support.stacks import drop_schemas

TRACE = 0xABCDEF0123456789ABCDEF0123456789
RESOURCE = Resource({"service.name": "locking", "service.instance.id": "locking-1"})
SCOPE = InstrumentationScope("saga", "1")


class Collector:
    """The role itself, in this process, that can be stopped and started again at its address."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._runtime: Runtime | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ready = asyncio.Event()
        self._runtime = Runtime("collector", self.settings, cast(Any, None), on_ready=ready.set)
        self._running = asyncio.create_task(role.run(self._runtime))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, self._running}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._running.done():
            await self._running

    async def stop(self) -> None:
        if self._runtime is not None and self._running is not None:
            self._runtime.stopping.set()
            await self._running


@pytest.fixture
def here(settings: Settings) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return settings.model_copy(update={"otlp_endpoint": f"127.0.0.1:{probe.getsockname()[1]}"})


@pytest.fixture
async def collector(here: Settings) -> AsyncIterator[Collector]:
    await migrate(here, "traces")
    made = Collector(here)
    await made.start()
    yield made
    await made.stop()
    await asyncio.to_thread(drop_schemas, here)


@pytest.fixture
async def pool(here: Settings) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    async with await connect_pool(here, role="test") as made:
        yield made


@pytest.fixture
def reader(pool: asyncpg.Pool[asyncpg.Record], here: Settings) -> PostgresTraceReader:
    return PostgresTraceReader(pool, here)


@pytest.fixture
async def pipeline(here: Settings) -> AsyncIterator[SpanPipeline]:
    exporter = FastOTLPExporter(RESOURCE, SCOPE, endpoint=here.otlp_endpoint, insecure=True)
    made = SpanPipeline(exporter, delay_s=0.02)
    yield made
    await asyncio.to_thread(made.shutdown, 1.0)


async def flushed(pipeline: SpanPipeline) -> bool:
    return await asyncio.to_thread(pipeline.force_flush, 10_000)


def record(span_id: int, name: str = "step", trace_id: int = TRACE, **attributes: str | int) -> SpanRecord:
    return SpanRecord(name, "internal", SpanContext(trace_id, span_id), None, 1_000, 2_000, attributes)


@pytest.mark.usefixtures("collector")
async def test_a_span_comes_back_whole(pipeline: SpanPipeline, reader: PostgresTraceReader) -> None:
    parent = SpanContext(TRACE, 1)
    undone = SpanContext(TRACE, 9, 3, "vendor=x")
    pipeline.record(
        SpanRecord(
            "booking.release_lock",
            "consumer",
            SpanContext(TRACE, 2, 3, "vendor=x"),
            parent,
            10,
            30,
            {"booking.id": "bk-1", "saga.compensation": True, "attempt": 2, "ratio": 0.5, "steps": ("a", "b")},
            "Lock contention",
            (SpanEvent("lock_contention", 20, {"booking.contention_reason": "held"}),),
            (undone,),
        )
    )
    assert await flushed(pipeline)
    (span,) = (await reader.trace(TRACE)).spans
    assert (span.trace_id, span.span_id, span.parent_id, span.tracestate) == (TRACE, 2, 1, "vendor=x")
    assert (span.name, span.kind, span.start_ns, span.end_ns) == ("booking.release_lock", "consumer", 10, 30)
    assert span.attributes == {
        "booking.id": "bk-1",
        "saga.compensation": True,
        "attempt": 2,
        "ratio": 0.5,
        "steps": ("a", "b"),
    }
    assert (span.status, span.message, span.failed) == ("error", "Lock contention", True)
    assert [(event.name, event.at_ns, event.attributes) for event in span.events] == [
        ("lock_contention", 20, {"booking.contention_reason": "held"})
    ]
    assert [(link.trace_id, link.span_id, link.tracestate) for link in span.links] == [(TRACE, 9, "vendor=x")]
    assert (span.service, span.scope) == ("locking", "saga")
    assert span.resource == {"service.name": "locking", "service.instance.id": "locking-1"}


async def test_the_official_exporter_is_served_too(collector: Collector, reader: PostgresTraceReader) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "provider"}))
    span = provider.get_tracer("aiohttp").start_span("POST /charges")
    span.end()
    assert isinstance(span, ReadableSpan)
    exporter = OTLPSpanExporter(
        collector.settings.otlp_endpoint, insecure=True, compression=grpc.Compression.Gzip, timeout=5
    )
    assert await asyncio.to_thread(exporter.export, [span]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    trace = await reader.trace(span.get_span_context().trace_id)
    assert [(made.name, made.service, made.scope) for made in trace.spans] == [("POST /charges", "provider", "aiohttp")]


@pytest.mark.usefixtures("collector")
async def test_a_span_emitted_twice_is_one_span(pipeline: SpanPipeline, reader: PostgresTraceReader) -> None:
    pipeline.record(record(1))
    assert await flushed(pipeline)
    pipeline.record(record(1))
    pipeline.record(record(2))
    assert await flushed(pipeline)
    assert [span.span_id for span in (await reader.trace(TRACE)).spans] == [1, 2]


@pytest.mark.usefixtures("collector")
async def test_many_traces_are_kept_apart_and_found(pipeline: SpanPipeline, reader: PostgresTraceReader) -> None:
    for number in range(3_000):
        pipeline.record(record(number + 1, f"step-{number}", 1 + number % 1_000, **{"booking.id": f"bk-{number:05d}"}))
    assert await flushed(pipeline)
    assert pipeline.exported == 3_000
    traces = await reader.traces(range(2_000))
    assert sorted(traces) == list(range(1, 1_001))
    assert all(len(trace) == 3 for trace in traces.values())
    assert await reader.find(holding="bk-01234") == [235]
    assert len(await reader.find(service="locking", limit=50)) == 50
    assert await reader.find(service="nobody") == []


async def test_spans_outlive_a_collector_that_is_restarted(
    collector: Collector, pipeline: SpanPipeline, reader: PostgresTraceReader
) -> None:
    pipeline.record(record(1))
    assert await flushed(pipeline)
    await collector.stop()
    pipeline.record(record(2))
    assert await asyncio.to_thread(pipeline.force_flush, 300) is False
    assert pipeline.exported_mark == 1
    await collector.start()
    assert await flushed(pipeline)
    assert len(await reader.trace(TRACE)) == 2
    assert pipeline.dropped == 0


@pytest.mark.usefixtures("collector")
async def test_spans_are_acknowledged_only_when_they_are_stored(
    pipeline: SpanPipeline, reader: PostgresTraceReader, pool: asyncpg.Pool[asyncpg.Record], here: Settings
) -> None:
    schema = Schemas(here.schema_prefix)["traces"]
    await pool.execute(f"ALTER TABLE {schema}.chunks RENAME TO away")
    pipeline.record(record(1))
    assert await asyncio.to_thread(pipeline.force_flush, 500) is False
    assert pipeline.exported_mark == 0
    await pool.execute(f"ALTER TABLE {schema}.away RENAME TO chunks")
    assert await flushed(pipeline)
    assert len(await reader.trace(TRACE)) == 1


async def test_malformed_requests_are_refused_and_others_still_served(
    collector: Collector, pipeline: SpanPipeline
) -> None:
    exporter = FastOTLPExporter(RESOURCE, SCOPE, endpoint=collector.settings.otlp_endpoint, insecure=True)
    good = exporter.encode([record(1)])
    for body in (b"\xff", b"\x0a\x05abc", good[:-3], b"\x0a\x06\x12\x04\x12\x02\x0a\x00"):
        sent = await asyncio.to_thread(exporter.send, body, timeout_s=5)
        assert sent.outcome == "refused"
        assert "INVALID_ARGUMENT" in sent.detail
    assert (await asyncio.to_thread(exporter.send, b"", timeout_s=5)).outcome == "stored"
    pipeline.record(record(2))
    assert await flushed(pipeline)
    exporter.shutdown()


async def test_the_latest_point_of_each_series_is_kept(collector: Collector, reader: PostgresTraceReader) -> None:
    exporter = OTLPMetricExporter(collector.settings.otlp_endpoint, insecure=True, timeout=5)
    metrics = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
    provider = MeterProvider([metrics], RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("saga")
    counter = meter.create_counter("booking.attempts", "{booking}")
    histogram = meter.create_histogram("booking.duration_ms", "ms")
    for _ in range(2):
        counter.add(1, {"booking.status": "success"})
        counter.add(2, {"booking.status": "failed"})
        histogram.record(12.5)
        assert await asyncio.to_thread(provider.force_flush)
    points = await reader.metrics(service="locking", name="booking.attempts")
    assert {point.attributes["booking.status"]: point.point["value"] for point in points} == {"success": 2, "failed": 4}
    assert {(point.instance, point.kind, point.unit) for point in points} == {("locking-1", "sum", "{booking}")}
    (duration,) = await reader.metrics(name="booking.duration_ms")
    assert (duration.point["count"], duration.point["sum"], duration.point["max"]) == (2, 25.0, 12.5)
    assert sum(duration.point["counts"]) == 2
    await asyncio.to_thread(provider.shutdown)


async def test_logs_are_accepted(collector: Collector) -> None:
    exporter = OTLPLogExporter(collector.settings.otlp_endpoint, insecure=True, timeout=5)
    assert await asyncio.to_thread(exporter.export, []) is LogRecordExportResult.SUCCESS
    await asyncio.to_thread(exporter.shutdown)


@pytest.mark.usefixtures("collector")
async def test_old_traces_are_forgotten_partition_by_partition(
    pipeline: SpanPipeline, reader: PostgresTraceReader, pool: asyncpg.Pool[asyncpg.Record], here: Settings
) -> None:
    store = TraceStore(pool, Schemas(here.schema_prefix))
    assert await store.turn() is False, "a young, small partition stays in use"
    for number in range(1, 6):
        pipeline.record(record(1, trace_id=number))
        assert await flushed(pipeline)
        assert sorted(await reader.traces(range(1, 7))) == list(range(max(1, number - 3), number + 1))
        assert await store.turn(age_s=0)


async def test_an_address_in_use_is_named(collector: Collector) -> None:
    second = Collector(collector.settings)
    with pytest.raises(InvalidSettings, match=collector.settings.otlp_endpoint):
        await second.start()
