"""Whose trace a booking is in, and how the context travels: verbatim, once per record, to the last HTTP call."""

from __future__ import annotations

import pytest

from saga.telemetry.spans import parse_traceparent
from saga.traces.model import Trace
from tests.tracing.reading import expect
from tests.tracing.story import Story
from tests.tracing.world import Publisher, Record, World, eventually


async def _records_of(world: World, key: str) -> list[Record]:
    return [record for record in await world.records() if record.key == key.encode()]


async def test_flags_tracestate_and_baggage_of_a_publisher_are_carried_verbatim(world: World) -> None:
    publisher, hotel = Publisher.new(flags=3, tracestate="vendor=a1b2,other=t61rcWkgMzE"), world.hotel()
    key = await world.request(hotel, publisher=publisher, headers=[("baggage", b"team=night%20desk,tier=gold;ttl=5")])
    story = Story(world, key, hotel)
    trace = await expect(world, publisher, story.requested(), story.whole())
    assert {span.tracestate for span in trace.spans} == {publisher.tracestate}

    records = await _records_of(world, key)
    assert len(records) == 10
    for record in records:
        sent = parse_traceparent(record.text("traceparent"))
        assert sent is not None
        assert (sent.trace_id, sent.flags) == (publisher.trace_id, 3)
        assert record.texts("tracestate") == [publisher.tracestate]
        assert record.texts("baggage") == ["team=night%20desk,tier=gold;ttl=5"]


async def test_a_publisher_that_is_not_sampled_is_continued_and_nothing_is_recorded(world: World) -> None:
    publisher, seen, hotel = Publisher.new(flags=0), Publisher.new(), world.hotel(2)
    key = await world.request(hotel, publisher=publisher)
    await world.ended(key, "CONFIRMED")
    # Whatever was recorded before this one is had by the time that this one is.
    later = await world.request(hotel, publisher=seen)
    story = Story(world, later, hotel, offers=1)
    await expect(world, seen, story.requested(), story.whole())
    assert world.spans(publisher.trace_id) == []
    for record in await _records_of(world, key):
        sent = parse_traceparent(record.text("traceparent"))
        assert sent is not None
        assert (sent.trace_id, sent.flags) == (publisher.trace_id, 0)


@pytest.mark.parametrize(
    "traceparent",
    [
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"\xff\xfe",
    ],
)
async def test_a_malformed_traceparent_is_as_good_as_none(world: World, traceparent: bytes) -> None:
    key = await world.request("nowhere", headers=[("traceparent", traceparent)])
    row = await world.ended(key, "FAILED")
    trace_id = int(row["trace_id"], 16)
    assert f"{trace_id:032x}".encode() not in traceparent

    def root_has_come() -> bool:
        trace = Trace.of(trace_id, world.spans(trace_id))
        return not trace.orphans and [span.name for span in trace.roots] == ["booking.create"] and len(trace) == 12

    assert await eventually(root_has_come), [span.name for span in world.spans(trace_id)]


async def test_the_first_of_two_traceparents_is_continued(world: World) -> None:
    first, second, hotel = Publisher.new(), Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=first, headers=second.headers)
    story = Story(world, key, hotel)
    await expect(world, first, story.requested(), story.whole())
    assert world.spans(second.trace_id) == []
