"""``saga publish`` refuses what does not go together before it connects to anything."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from saga.cli.publish_plan import FilePlan, caller, one_booking, tomorrow
from saga.cli.sending import Planned
from saga.errors import UsageError
from saga.store.reading import Lodging
from schemas.requests import BookingRequested
from tests.unit.cli.conftest import Say

LODGINGS = (Lodging("htl-001", "double", 2, 10), Lodging("htl-001", "suite", 4, 2))
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def booking_of(planned: Planned) -> BookingRequested:
    assert isinstance(planned.request.body, BookingRequested)
    return planned.request.body


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--file", "x.csv", "--count", "3"), "--file and --count"),
        (("--count", "3", "--email", "a@example.com"), "--email"),
        (("--count", "3", "--name", "Ada"), "--name"),
        (("--count", "3", "--token", "tok_visa"), "--token"),
        (("--count", "3", "--nights", "2"), "--nights"),
        (("--count", "3", "--traceparent", TRACEPARENT), "--traceparent"),
        (("--file", "-", "--check-in", "2027-01-02"), "--check-in"),
        (("--file", "-", "--property", "htl-001"), "--property"),
        (("--property", "a", "--property", "b"), "several are for --count"),
        (("--seed", "3"), "add --count"),
        (("--mix", "typical"), "add --count"),
        (("--first-day", "2027-01-02"), "add --count"),
        (("--rate", "3"), "--rate"),
        (("--property", "a", "--check-out", "2027-01-02", "--nights", "2"), "--check-out and --nights"),
        (("--property", "a", "--traceparent", "00-zz"), "traceparent"),
        (("--property", "a", "--traceparent", TRACEPARENT, "--tracestate", "a=\n"), "trace context"),
        (("--property", "a", "--token", "visa"), "payment_token"),
        (("--property", "a", "--email", "nobody"), "email"),
        (("--property", "no spaces", "--nights", "2"), "property_id"),
        (("--property", "a", "--check-in", "2027-01-02", "--check-out", "2027-01-02"), "check_out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_flags_that_make_no_sense_are_refused_in_one_line(say: Say, words: tuple[str, ...], named: str) -> None:
    said = say("publish", *words)
    assert said.code == 2
    assert named in said.err
    assert said.err.count("\n") == 1


def test_a_mix_nobody_knows_is_refused_with_those_there_are(say: Say) -> None:
    said = say("publish", "--count", "2", "--mix", "wild=3")
    assert said.code == 2
    assert "confirmed, declined, slow" in said.err


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv cannot be read"):
        list(FilePlan(tmp_path / "nowhere.csv"))


def test_what_is_not_said_is_made_up_plausibly() -> None:
    request = booking_of(one_booking({}, None, LODGINGS, None))
    assert request.property_id == "htl-001"
    assert request.check_in > tomorrow()
    assert request.email.endswith((".com", ".net", ".org"))


def test_what_is_said_is_kept() -> None:
    chosen = {
        "property_id": "elsewhere",
        "check_in": date(2027, 3, 1),
        "guests": 4,
        "payment_token": "tok_amex",
        "booking_id": "mine",
    }
    planned = one_booking(chosen, 3, (), None)
    request = booking_of(planned)
    assert planned.request.key == "mine"
    assert (request.property_id, request.guests, request.payment_token) == ("elsewhere", 4, "tok_amex")
    assert request.check_out == date(2027, 3, 4)
    assert request.room_type is None
    assert request.card_last_four is None


def test_an_arrival_is_found_for_a_departure() -> None:
    request = booking_of(one_booking({"check_out": date(2027, 3, 4)}, None, LODGINGS, None))
    assert timedelta(days=1) <= date(2027, 3, 4) - request.check_in <= timedelta(days=7)


def test_a_callers_context_keeps_its_sampling_decision() -> None:
    context = caller(TRACEPARENT[:-1] + "0", "vendor=1")
    assert context is not None
    assert not context.sampled
    assert context.tracestate == "vendor=1"
