"""The whole trace of a booking, for every way in which a booking can end while nothing crashes."""

from __future__ import annotations

from dataclasses import replace

from schemas import topics
from tests.tracing.reading import expect, expect_trace, in_order
from tests.tracing.story import CODE, Story
from tests.tracing.tree import one_of
from tests.tracing.world import Publisher, World, new_key


async def test_a_confirmed_booking(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel(3)
    key = await world.request(hotel, publisher=publisher)
    story = Story(world, key, hotel, offers=3)
    trace = await expect(world, publisher, story.requested(), story.whole())

    root = trace.one("booking.create")
    assert root.parent_id == publisher.span_id
    row = await world.ended(key, "CONFIRMED")
    assert (root.start_ns, root.end_ns) == (row["started_us"] * 1000, row["ended_us"] * 1000)
    issued = trace.one("booking.confirm").attributes["booking.confirmation_code"]
    assert root.attributes["booking.confirmation_code"] == issued == row["state"]["data"]["confirmation_code"]
    in_order(trace, "check_availability", "acquire_lock", "process_payment", "confirm")


async def test_a_declined_booking_is_undone_and_its_card_is_no_error_of_the_worker(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel()
    token = "tok_declined_insufficient_funds"
    key = await world.request(hotel, publisher=publisher, payment_token=token, source="mobile")
    story = Story(world, key, hotel, source="mobile")
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "FAILED",
            *story.until_locked(),
            story.asked("process_payment"),
            story.declined("insufficient_funds"),
            story.rollback(
                "payment_declined",
                story.asked("acquire_lock", undo=True),
                story.released(),
                undone=("release_lock",),
            ),
            *story.announced("FAILED"),
            error="payment_declined",
            reason="payment declined: insufficient_funds",
            compensated=True,
        ),
    )
    in_order(trace, "check_availability", "acquire_lock", "process_payment", "rollback")
    in_order(trace, "release_lock")


async def test_a_property_that_nobody_knows(world: World) -> None:
    publisher = Publisher.new()
    key = await world.request("nowhere", publisher=publisher, source="api")
    story = Story(world, key, "nowhere", offers=0, source="api")
    found_none = story.checked()
    told = {**found_none.attributes, "booking.availability_refused": "unknown_property"}
    await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "FAILED",
            story.asked("check_availability"),
            replace(found_none, attributes=told, children=()),
            *story.announced("FAILED"),
            error="unknown_property",
            reason="unknown property",
        ),
    )


async def test_contention_for_every_offer_fails_the_booking(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel(4)
    rivals = [f"rsv-rival-{room}" for room in ("101", "102", "103", "104")]
    for room, rival in zip(("101", "102", "103", "104"), rivals, strict=True):
        await world.hold(hotel, room, rival)
    key = await world.request(hotel, publisher=publisher)
    story = Story(world, key, hotel, offers=4)
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "FAILED",
            story.asked("check_availability"),
            story.checked(),
            *(story.asked("acquire_lock", number) for number in (1, 2, 3)),
            *(story.contended(number, one_of(rivals)) for number in (1, 2, 3)),
            *story.announced("FAILED"),
            error="lock_contention",
            reason="Lock contention",
        ),
    )
    competing = [
        event.attributes["booking.competing_reservation"]
        for span in trace.named("booking.acquire_lock")
        for event in span.events
    ]
    assert len(set(competing)) == 3, "the same room was tried twice"


async def test_contention_for_the_first_offer_is_seen_and_the_next_is_taken(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel(2)
    with world.suspended("locking"):
        key = await world.request(hotel, publisher=publisher)
        await world.step(key, "acquire_lock")
        first = (await world.saga(key))["state"]["data"]["offers"][0]["room_id"]
        await world.hold(hotel, first, "rsv-quicker")
    story = Story(world, key, hotel, offers=2)
    contended, held = story.contended(1, "rsv-quicker"), story.locked(2)
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "CONFIRMED",
            story.asked("check_availability"),
            story.checked(),
            story.asked("acquire_lock", 1),
            contended,
            story.asked("acquire_lock", 2),
            held,
            story.asked("process_payment"),
            story.paid(),
            story.asked("confirm"),
            story.confirmed(),
            *story.announced("CONFIRMED"),
            code=CODE,
        ),
    )
    assert not trace.one("booking.create").failed


