"""The topics and the spans tell the same story: every record has one traceparent and one span on either side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version

from saga.telemetry.spans import parse_traceparent
from saga.traces.model import TraceSpan
from schemas import topics
from tests.tracing.world import TRACED_ROLES, Publisher, Record, World, eventually

READERS: Mapping[str, tuple[str, ...]] = {
    topics.REQUESTS: ("orchestrator",),
    topics.AVAILABILITY: ("availability",),
    topics.LOCKING: ("locking",),
    topics.PAYMENT: ("payment",),
    topics.CONFIRMATION: ("confirmation",),
    topics.REPLIES: ("orchestrator",),
    topics.EVENTS: ("locking", "notification"),
    topics.DEAD_LETTERS: (),
}
_Place = tuple[object, ...]


def _place(span: TraceSpan) -> _Place:
    about = span.attributes
    return (
        about["messaging.destination.name"],
        about["messaging.destination.partition.id"],
        about["messaging.kafka.offset"],
    )


async def _bookings(world: World) -> None:
    """A booking that is confirmed, one that is declined, and one that nobody can have."""
    hotel, publishers = world.hotel(), [Publisher.new(), Publisher.new()]
    keys = [
        await world.request(hotel, publisher=publishers[0]),
        await world.request("nowhere", publisher=publishers[1]),
        await world.request(world.hotel(), payment_token="tok_declined_fraud"),
    ]
    for key, status in zip(keys, ("CONFIRMED", "FAILED", "FAILED"), strict=True):
        await world.ended(key, status)


async def test_every_record_has_one_traceparent_and_it_is_that_of_its_send_span(world: World) -> None:
    await _bookings(world)
    records: list[Record] = []
    left: dict[str, object] = {}

    async def told_alike() -> bool:
        nonlocal records
        records = [record for record in await world.records() if not world.is_ours(record)]
        written: Counter[_Place] = Counter()
        for record in records:
            context = parse_traceparent(record.text("traceparent"))
            assert context is not None
            place = (world.topic(record.topic), str(record.partition), record.offset)
            if context.sampled:
                written[(context.trace_id, context.span_id, *place)] += 1
        # A record that was written again (the same message, the same ids) has its send span again, with its own offset.
        sent = Counter(
            (span.trace_id, span.span_id, *_place(span)) for span in world.receiver.spans if span.kind == "producer"
        )
        left.update(unsent=written - sent, unwritten=sent - written)
        return written == sent

    assert await eventually(told_alike), left
    assert {record.topic for record in records} >= set(READERS) - {topics.REQUESTS, topics.DEAD_LETTERS}
    for record in records:
        assert len(record.texts("tracestate")) <= 1
        assert len(record.texts("baggage")) <= 1


async def test_every_record_is_processed_once_by_each_of_its_readers_under_the_span_that_sent_it(world: World) -> None:
    await _bookings(world)
    left: dict[str, object] = {}

    async def told_alike() -> bool:
        read: Counter[_Place] = Counter()
        for record in await world.records():
            first = (record.texts("traceparent") or [""])[0]
            context = parse_traceparent(first)
            if context is not None and not context.sampled:
                continue
            for reader in READERS[record.topic]:
                place = (world.topic(record.topic), str(record.partition), record.offset)
                read[(*place, world.topic(f"booking.{reader}"), reader, context.span_id if context else None)] += 1
        # Whoever sends no context is given a parent: the root of the saga, or none.
        without = {place[:5] for place in read if place[5] is None}
        processed: Counter[_Place] = Counter()
        for span in world.receiver.spans:
            if span.kind == "consumer":
                where = (*_place(span), span.attributes["messaging.consumer.group.name"], span.service)
                processed[(*where, None if where in without else span.parent_id)] += 1
        left.update(unprocessed=read - processed, unwritten=processed - read)
        return read == processed

    assert await eventually(told_alike), left


async def test_nothing_else_is_recorded_and_everything_says_who_it_is_from(world: World) -> None:
    await _bookings(world)
    expected = {
        "service.namespace": "booking",
        "service.version": version("booking-saga"),
        "service.domain": "reservations",
        "deployment.environment.name": "development",
    }
    traced = set(TRACED_ROLES) - {"mailbox"}  # which takes letters, and has nothing to say of bookings
    assert await eventually(lambda: {span.service for span in world.receiver.spans} == traced)
    for span in world.receiver.spans:
        about = span.resource
        assert {name: about.get(name) for name in expected} == expected
        assert str(about["service.instance.id"]).startswith(f"{span.service}-")
    # Neither pollers nor statements nor the clients' own ideas of sending and receiving.
    assert {span.scope for span in world.receiver.spans} == {
        "booking-saga",
        "opentelemetry.instrumentation.aiohttp_client",
        "opentelemetry.instrumentation.aiohttp_server",
    }
    names = {span.name.split()[0] for span in world.receiver.spans if not span.name.startswith("booking.")}
    assert names <= {"send", "process", "GET", "POST"}
