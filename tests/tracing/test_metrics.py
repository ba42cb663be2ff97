"""Metrics read back over OTLP say what the database, the topics and the spans say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest_asyncio

from saga.booking import DEFINITION
from saga.traces.model import TraceSpan
from schemas import topics
from tests.support.otlp import Point
from tests.tracing.story import UNDOS
from tests.tracing.test_topics_and_spans import READERS
from tests.tracing.world import TRACED_ROLES, World, eventually

_OUTCOMES = {"CONFIRMED": "success", "FAILED": "failed", "TIMED_OUT": "timeout", "CANCELLED": "cancelled"}
_CONSUMERS = {reader for readers in READERS.values() for reader in readers}


def values(points: Iterable[Point], *by: str) -> Counter[tuple[object, ...]]:
    """What the points come to, by some of their attributes; of histograms, how often something was recorded."""
    counted: Counter[tuple[object, ...]] = Counter()
    for point in points:
        amount = point.count if point.kind == "histogram" else round(point.value)
        counted[tuple(point.attributes.get(name) for name in by)] += amount
    return +counted


async def agree(told: Callable[[], Any], known: Callable[[], Any]) -> None:
    """Wait until what the metrics tell is what is known otherwise (metrics come every five seconds)."""
    assert await eventually(lambda: told() == known()), f"told: {told()}\nknown: {known()}"


@pytest_asyncio.fixture(scope="module", autouse=True)
async def bookings(world: World) -> None:
    """A booking for everything that is counted."""
    hotel = world.hotel(2)
    await world.hold(hotel, "101", "rsv-first")
    await world.hold(hotel, "102", "rsv-second")
    confirmed = await world.request(world.hotel(), source="mobile")
    keys = {
        confirmed: "CONFIRMED",
        await world.request(world.hotel(), payment_token="tok_declined_fraud", source="web"): "FAILED",
        await world.request(hotel, source="api"): "FAILED",
    }
    for key, status in keys.items():
        await world.ended(key, status)
    await world.cancel(confirmed)
    await world.ended(confirmed, "CANCELLED")
    # One of each that is dropped: a dead letter, a late cancellation, a command that was carried out before.
    await world.cancel(confirmed, reason="once more")
    await world.publish(b"bk-poison", b"{", [("ce_type", b"booking.BookingRequested.v1")])
    (command, *_) = await world.records(topics.LOCKING)
    await world.publish(command.key, command.value, command.headers, topics.LOCKING)


async def _endings(world: World) -> Counter[tuple[object, ...]]:
    """Every time a saga ended, by status and source; a confirmed booking that is cancelled later ends twice."""
    rows = await world.pool.fetch(
        "SELECT h.status, s.state::jsonb #>> '{data,source}' AS source, count(*) AS count "
        f"FROM {world.schemas['saga']}.history h JOIN {world.schemas['saga']}.sagas s ON s.id = h.saga_id "
        "WHERE h.status = ANY ($1::text[]) GROUP BY 1, 2",
        list(_OUTCOMES),
    )
    return Counter({(_OUTCOMES[row["status"]], row["source"]): row["count"] for row in rows})


async def _first_endings(world: World) -> Mapping[str, int]:
    """How often a saga first ended so."""
    rows = await world.pool.fetch(
        f"SELECT DISTINCT ON (saga_id) status FROM {world.schemas['saga']}.history "
        "WHERE status = ANY ($1::text[]) ORDER BY saga_id, epoch",
        list(_OUTCOMES),
    )
    return Counter(_OUTCOMES[row["status"]] for row in rows)


async def _runs(world: World) -> tuple[Counter[tuple[object, ...]], Counter[tuple[object, ...]]]:
    """Every step and undo that ended, by name and outcome; and the undos alone, by name."""
    steps: Counter[tuple[object, ...]] = Counter()
    undos: Counter[tuple[object, ...]] = Counter()
    for row in await world.pool.fetch(f"SELECT state FROM {world.schemas['saga']}.sagas"):
        state = DEFINITION.load(row["state"])
        for run in state.runs:
            if run.outcome is not None and run.outcome.value != "pending":
                steps[run.step, run.outcome.value] += 1
        for run in state.undos:
            if run.outcome is not None and run.outcome.value == "done":
                steps[UNDOS[run.step], "done"] += 1
                undos[(UNDOS[run.step],)] += 1
    return steps, undos


async def test_attempts_and_durations_are_counted_by_outcome(world: World) -> None:
    endings = await _endings(world)
    points = world.receiver.points
    await agree(lambda: values(points("booking.attempts"), "booking.status", "booking.source"), lambda: endings)
    # How long it took is told once: what a cancellation later makes of a confirmed booking is no latency.
    first = Counter({(status,): count for status, count in (await _first_endings(world)).items()})
    await agree(lambda: values(points("booking.duration_ms"), "booking.status"), lambda: first)
    assert {(point.unit, point.kind, point.service) for point in points("booking.duration_ms")} == {
        ("ms", "histogram", "orchestrator")
    }
    for point in points("booking.duration_ms"):
        assert set(point.attributes) == {"booking.status"}
        assert point.bounds[0] <= 10
        assert point.bounds[-1] >= 60_000
        assert sum(point.buckets) == point.count
        assert 1 < point.total / point.count < 120_000
    for point in points("booking.attempts"):
        assert set(point.attributes) == {"booking.status", "booking.source"}


async def test_steps_and_compensations_are_measured(world: World) -> None:
    steps, undos = await _runs(world)
    points = world.receiver.points
    await agree(lambda: values(points("saga.step.duration"), "saga.step", "saga.step.outcome"), lambda: steps)
    await agree(lambda: values(points("saga.compensations"), "saga.step"), lambda: undos)
    assert {point.unit for point in points("saga.step.duration")} == {"s"}
    assert undos.keys() >= {("release_lock",), ("refund_payment",), ("restore_inventory",)}


async def test_contention_and_the_gateway_are_measured_where_they_are_met(world: World) -> None:
    def spans(name: str) -> list[TraceSpan]:
        unique = {(span.trace_id, span.span_id): span for span in world.receiver.spans if span.name == name}
        return list(unique.values())

    def contentions() -> Counter[tuple[object, ...]]:
        events = [event for span in spans("booking.acquire_lock") for event in span.events]
        return Counter((event.attributes["booking.contention_reason"],) for event in events)

    def calls() -> Counter[tuple[object, ...]]:
        asked = {"booking.process_payment": "charge", "booking.refund_payment": "undo"}
        return Counter(
            (operation, span.attributes["payment.status"])
            for name, operation in asked.items()
            for span in spans(name)
            if "payment.gateway_latency_ms" in span.attributes
        )

    points = world.receiver.points
    await agree(lambda: values(points("booking.lock.contentions"), "reason"), contentions)
    await agree(lambda: values(points("payment.gateway.duration"), "payment.operation", "payment.status"), calls)
    assert {point.unit for point in points("payment.gateway.duration")} == {"s"}
    assert contentions()
    assert calls()[("charge", "captured")] > 0


async def test_what_was_not_handled_is_counted_with_its_reason(world: World) -> None:
    points = world.receiver.points
    letters = Counter((letter.text("dlq_cause"),) for letter in await world.records(topics.DEAD_LETTERS))
    await agree(lambda: values(points("saga.dead_letters"), "cause"), lambda: letters)

    def dropped() -> Counter[object]:
        spans = {
            (span.trace_id, span.span_id): span for span in world.receiver.spans if "saga.dropped" in span.attributes
        }
        return Counter(span.attributes["saga.dropped"] for span in spans.values())

    def stale() -> Mapping[object, int]:
        return {reason: count for reason, count in dropped().items() if reason != "redelivery"}

    await agree(lambda: {key[0]: n for key, n in values(points("saga.stale_replies"), "reason").items()}, stale)
    assert stale().keys() >= {"late_cancellation"}
    redelivered = values(points("saga.redeliveries"), "messaging.destination.name")
    assert redelivered[(world.topic(topics.LOCKING),)] > 0


async def test_the_messaging_conventions_metrics_count_every_record(world: World) -> None:
    points = world.receiver.points
    records = await world.records()
    by_topic = Counter(world.topic(record.topic) for record in records)
    written = Counter((world.topic(record.topic),) for record in records if not world.is_ours(record))

    def sent() -> Counter[tuple[object, ...]]:
        return values(points("messaging.client.sent.messages"), "messaging.destination.name")

    await agree(sent, lambda: written)
    read = Counter(
        {
            (world.topic(f"booking.{reader}"), world.topic(topic)): by_topic[world.topic(topic)]
            for topic, readers in READERS.items()
            for reader in readers
        }
    )
    where = ("messaging.consumer.group.name", "messaging.destination.name")
    await agree(lambda: values(points("messaging.client.consumed.messages"), *where), lambda: +read)
    # The very same record read again after a rebalance would be measured again.
    await agree(lambda: values(points("messaging.process.duration"), *where), lambda: +read)
    for name, operation in (
        ("messaging.client.sent.messages", "send"),
        ("messaging.client.operation.duration", "send"),
        ("messaging.client.consumed.messages", "poll"),
        ("messaging.process.duration", "process"),
    ):
        for point in points(name):
            assert point.attributes["messaging.system"] == "kafka"
            assert point.attributes["messaging.operation.name"] == operation
            assert point.unit == ("s" if name.endswith("duration") else "{message}")
    failed = values(points("messaging.process.duration"), "error.type")
    assert failed[("invalid_json",)] > 0


async def test_lag_live_sagas_and_lost_spans_are_watched(world: World) -> None:
    points = world.receiver.points

    def lags() -> list[tuple[object, ...]]:
        name, number = "messaging.destination.name", "messaging.destination.partition.id"
        return sorted(
            (point.service, str(point.attributes[name]), str(point.attributes[number]), point.value)
            for point in points("saga.consumer.lag")
        )

    caught_up = sorted(
        (reader, world.topic(topic), str(number), 0.0)
        for topic, readers in READERS.items()
        for reader in readers
        for number in range(world.settings.partitions)
    )
    await agree(lags, lambda: caught_up)
    roles = set(TRACED_ROLES)
    await agree(
        lambda: {(point.service, point.value) for point in points("saga.spans.dropped")},
        lambda: {(role, 0.0) for role in roles},
    )
    await agree(lambda: values(points("saga.active"), "booking.status"), Counter)
    assert {point.attributes["booking.status"] for point in points("saga.active")} == {"RUNNING", "COMPENSATING"}
    assert [point.value for point in points("saga.needs_attention")] == [0.0]


async def test_no_metric_carries_an_id(world: World) -> None:
    """Every attribute is one of a few words; nothing grows with the number of bookings."""
    endings = await _endings(world)
    points = world.receiver.points
    await agree(lambda: values(points("booking.attempts"), "booking.status", "booking.source"), lambda: endings)
    keys = {row["id"] for row in await world.pool.fetch(f"SELECT id FROM {world.schemas['saga']}.sagas")}
    for point in world.receiver.series:
        assert set(point.attributes) <= _KNOWN, point
        told = json.dumps([*point.attributes.values()])
        assert not any(key in told for key in keys), point
        # Neither trace ids, reservations, charges, refunds nor codes.
        assert not re.search(r'[0-9a-f]{16}|"(rsv-|ch_|re_|BK-|tok_)|@', told), point


_KNOWN = {
    "booking.status",
    "booking.source",
    "saga.step",
    "saga.step.outcome",
    "reason",
    "cause",
    "channel",
    "outcome",
    "error.type",
    "payment.operation",
    "payment.status",
    "messaging.system",
    "messaging.operation.name",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.consumer.group.name",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "url.scheme",
    "server.address",
    "server.port",
    "network.protocol.version",
}
