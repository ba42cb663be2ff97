"""The libraries' instrumentations are switched on, and where the saga makes its own spans they add none."""

from __future__ import annotations

import asyncio
import os
import sys

from saga.stacks.environment import variables_of
from saga.traces.model import TraceSpan
from tests.support.otlp import OtlpReceiver
from tests.support.stacks import StartedStack, isolated_settings
from tests.tracing.world import read_back

# A process of its own, because instrumentations change the libraries for everybody in it.
_PROGRAM = """
import asyncio, asyncpg, secrets, time
from aiokafka import AIOKafkaProducer
from opentelemetry import trace
from saga.engine.envelope import Envelope, Outgoing
from saga.messaging.kafka import KafkaPublisher
from saga.messaging.topics import ensure_topics
from saga.messaging.wire import encode
from saga.settings import Settings
from saga.telemetry.setup import start
from saga.telemetry.spans import SpanContext
from schemas.requests import BookingCancellationRequested

async def main():
    settings = Settings()
    telemetry = start("visitor", settings)
    await ensure_topics(settings, ["booking.requests"])
    topic = settings.topic_prefix + "booking.requests"
    producer = AIOKafkaProducer(bootstrap_servers=settings.brokers)
    await producer.start()
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    with trace.get_tracer("visitor").start_as_current_span("visit"):
        await producer.send_and_wait(topic, b"plain", headers=[("x", b"y")])
        await connection.fetchval("SELECT 1")
    publisher = KafkaPublisher(settings, "visitor", telemetry.spans, telemetry.meters)
    await publisher.start()
    context = SpanContext(secrets.randbits(128), secrets.randbits(64))
    envelope = Envelope("m-1", "bk-1", BookingCancellationRequested(), 1, context=context)
    await publisher.publish([encode(Outgoing("booking.requests", envelope, None), settings.topic_prefix)])
    await publisher.close()
    await producer.stop()
    await connection.close()
    await asyncio.to_thread(telemetry.shutdown)

asyncio.run(main())
"""


async def test_strangers_in_the_process_are_traced_by_the_libraries_and_the_saga_by_itself(stack: StartedStack) -> None:
    settings = isolated_settings(stack.endpoints).model_copy(update={"partitions": 1})
    with OtlpReceiver() as receiver:
        environment = {**os.environ, **variables_of(settings), "SAGA_OTLP_ENDPOINT": receiver.endpoint}
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, env=environment)
        assert await asyncio.wait_for(program.wait(), 60) == 0
        spans = {span.name: span for span in receiver.spans}
        assert len(spans) == len(receiver.spans)
    topic = f"{settings.topic_prefix}booking.requests"
    plain, ours = await read_back(settings, ["booking.requests"])

    sent = spans.pop(f"{topic} send")
    assert (sent.scope, sent.kind) == ("opentelemetry.instrumentation.aiokafka", "producer")
    assert plain.text("traceparent") == _traceparent(sent)
    query = spans.pop("SELECT")
    assert (query.scope, query.kind) == ("opentelemetry.instrumentation.asyncpg", "client")
    assert query.attributes["db.query.text"] == "SELECT 1"
    visit = spans.pop("visit")
    assert sent.parent_id == query.parent_id == visit.span_id

    own = spans.pop(f"send {topic}")
    assert (own.scope, own.kind) == ("booking-saga", "producer")
    assert ours.text("traceparent") == _traceparent(own)
    assert spans == {}


def _traceparent(span: TraceSpan) -> str:
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{3 if span.scope != 'booking-saga' else 1:02x}"