async def test_a_booking_cancelled_before_it_was_confirmed_undoes_what_may_have_been_done(world: World) -> None:
    publisher, canceller, hotel = Publisher.new(), Publisher.new(), world.hotel()
    with world.suspended("payment"):
        key = await world.request(hotel, publisher=publisher)
        await world.step(key, "process_payment")
        await world.cancel(key, publisher=canceller)
        await world.status(key, "COMPENSATING")
    story = Story(world, key, hotel)
    undone = ("refund_payment", "release_lock")
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "CANCELLED",
            *story.until_locked(),
            # The payment was under way: it came to its end, nobody waited for it any more, and it was refunded.
            story.asked("process_payment", dropped="stale_reply"),
            story.paid(),
            story.rollback(
                "cancelled",
                story.asked("process_payment", undo=True),
                story.refunded(),
                story.asked("acquire_lock", undo=True),
                story.released(),
                undone=undone,
            ),
            *story.announced("CANCELLED"),
            error="cancelled",
            reason="changed plans",
            compensated=True,
        ),
    )
    in_order(trace, *undone)
    await expect(world, canceller, story.requested())


async def test_a_booking_cancelled_after_it_was_confirmed_is_rolled_back_whole(world: World) -> None:
    publisher, canceller, hotel = Publisher.new(), Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=publisher)
    before = await world.ended(key, "CONFIRMED")
    await world.cancel(key, publisher=canceller)
    story = Story(world, key, hotel)
    undone = ("restore_inventory", "refund_payment", "release_lock")
    rollback = story.rollback(
        "cancelled",
        story.asked("confirm", undo=True),
        story.restored(),
        story.asked("process_payment", undo=True),
        story.refunded(),
        story.asked("acquire_lock", undo=True),
        story.released(),
        *story.announced("CANCELLED"),
        undone=undone,
    )
    trace = await expect(world, publisher, story.requested(), story.whole().under(rollback))
    in_order(trace, *undone)

    # What the booking was given stays as it was: its root says so, and when.
    root = trace.one("booking.create")
    assert (root.start_ns, root.end_ns) == (before["started_us"] * 1000, before["ended_us"] * 1000)
    assert trace.one("booking.rollback").start_ns >= root.end_ns
    await expect(world, canceller, story.requested())


async def test_a_cancellation_without_a_trace_is_taken_up_in_the_trace_of_its_booking(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel()
    with world.suspended("availability"):
        key = await world.request(hotel, publisher=publisher)
        await world.step(key, "check_availability")
        await world.cancel(key)
        await world.ended(key, "CANCELLED")
    story = Story(world, key, hotel)
    await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "CANCELLED",
            story.asked("check_availability", dropped="stale_reply"),
            story.checked(),
            story.requested(),
            *story.announced("CANCELLED"),
            error="cancelled",
            reason="changed plans",
        ),
    )


async def test_without_a_publisher_s_trace_one_is_started(world: World) -> None:
    hotel, key = world.hotel(), new_key()
    await world.request(hotel, key=key)
    row = await world.ended(key, "CONFIRMED")
    story = Story(world, key, hotel)
    trace = await expect_trace(world, int(row["trace_id"], 16), 0, story.whole().under(story.requested()))
    assert trace.one("booking.create").parent_id == 0
    # Sampled, as whoever starts a trace may decide.
    sent = [record for record in await world.records(topics.AVAILABILITY) if record.key == key.encode()]
    assert [record.text("traceparent")[-2:] for record in sent] == ["01"]
