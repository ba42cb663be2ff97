"""Messages that change nothing are seen all the same, each once, with the reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from schemas import topics
from tests.tracing.reading import expect
from tests.tracing.story import Story
from tests.tracing.world import Publisher, Record, World, a_request, new_key

REQUESTED = ("ce_type", b"booking.BookingRequested.v1")


def _poison(key: str) -> dict[str, tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    """A record for each cause: key, value and headers."""
    good = json.dumps(a_request("nowhere")).encode()
    name = key.encode()
    return {
        "empty": (name, None, [REQUESTED]),
        "too_large": (name, b"x" * 70_000, [REQUESTED]),
        "no_key": (None, good, [REQUESTED]),
        "bad_key": (b"two words", good, [REQUESTED]),
        "unknown_type": (name, good, [("ce_type", b"booking.Nonsense.v1")]),
        "wrong_topic": (name, good, [("ce_type", b"booking.LockAcquired.v1")]),
        "invalid_json": (name, b"{", [REQUESTED]),
        "invalid_body": (name, json.dumps(a_request("nowhere", guests=0)).encode(), [REQUESTED]),
        "card_number": (name, json.dumps(a_request("nowhere", guest_name="4242 4242 4242 4242")).encode(), [REQUESTED]),
        "key_mismatch": (name, json.dumps(a_request("nowhere", booking_id="bk-other")).encode(), [REQUESTED]),
        "unknown_saga": (name, b"{}", [("ce_type", b"booking.BookingCancellationRequested.v1")]),
    }


@pytest.mark.parametrize("cause", _poison(""))
async def test_poison_is_an_error_where_it_was_read_and_its_dead_letter_continues_the_trace(
    world: World, cause: str
) -> None:
    publisher, name = Publisher.new(), new_key()
    key, value, headers = _poison(name)[cause]
    partition, offset = await world.publish(key, value, [*headers, *publisher.headers], partition=1)
    origin = f"{world.topic(topics.REQUESTS)}/{partition}/{offset}"
    story = Story(world, (key or b"").decode(), "nowhere")
    read = story.requested(f"{origin}.dead", error=cause)
    read = replace(read, attributes={**read.attributes, "messaging.kafka.offset": offset})
    trace = await expect(world, publisher, read, story.sent(topics.DEAD_LETTERS, f"{origin}.dead"))

    def about_this(record: Record) -> bool:
        return record.texts("dlq_offset") == [str(offset)] and record.texts("dlq_partition") == [str(partition)]

    (letter,) = [record for record in await world.records(topics.DEAD_LETTERS) if about_this(record)]
    sent = trace.one(f"send {world.topic(topics.DEAD_LETTERS)}")
    assert letter.text("traceparent") == f"00-{publisher.trace_id:032x}-{sent.span_id:016x}-01"
    assert (letter.partition, letter.offset) == (
        int(str(sent.attributes["messaging.destination.partition.id"])),
        sent.attributes["messaging.kafka.offset"],
    )
    assert letter.text("dlq_cause") == cause
    assert (await world.saga(name))["status"] == ""


async def test_a_request_that_comes_again_begins_nothing(world: World) -> None:
    first, second, third, hotel = Publisher.new(), Publisher.new(), Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=first)
    await world.ended(key, "CONFIRMED")
    await world.request(hotel, key=key, publisher=second)
    await world.request(hotel, key=key, publisher=third, guest_name="Somebody else", headers=[("ce_id", b"another")])
    story = Story(world, key, hotel)
    await expect(world, second, story.requested(dropped="duplicate_request"))
    await expect(world, third, story.requested("another", dropped="duplicate_request"))
    await expect(world, first, story.requested(), story.whole())


async def test_a_cancellation_that_comes_too_late_changes_nothing(world: World) -> None:
    publisher, canceller = Publisher.new(), Publisher.new()
    key = await world.request("nowhere", publisher=publisher)
    row = await world.ended(key, "FAILED")
    await world.cancel(key, publisher=canceller)
    story = Story(world, key, "nowhere")
    await expect(world, canceller, story.requested(dropped="late_cancellation"))
    assert (await world.saga(key))["epoch"] == row["epoch"]


async def test_a_command_and_a_reply_that_come_again_are_dropped_where_they_are_read(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=publisher)
    await world.ended(key, "CONFIRMED")
    story = Story(world, key, hotel)
    await expect(world, publisher, story.requested(), story.whole())

    # As somebody would who replays a topic: the same records, in traces of their own.
    for step in ("check_availability", "acquire_lock", "process_payment", "confirm"):
        topic, worker = story.step(step)
        again = await _replay(world, key, topic, story.command_id(step))
        dropped = story.processed(topic, story.command_id(step), worker, dropped="redelivery")
        await expect(world, again, dropped)
        if step != "confirm":
            reply = f"{story.command_id(step)}.reply"
            again = await _replay(world, key, topics.REPLIES, reply)
            await expect(world, again, story.processed(topics.REPLIES, reply, "orchestrator", dropped="stale_reply"))
    assert (await world.saga(key))["status"] == "CONFIRMED"


async def test_the_last_reply_again_has_the_last_words_said_again_under_the_same_ids(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=publisher)
    story = Story(world, key, hotel)
    await expect(world, publisher, story.requested(), story.whole())
    reply = f"{story.command_id('confirm')}.reply"
    again = await _replay(world, key, topics.REPLIES, reply)
    await expect(world, again, story.processed(topics.REPLIES, reply, "orchestrator"))
    await expect(world, publisher, story.requested(), story.whole(announced=2), again=True)


async def _replay(world: World, key: str, topic: str, message_id: str) -> Publisher:
    again = Publisher.new()
    record = next(
        record
        for record in await world.records(topic)
        if record.key == key.encode() and record.texts("ce_id") == [message_id]
    )
    headers = [(name, value) for name, value in record.headers if name != "traceparent"]
    await world.publish(record.key, record.value, [*headers, *again.headers], topic)
    return again
