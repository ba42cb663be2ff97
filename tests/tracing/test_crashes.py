"""Traces survive processes: a saga whose orchestrator or worker was killed in the middle is one whole trace."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from schemas import topics
from tests.tracing.reading import expect, in_order
from tests.tracing.story import CODE, Story
from tests.tracing.world import Publisher, World, eventually

# Whoever is to be killed keeps its spans to itself: all that it did must be told by somebody else.
_SILENT = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}


async def _restart(world: World, name: str, environment: dict[str, str]) -> None:
    await asyncio.to_thread(world.services.restart, name, environment)


async def _doomed(world: World, name: str, point: str, fired: Path) -> None:
    """Start ``name`` so that it kills itself with SIGKILL when it comes to ``point``."""
    await _restart(world, name, {**_SILENT, "SAGA_FAULT": f"{name}.{point},once={fired}"})


async def _dead(world: World, name: str) -> int:
    """Wait for its death; when that was seen, in nanoseconds since the epoch."""
    child = world.services.child(name)
    assert await eventually(lambda: child.exit_code == -signal.SIGKILL), f"{name} lives: {child.last_lines()}"
    return time.time_ns()


def _instance(world: World, name: str) -> str:
    """The process that has exported spans of ``name`` last."""
    return str([span for span in world.receiver.spans if span.service == name][-1].resource["service.instance.id"])


async def test_the_root_has_the_true_start_and_end_though_whoever_began_it_was_killed(
    troubled: World, tmp_path: Path
) -> None:
    world, publisher, hotel = troubled, Publisher.new(), troubled.hotel()
    await _doomed(world, "orchestrator", "after_commit:4", tmp_path / "fired")
    began_ns = time.time_ns()
    key = await world.request(hotel, publisher=publisher)
    died_ns = await _dead(world, "orchestrator")
    assert (await world.saga(key))["step"] == "confirm", "it was to die once the payment was known"
    assert [record for record in await world.records(topics.CONFIRMATION) if record.key == key.encode()] == []
    assert not [span for span in world.spans(publisher.trace_id) if span.service == "orchestrator"]
    await _restart(world, "orchestrator", {})
    row = await world.ended(key, "CONFIRMED")

    story = Story(world, key, hotel, crashed=frozenset({"orchestrator"}))
    trace = await expect(world, publisher, story.requested(), story.whole(), again=True)
    root = trace.one("booking.create")
    assert (root.start_ns, root.end_ns) == (row["started_us"] * 1000, row["ended_us"] * 1000)
    assert began_ns - 50_000_000 < root.start_ns < died_ns < root.end_ns
    in_order(trace, "check_availability", "acquire_lock", "process_payment", "confirm")
    # All of it is told by the one that lives, under the name of the role.
    told_by = {span.resource["service.instance.id"] for span in trace.spans if span.service == "orchestrator"}
    assert told_by == {_instance(world, "orchestrator")}


async def test_an_undoing_goes_on_under_the_same_rollback(troubled: World, tmp_path: Path) -> None:
    world, publisher, hotel = troubled, Publisher.new(), troubled.hotel()
    await _doomed(world, "orchestrator", "after_commit:4", tmp_path / "fired")
    key = await world.request(hotel, publisher=publisher, payment_token="tok_declined_expired_card")
    died_ns = await _dead(world, "orchestrator")
    assert (await world.saga(key))["status"] == "COMPENSATING"
    await _restart(world, "orchestrator", {})
    row = await world.ended(key, "FAILED")

    story = Story(world, key, hotel, crashed=frozenset({"orchestrator"}))
    trace = await expect(
        world,
        publisher,
        story.requested(),
        story.create(
            "FAILED",
            *story.until_locked(),
            story.asked("process_payment"),
            story.declined("expired_card"),
            story.rollback(
                "payment_declined",
                story.asked("acquire_lock", undo=True),
                story.released(),
                undone=("release_lock",),
            ),
            *story.announced("FAILED"),
            error="payment_declined",
            reason="payment declined: expired_card",
            compensated=True,
        ),
        again=True,
    )
    rollback, undone = trace.one("booking.rollback"), row["state"]["rollback"]
    assert (rollback.start_ns, rollback.end_ns) == (undone["started_us"] * 1000, undone["ended_us"] * 1000)
    assert rollback.start_ns < died_ns < trace.one("booking.release_lock").start_ns < rollback.end_ns


@pytest.mark.parametrize(
    "points",
    [
        {"availability": "before_commit", "locking": "after_commit", "payment": "after_commit"},
        {"payment": "before_commit", "confirmation": "before_publish", "notification": "after_commit"},
    ],
    ids=["first three", "last three"],
)
async def test_what_workers_did_before_they_were_killed_is_seen(
    troubled: World, tmp_path: Path, points: Mapping[str, str]
) -> None:
    """Several workers die over one booking, one after another."""
    world, publisher, hotel = troubled, Publisher.new(), troubled.hotel()
    await asyncio.gather(*(_doomed(world, role, point, tmp_path / role) for role, point in points.items()))
    key = await world.request(hotel, publisher=publisher)
    for role in points:
        await _dead(world, role)
        await _restart(world, role, {})
    await world.ended(key, "CONFIRMED")

    story = Story(world, key, hotel, crashed=frozenset(points))
    # Who was killed over a call, or before it was known that it had been told of, makes it again.
    quote = story.http("availability", "pricing", "POST", "/v1/quotes", 200)
    quoted = story.cut_off(quote, quote) if "availability" in points else quote
    charge, replayed = (story.http("payment", "provider", "POST", "/v1/charges", status) for status in (201, 200))
    steps = (
        story.asked("check_availability"),
        story.checked(quoted),
        story.asked("acquire_lock"),
        story.locked(),
        story.asked("process_payment"),
        story.paid(story.cut_off(charge, replayed)),
        story.asked("confirm"),
        story.confirmed(),
    )
    whole = story.create("CONFIRMED", *steps, *story.announced("CONFIRMED"), code=CODE)
    await expect(world, publisher, story.requested(), whole, again=True)
