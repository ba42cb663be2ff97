"""What is tried more than once is seen more than once: HTTP calls, and one event for each retry of a payment."""

from __future__ import annotations

from dataclasses import replace

from tests.tracing.reading import expect
from tests.tracing.story import CODE, Story
from tests.tracing.tree import POSITIVE, Event, Node
from tests.tracing.world import Publisher, World


def _retry(attempt: int, reason: str) -> Event:
    told = {"payment.attempt": attempt, "payment.retry_reason": reason, "payment.retry_delay_ms": POSITIVE}
    return Event("payment_retry", told)


def _confirmed(story: Story, paid: Node) -> tuple[Node, Node]:
    steps = (*story.until_locked(), story.asked("process_payment"), paid, story.asked("confirm"), story.confirmed())
    return story.requested(), story.create("CONFIRMED", *steps, *story.announced("CONFIRMED"), code=CODE)


async def test_a_provider_that_is_away_for_a_moment_is_asked_again(world: World) -> None:
    publisher, hotel = Publisher.new(), world.hotel()
    key = await world.request(hotel, publisher=publisher, payment_token="tok_unavailable_2")
    story = Story(world, key, hotel)
    refused = story.http("payment", "provider", "POST", "/v1/charges", 503)
    taken = story.http("payment", "provider", "POST", "/v1/charges", 201)
    # After each refusal it is asked whether something was charged nevertheless.
    paid = story.paid(refused, story.found_charge(), refused, story.found_charge(), taken, attempts=3)
    events = (_retry(1, "http_503"), _retry(2, "http_503"))
    await expect(world, publisher, *_confirmed(story, replace(paid, events=events)))


async def test_answers_that_are_lost_are_asked_for_and_no_charge_is_made_twice(world: World) -> None:
    publishers = [Publisher.new(), Publisher.new()]
    hotels = [world.hotel(), world.hotel()]
    tokens = ("tok_timeout_after_charge", "tok_timeout_before_charge_1")
    asked = zip(hotels, publishers, tokens, strict=True)
    keys = [await world.request(hotel, publisher=who, payment_token=token) for hotel, who, token in asked]
    after, before = (Story(world, key, hotel) for key, hotel in zip(keys, hotels, strict=True))

    # Charged, but the answer is lost: it is asked for by its key, and there it is.
    paid = after.paid(after.lost_charge(), after.found_charge())
    await expect(world, publishers[0], *_confirmed(after, paid))

    # Lost before it was charged: asked for by its key, there is none, so the charge is tried again.
    again = before.http("payment", "provider", "POST", "/v1/charges", 201)
    paid = before.paid(before.lost_charge(), before.found_charge(), again, attempts=2)
    await expect(world, publishers[1], *_confirmed(before, replace(paid, events=(_retry(1, "timeout"),))))
