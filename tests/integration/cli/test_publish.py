"""``saga publish`` on a running saga: what it sends is booked, traced, told, and the same again for the same seed."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from saga.audit.topics import reading
from saga.messaging.broker import Record
from saga.publishing import BookingPublisher, Request, new_booking_id
from saga.settings import Settings
from saga.telemetry.spans import parse_traceparent
from schemas.topics import REQUESTS
from tests.integration.cli.conftest import Saga
from tests.support.bookings import a_booking
from tests.support.stacks import StartedStack, isolated_settings

LINE = {
    "user_id": "u-1",
    "property_id": "htl-004",
    "check_in": "2031-01-02",
    "check_out": "2031-01-04",
    "payment_token": "tok_visa",
    "email": "ada@example.com",
}


def records_of(settings: Settings, key: str) -> list[Record]:
    """Every record on ``booking.requests`` with this key."""

    async def read() -> list[Record]:
        async with reading(settings, settings.topic_prefix + REQUESTS) as topic:
            return [record async for record in topic.read() if record.key == key.encode()]

    return asyncio.run(read())


def headers_of(record: Record) -> Counter[str]:
    return Counter(name for name, _ in record.headers)


def test_a_booking_of_which_nothing_is_said_is_confirmed(saga: Saga) -> None:
    said = saga("publish", "--wait", "--json")
    report = said.json
    assert said.code == 0, said
    assert report["outcomes"] == {"CONFIRMED": 1}
    assert report["lost_spans"] == 0
    (booking,) = report["bookings"]
    assert booking["duration_ms"] > 0
    shown = saga("show", booking["booking_id"], "--json").json
    (root,) = [span for span in shown["trace"]["spans"] if span["parent_id"] is None]
    assert (root["name"], root["kind"], root["service"]) == (
        f"send {shown['history'][0]['topic']}",
        "producer",
        "publisher",
    )
    create = next(span for span in shown["trace"]["spans"] if span["name"] == "booking.create")
    assert create["parent_id"] == root["span_id"]
    assert root["attributes"]["messaging.kafka.offset"] == shown["history"][0]["offset"]


def test_a_declined_booking_is_told_with_exit_code_1(saga: Saga) -> None:
    said = saga("publish", "--token", "tok_declined_fraud", "--wait")
    assert said.code == 1
    assert "FAILED" in said.out
    assert "payment_declined" in said.out


def test_a_callers_trace_is_continued(saga: Saga) -> None:
    trace_id, caller_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    said = saga("publish", "--traceparent", f"00-{trace_id}-{caller_id}-01", "--wait", "--json")
    (booking,) = said.json["bookings"]
    assert booking["trace_id"] == trace_id
    trace = saga("show", booking["booking_id"], "--json").json["trace"]
    sends = [span for span in trace["spans"] if span["service"] == "publisher"]
    assert [span["parent_id"] for span in sends] == [caller_id]
    assert (trace["orphans"], trace["notes"]) == (0, [])


def test_a_record_carries_each_header_once_and_its_own_send_span(saga: Saga, settings: Settings) -> None:
    key = new_booking_id()
    saga("publish", "--booking-id", key, "--property", "htl-002")
    (record,) = records_of(settings, key)
    headers = dict(record.headers)
    assert set(headers_of(record).values()) == {1}
    assert {"ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "content-type", "traceparent"} <= set(headers)
    context = parse_traceparent(headers["traceparent"].decode())
    assert context is not None
    assert context.sampled


def test_without_a_collector_no_context_is_sent_and_the_trace_is_told_all_the_same(
    saga: Saga, settings: Settings
) -> None:
    said = saga("publish", "--wait", "--json", SAGA_OTLP_ENDPOINT="")
    (booking,) = said.json["bookings"]
    (record,) = records_of(settings, booking["booking_id"])
    assert "traceparent" not in headers_of(record)
    shown = saga("show", booking["booking_id"], "--json").json
    assert shown["trace"]["trace_id"] == booking["trace_id"]
    # What was told before anybody had seen the booking is what the orchestrator derived.
    again = saga("publish", "--booking-id", booking["booking_id"], "--property", "htl-001", SAGA_OTLP_ENDPOINT="")
    assert again.code == 0


def test_what_is_told_without_waiting_is_the_trace_the_orchestrator_will_derive(saga: Saga) -> None:
    said = saga("publish", "--json", SAGA_OTLP_ENDPOINT="").json
    (told,) = said["bookings"]
    deadline = time.monotonic() + 20
    while (shown := saga("show", told["booking_id"], "--json", "--no-waterfall")).code and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shown.json["trace"]["trace_id"] == told["trace_id"]


def test_the_good_lines_of_a_file_are_booked_and_the_bad_ones_named(saga: Saga, tmp_path: Path) -> None:
    keys = [new_booking_id() for _ in range(2)]
    bad = ["{oops", json.dumps({**LINE, "payment_token": "4242424242424242"}), json.dumps({**LINE, "guests": 0})]
    good = [json.dumps({**LINE, "booking_id": key, "check_in": f"2031-01-0{n}"}) for n, key in enumerate(keys, 2)]
    path = tmp_path / "bookings.jsonl"
    path.write_text("\n".join([good[0], *bad, good[1]]) + "\n")
    said = saga("publish", "--file", str(path), "--wait", "--json")
    assert said.code == 1
    report = said.json
    assert [line["line"] for line in report["refused"]] == [2, 3, 4]
    assert {booking["booking_id"]: booking["status"] for booking in report["bookings"]} == dict.fromkeys(
        keys, "CONFIRMED"
    )
    assert "4242" not in said.out + said.err


def test_the_same_seed_changes_nothing_the_second_time(saga: Saga) -> None:
    words = ("publish", "--count", "12", "--seed", "7", "--mix", "confirmed=9,declined=2,unknown=1", "--wait", "--json")
    first = saga(*words)
    assert first.code == 0, first
    assert first.json["outcomes"] == {"CONFIRMED": 9, "FAILED": 3}
    second = saga(*words)
    assert second.code == 0
    assert second.json["bookings"] == first.json["bookings"]


def test_every_kind_of_a_mix_comes_to_what_it_says(saga: Saga) -> None:
    mix = "confirmed=4,declined=1,slow=1,lost=1,contended=4,sold_out=1,unknown=1,cancelled=2"
    said = saga("publish", "--count", "30", "--seed", "3", "--mix", mix, "--wait", "--timeout", "90", "--json")
    report = said.json
    assert said.code == 0, report["unexpected"]
    by_kind: dict[str, Counter[tuple[str, str]]] = {}
    for booking in report["bookings"]:
        by_kind.setdefault(booking["kind"], Counter())[booking["status"], booking["error_type"]] += 1
    assert len(by_kind) == 8
    assert any(error == "lock_contention" for _, error in by_kind["contended"])
    assert {error for _, error in by_kind["unknown"]} == {"unknown_property"}
    assert {status for status, _ in by_kind["cancelled"]} == {"CANCELLED"}


def test_a_rate_is_kept(saga: Saga) -> None:
    said = saga("publish", "--count", "20", "--rate", "40", "--json")
    assert said.code == 0
    assert said.json["duration_s"] >= 19 / 40


def test_a_property_that_is_not_there_is_wrong_use(saga: Saga) -> None:
    said = saga("publish", "--count", "2", "--property", "htl-999")
    assert said.code == 2
    assert "htl-999" in said.err


def test_a_collector_that_is_away_delays_little_and_fails_nothing(settings: Settings, unused_tcp_port: int) -> None:
    away = settings.model_copy(update={"otlp_endpoint": f"127.0.0.1:{unused_tcp_port}"})

    async def publish() -> tuple[float, int]:
        publisher = BookingPublisher(away)
        async with publisher:
            await publisher.publish([Request(new_booking_id(), a_booking(property_id="htl-001"))])
            began = time.monotonic()
        return time.monotonic() - began, publisher.lost_spans

    took, lost = asyncio.run(publish())
    assert lost == 1
    assert took < 2.0


def test_a_topic_that_is_missing_is_created_and_named(stack: StartedStack, saga: Saga) -> None:
    prefix = isolated_settings(stack.endpoints).topic_prefix
    said = saga("publish", "--property", "htl-001", SAGA_TOPIC_PREFIX=prefix)
    assert said.code == 0
    assert f"topic {prefix}{REQUESTS} was not there and has been created" in said.err
    again = saga("publish", "--property", "htl-001", SAGA_TOPIC_PREFIX=prefix)
    assert again.err == ""


def test_bookings_that_nobody_takes_up_are_told_with_exit_code_1(stack: StartedStack, saga: Saga) -> None:
    prefix = isolated_settings(stack.endpoints).topic_prefix  # where no orchestrator reads
    said = saga("publish", "--property", "htl-001", "--wait", "--timeout", "0.3", SAGA_TOPIC_PREFIX=prefix)
    assert said.code == 1
    assert "no orchestrator has seen" in said.err


@pytest.fixture
def unused_tcp_port() -> int:
    """A port on which nobody listens."""
    from saga.stacks.ports import free_ports

    return free_ports(1)[0]
