"""The committed JSON Schemas are what the models say, and they refuse and accept what the models do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError

import schemas
from schemas.base import Message, message_class, message_classes
from schemas.examples import EXAMPLES, example
from schemas.export import (
    committed_schemas,
    exported_classes,
    json_schemas,
    plain_text,
    read_schemas,
    render,
    write_schemas,
)
from tests.support.bookings import a_booking

COMMITTED = committed_schemas()
FOLDER = Path(schemas.__file__).parent / "json"
TYPES = [cls.type_name() for cls in exported_classes()]


def test_every_committed_schema_is_what_the_model_says() -> None:
    assert json_schemas() == COMMITTED, "run `saga schema export schemas/json`"


@pytest.mark.parametrize("ce_type", TYPES)
def test_committed_files_are_written_in_the_one_way(ce_type: str) -> None:
    text = (FOLDER / f"{ce_type}.json").read_text("utf-8")
    assert text == render(json.loads(text))
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_the_types_of_design_section_3_are_all_there() -> None:
    names = {cls.__name__ for cls in exported_classes()}
    assert names >= {
        "BookingRequested",
        "BookingCancellationRequested",
        "CheckAvailability",
        "AcquireLock",
        "ReleaseLock",
        "ProcessPayment",
        "RefundPayment",
        "ConfirmBooking",
        "RestoreInventory",
        "BookingConfirmed",
        "BookingFailed",
        "BookingCancelled",
    }


@pytest.mark.parametrize("ce_type", TYPES)
def test_every_schema_is_valid_by_its_own_dialect_and_names_itself(ce_type: str) -> None:
    schema = COMMITTED[ce_type]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:booking-saga:{ce_type}"
    assert schema["description"], "every message says what it is"
    assert ":class:" not in render(schema)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_example_fits_its_schema_and_comes_back_the_same(message: Message) -> None:
    body = message.model_dump_json(exclude_none=True)
    schema = COMMITTED[message.type_name()]
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(json.loads(body))
    assert type(message).model_validate_json(body) == message


def test_every_type_has_one_example() -> None:
    assert sorted(message.type_name() for message in EXAMPLES) == sorted(TYPES)
    assert example("booking.LockRefused.v1") is next(m for m in EXAMPLES if type(m).__name__ == "LockRefused")


@pytest.mark.parametrize(
    "change",
    [
        {"guests": 0},
        {"guests": 21},
        {"user_id": "x" * 65},
        {"user_id": "has space"},
        {"payment_token": "4242424242424242"},
        {"card_last_four": "12345"},
        {"currency": "eur"},
        {"email": "not-an-address"},
        {"source": "fax"},
        {"payment_method": "cash"},
        {"check_in": "tomorrow"},
        {"booking_id": "-starts-with-a-dash"},
        {"guest_name": "x" * 121},
    ],
    ids=str,
)
def test_schema_and_model_refuse_the_same_requests(change: dict[str, Any]) -> None:
    body = {**a_booking().model_dump(mode="json", exclude_none=True), **change}
    validator = Draft202012Validator(COMMITTED["booking.BookingRequested.v1"], format_checker=FormatChecker())
    assert not validator.is_valid(body)
    with pytest.raises(ValidationError):
        type(a_booking()).model_validate_json(json.dumps(body))


def test_a_field_that_nobody_knows_is_accepted_and_ignored() -> None:
    body = {**a_booking().model_dump(mode="json", exclude_none=True), "loyalty_card": "gold"}
    Draft202012Validator(COMMITTED["booking.BookingRequested.v1"]).validate(body)
    assert type(a_booking()).model_validate_json(json.dumps(body)) == a_booking()


def test_messages_of_tests_are_not_exported() -> None:
    class Stray(Message):
        """Not part of the contract."""

    try:
        assert Stray in message_classes()
        assert Stray not in exported_classes()
    finally:
        del Message._register[Stray.type_name()]


@pytest.mark.parametrize("written", ["LockRefused", "booking.LockRefused", "LockRefused.v1", "booking.LockRefused.v1"])
def test_a_type_is_found_by_its_short_names_too(written: str) -> None:
    found = message_class(written)
    assert found is not None
    assert found.type_name() == "booking.LockRefused.v1"


@pytest.mark.parametrize("written", ["", "LockRefused.v2", "other.LockRefused.v1", "LockRefused.v1 ", "Offer"])
def test_what_names_no_type_is_not_found(written: str) -> None:
    assert message_class(written) is None


def test_exporting_twice_gives_the_same_files_and_removes_types_that_are_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    first = {path.name: path.read_bytes() for path in write_schemas(folder)}
    (folder / "booking.Gone.v1.json").write_text("{}")
    (folder / "README.md").write_text("ours")
    second = {path.name: path.read_bytes() for path in write_schemas(folder)}
    assert first == second
    assert read_schemas(folder) == json_schemas()
    assert (folder / "README.md").exists(), "what is not a schema is left alone"


def test_markup_of_docstrings_does_not_reach_those_who_read_json() -> None:
    assert plain_text("Undo of\n    :class:`AcquireLock`: ``was_held``.") == "Undo of `AcquireLock`: `was_held`."
