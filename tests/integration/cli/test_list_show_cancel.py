"""``saga list``, ``show``, ``cancel`` and ``doctor`` on a running saga."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from saga.publishing import new_booking_id
from saga.settings import Settings
from saga.stacks.services import Services
from tests.integration.cli.conftest import Saga
from tests.support.stacks import StartedStack, isolated_settings

TOKEN, ADDRESS, GUEST = "tok_visa_1881", "grace.hopper@example.org", "Grace Hopper"


@pytest.fixture
def confirmed(saga: Saga) -> str:
    """A booking that was confirmed, holding things that nobody is to see."""
    key = new_booking_id()
    words = ("--booking-id", key, "--token", TOKEN, "--email", ADDRESS, "--name", GUEST)
    said = saga("publish", *words, "--wait")
    assert said.code == 0, said
    return key


def test_a_cancelled_booking_shows_its_undos_in_reverse_with_links(saga: Saga, confirmed: str) -> None:
    said = saga("cancel", confirmed, "--reason", f"call {ADDRESS}", "--wait", "--json")
    assert (said.code, said.json["status_before"], said.json["status"]) == (0, "CONFIRMED", "CANCELLED")
    shown = saga("show", confirmed, "--json").json
    asked = [span["parent_id"] for span in shown["trace"]["spans"] if span["service"] == "publisher"]
    root = next(span["span_id"] for span in shown["trace"]["spans"] if span["name"] == "booking.create")
    assert asked == [None, root], "who asked for the cancellation is seen in the booking's own trace"
    assert (shown["trace"]["orphans"], shown["trace"]["notes"]) == (0, [])
    assert [undo["undo"] for undo in shown["undos"]] == ["restore_inventory", "refund_payment", "release_lock"]
    assert {undo["outcome"] for undo in shown["undos"]} == {"done"}
    spans = {span["name"]: span for span in shown["trace"]["spans"]}
    for undo, step in (("restore_inventory", "confirm"), ("release_lock", "acquire_lock")):
        assert spans[f"booking.{undo}"]["links"][0]["span_id"] == spans[f"booking.{step}"]["span_id"]
    text = saga("show", confirmed)
    assert "booking.rollback" in text.out
    assert "undoes booking.acquire_lock" in text.out


def test_cancelling_what_has_failed_is_told_with_exit_code_1(saga: Saga) -> None:
    key = new_booking_id()
    assert saga("publish", "--booking-id", key, "--token", "tok_declined_fraud", "--wait").code == 1
    said = saga("cancel", key, "--wait", "--timeout", "10")
    assert said.code == 1
    assert "nothing to cancel" in said.err


@pytest.mark.parametrize("verb", ["cancel", "show"])
def test_a_booking_that_is_not_there_is_exit_code_1_with_what_to_do(saga: Saga, verb: str) -> None:
    said = saga(verb, "bk-nobody-asked-for")
    assert said.code == 1
    assert said.out == ""
    assert "saga list" in said.err


def test_nothing_that_is_shown_holds_a_token_an_address_or_a_name(saga: Saga, confirmed: str) -> None:
    saga("cancel", confirmed, "--reason", f"write to {ADDRESS} about {TOKEN}", "--wait")
    for words in (("--json",), ("--messages",), ("--no-waterfall",)):
        said = saga("show", confirmed, *words)
        assert said.code == 0
        assert all(secret not in said.out + said.err for secret in (TOKEN, ADDRESS, GUEST))


def test_every_record_is_shown_by_topic_partition_and_offset(saga: Saga, confirmed: str, settings: Settings) -> None:
    messages = saga("show", confirmed, "--json").json["messages"]
    prefix = settings.topic_prefix
    received = [message["what"] for message in messages if message["direction"] == "received"]
    assert received == [
        f"booking.{name}.v1"
        for name in ("BookingRequested", "AvailabilityFound", "LockAcquired", "PaymentProcessed", "ConfirmationIssued")
    ]
    sent = [(message["what"], message["topic"]) for message in messages if message["direction"] == "sent"]
    assert sent == [
        ("check_availability", f"{prefix}booking.commands.availability"),
        ("acquire_lock", f"{prefix}booking.commands.locking"),
        ("process_payment", f"{prefix}booking.commands.payment"),
        ("confirm", f"{prefix}booking.commands.confirmation"),
        ("event", f"{prefix}booking.events"),
    ]
    assert all(message["offset"] is not None and message["partition"] is not None for message in messages)
    text = saga("show", confirmed, "--messages").out
    assert f"{messages[0]['topic']}/{messages[0]['partition']}/{messages[0]['offset']}" in text


def test_the_trace_says_where_it_was_read(saga: Saga, confirmed: str, settings: Settings) -> None:
    said = saga("show", confirmed)
    assert "booking.create" in said.out
    assert f"schema {settings.schema_prefix}traces" in said.err
    assert "booking.create" not in saga("show", confirmed, "--no-waterfall").out


def test_a_database_without_traces_is_said_to_be_one(saga: Saga, confirmed: str, house: Services) -> None:
    import psycopg

    url = house.settings.database_url.get_secret_value()
    schema = f"{house.settings.schema_prefix}traces"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'ALTER SCHEMA "{schema}" RENAME TO "{schema}_away"'.encode())
        try:
            said = saga("show", confirmed)
        finally:
            connection.execute(f'ALTER SCHEMA "{schema}_away" RENAME TO "{schema}"'.encode())
    assert said.code == 0
    assert "no traces are kept in this database" in said.err


def pages(saga: Saga, *words: str) -> list[dict[str, Any]]:
    """Every saga of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: list[str] = []
    while True:
        page = saga("list", "--json", *words, *cursor).json
        found += page["sagas"]
        if page["next"] is None:
            return found
        cursor = ["--cursor", page["next"]]


