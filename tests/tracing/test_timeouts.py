"""Bookings that nobody answered in time: every attempt is seen, and what may have been done is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio

from schemas import topics
from tests.tracing.reading import expect, in_order
from tests.tracing.story import Story
from tests.tracing.tree import POSITIVE, Event, Node
from tests.tracing.world import Publisher, World

_QUICK = {"SAGA_PACE": "0.2", "SAGA_SWEEP_INTERVAL_S": "0.1"}
"""A step is given up after 6 s, a payment after 9 s."""


@pytest_asyncio.fixture(scope="module")
async def hurried(troubled: World) -> AsyncIterator[World]:
    """An environment whose new sagas have no time to lose."""
    await asyncio.to_thread(troubled.services.restart, "orchestrator", _QUICK)
    yield troubled
    await asyncio.to_thread(troubled.services.restart, "orchestrator", {})


async def test_a_worker_that_does_not_run_until_it_is_too_late(hurried: World) -> None:
    world, publisher, hotel = hurried, Publisher.new(), hurried.hotel()
    await asyncio.to_thread(world.services.child("availability").stop)
    key = await world.request(hotel, publisher=publisher)
    row = await world.ended(key, "TIMED_OUT")
    await asyncio.to_thread(world.services.restart, "availability")

    story = Story(world, key, hotel)
    command = story.command_id("check_availability")
    attempts = range(1, row["state"]["runs"][0]["attempt"] + 1)
    assert len(attempts) >= 3
    asked = [story.asked("check_availability", dropped="stale_reply")]
    for attempt in attempts[1:]:
        joined = story.processed(topics.AVAILABILITY, command, "availability", dropped="redelivery")
        asked.append(story.sent(topics.AVAILABILITY, command, joined, attempt=attempt))
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "TIMED_OUT",
            *asked,
            story.checked(),
            *story.announced("TIMED_OUT"),
            error="timeout",
            reason="check_availability did not answer in time",
        ),
    )
    root = trace.one("booking.create")
    assert root.end_ns - root.start_ns >= 6_000_000_000
    assert trace.one("booking.check_availability").start_ns > root.end_ns


async def test_a_payment_that_nobody_can_take_is_tried_again_and_then_undone(hurried: World) -> None:
    world, publisher, hotel = hurried, Publisher.new(), hurried.hotel()
    key = await world.request(hotel, publisher=publisher, payment_token="tok_unavailable")
    row = await world.ended(key, "TIMED_OUT")

    story = Story(world, key, hotel)
    attempts = range(1, row["state"]["runs"][-1]["attempt"] + 1)
    assert len(attempts) >= 2
    undone = ("refund_payment", "release_lock")
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "TIMED_OUT",
            *story.until_locked(),
            *(_refused(story, attempt) for attempt in attempts),
            *(_unpaid(story, attempt) for attempt in attempts),
            story.rollback(
                "timeout",
                story.asked("process_payment", undo=True),
                # Which of the attempts took money nobody can say: it is the step as it was first tried that is undone.
                _voided(story, "booking.process_payment#1"),
                story.asked("acquire_lock", undo=True),
                story.released(),
                undone=undone,
            ),
            *story.announced("TIMED_OUT"),
            error="timeout",
            reason="process_payment did not answer in time",
            compensated=True,
        ),
    )
    in_order(trace, *undone)
    root = trace.one("booking.create")
    assert root.end_ns - root.start_ns >= 9_000_000_000


def _refused(story: Story, attempt: int) -> Node:
    """An attempt from which nothing came, not even a reply."""
    command = story.command_id("process_payment")
    read = story.processed(topics.PAYMENT, command, "payment", error="provider_unavailable")
    return story.sent(topics.PAYMENT, command, read, attempt=attempt)


def _unpaid(story: Story, attempt: int) -> Node:
    """The step's span of such an attempt: three calls, each after asking what became of the one before."""
    refused = story.http("payment", "provider", "POST", "/v1/charges", 503)
    paid = story.paid(*(refused, story.found_charge()) * 3, status="unavailable", attempts=3)
    missing = {"payment.transaction_id", "payment.gateway_latency_ms", "payment.card_last_four"}
    told = {name: value for name, value in paid.attributes.items() if name not in missing}
    told |= {"error.type": "provider_unavailable"} | ({"saga.attempt": attempt} if attempt > 1 else {})
    retried = [
        {"payment.attempt": number, "payment.retry_reason": "http_503", "payment.retry_delay_ms": POSITIVE}
        for number in (1, 2)
    ]
    return replace(
        paid,
        attributes=told,
        status="error",
        message="the payment provider does not answer",
        events=tuple(Event("payment_retry", one) for one in retried),
    )


def _voided(story: Story, link: str) -> Node:
    """A refund where nothing had been taken."""
    refunded = story.refunded(link=link)
    missing = {"payment.transaction_id", "payment.refund_id"}
    told = {name: value for name, value in refunded.attributes.items() if name not in missing}
    return replace(refunded, attributes=told | {"payment.status": "voided"})