def test_pages_hold_every_booking_once_newest_first(saga: Saga) -> None:
    assert saga("publish", "--count", "25", "--wait").code == 0
    whole = pages(saga, "--limit", "10000")
    paged = pages(saga, "--limit", "7")
    assert paged == whole
    assert len({one["booking_id"] for one in paged}) == len(paged) >= 25
    assert [one["started_at"] for one in paged] == sorted((one["started_at"] for one in paged), reverse=True)


def test_a_list_can_be_narrowed(saga: Saga) -> None:
    mix = "confirmed=2,declined=2,unknown=2"
    assert saga("publish", "--count", "6", "--seed", "41", "--mix", mix, "--wait").code == 0
    deadline = time.monotonic() + 30
    while pages(saga, "--live") and time.monotonic() < deadline:  # what other tests did not wait for
        time.sleep(0.1)
    everything = pages(saga, "--limit", "1000")
    for status in ("CONFIRMED", "FAILED", "CANCELLED", "TIMED_OUT", "RUNNING"):
        expected = [one for one in everything if one["status"] == status]
        assert pages(saga, "--status", status.lower()) == expected
    declined = [one for one in everything if one["error_type"] == "payment_declined"]
    assert declined
    assert pages(saga, "--error-type", "payment_declined") == declined
    assert pages(saga, "--error-type", "payment_declined", "--status", "confirmed") == []
    assert pages(saga, "--live") == []
    assert pages(saga, "--since", "1h") == everything
    assert pages(saga, "--until", "1h") == []
    oldest = everything[-1]["started_at"]
    assert everything[-1] in pages(saga, "--until", oldest.replace("Z", "999Z"))


def test_a_list_for_people_names_each_booking_and_leads_on(saga: Saga, confirmed: str) -> None:
    said = saga("list", "--limit", "1")
    assert confirmed in said.out
    assert "--cursor" in said.err
    assert saga("list", "--status", "needs_attention").err == "no such bookings\n"


def test_doctor_finds_a_running_house_well(saga: Saga) -> None:
    said = saga("doctor", "--json")
    assert said.code == 0, said.out
    found = {finding["what"]: finding for finding in said.json["findings"]}
    assert set(found) == {
        *("settings", "broker", "topics", "services", "database", "clock", "tables", "catalogue"),
        *("collector", "pricing", "provider", "mail"),
    }
    assert {finding["verdict"] for finding in found.values()} == {"good"}
    assert "40 properties, 1200 rooms" in found["catalogue"]["found"]


def test_doctor_finds_an_empty_environment_wanting_and_leaves_it_empty(saga: Saga, stack: StartedStack) -> None:
    empty = isolated_settings(stack.endpoints)
    variables = {"SAGA_TOPIC_PREFIX": empty.topic_prefix, "SAGA_SCHEMA_PREFIX": empty.schema_prefix}
    for _ in range(2):  # the second time finds the same: looking has created nothing
        said = saga("doctor", "--json", **variables)
        assert said.code == 1
        wrong = {f["what"]: f for f in said.json["findings"] if f["verdict"] == "problem"}
        assert set(wrong) == {"topics", "services", "tables"}
        assert f"{empty.topic_prefix}booking.requests" in wrong["topics"]["found"]
        assert f"{empty.schema_prefix}saga" in wrong["tables"]["found"]
        assert all(finding["mend"] for finding in wrong.values())


def test_doctor_notices_that_topics_have_too_few_partitions(saga: Saga) -> None:
    said = saga("doctor", SAGA_PARTITIONS="64")
    assert said.code == 1
    assert "too few partitions" in said.out


def test_a_saga_that_is_stuck_is_shown_with_what_it_waits_for(saga: Saga, house: Services) -> None:
    house.child("payment").stop()
    try:
        key = new_booking_id()
        said = saga("publish", "--booking-id", key, "--wait", "--timeout", "3", "--json")
        assert said.code == 1
        assert said.json["unexpected"] == [key]
        text = saga("show", key)
        assert "waits for  process_payment" in text.out
        assert "it is still under way" in text.err
        waiting = json.loads(saga("show", key, "--json").out)["waiting"]
        assert waiting["command_id"].startswith(f"{key}.process_payment")
        assert key in [one["booking_id"] for one in pages(saga, "--live")]
    finally:
        house.start_some(["payment"])
    assert saga("cancel", key, "--wait").code == 0
