"""A change that would break a reader or a writer on a topic is refused; a new optional field is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import Field

from schemas import replies
from schemas.base import Identifier, Message, Name
from schemas.compatibility import incompatibilities, incompatible_types
from schemas.export import committed_schemas, json_schema, json_schemas

COMMITTED = committed_schemas()
REQUEST = "booking.BookingRequested.v1"
FOUND = "booking.AvailabilityFound.v1"


def changed(ce_type: str = REQUEST) -> dict[str, Any]:
    """A copy of a committed schema, to be changed."""
    return copy.deepcopy(COMMITTED[ce_type])


def reasons(ce_type: str, new: dict[str, Any]) -> list[str]:
    return incompatibilities(COMMITTED[ce_type], new)


def test_the_models_may_replace_what_is_committed() -> None:
    assert incompatible_types(COMMITTED, json_schemas()) == {}


@pytest.mark.parametrize("ce_type", sorted(COMMITTED))
def test_every_type_is_compatible_with_itself(ce_type: str) -> None:
    assert reasons(ce_type, changed(ce_type)) == []


# --- what is fine -----------------------------------------------------------------------------------------------------


def test_a_new_optional_field_is_fine() -> None:
    new = changed()
    new["properties"]["loyalty"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    assert reasons(REQUEST, new) == []


def test_a_new_optional_field_in_a_part_is_fine() -> None:
    new = changed(FOUND)
    new["$defs"]["Offer"]["properties"]["view"] = {"type": "string", "default": ""}
    assert reasons(FOUND, new) == []


def test_words_may_change() -> None:
    new = changed()
    new["description"] = new["title"] = "Other words"
    new["properties"]["guests"]["description"] = "how many sleep there"
    assert reasons(REQUEST, new) == []


def test_a_part_may_be_written_out_where_it_is_used() -> None:
    new = changed(FOUND)
    new["properties"]["offers"]["items"] = new["$defs"].pop("Offer")
    assert reasons(FOUND, new) == []


def test_the_order_of_values_and_fields_does_not_matter() -> None:
    new = changed()
    new["properties"]["source"]["enum"].reverse()
    new["required"].reverse()
    assert reasons(REQUEST, new) == []


def test_a_new_type_is_fine() -> None:
    assert incompatible_types(COMMITTED, {**json_schemas(), "booking.New.v1": {"type": "object"}}) == {}


# --- what is not ------------------------------------------------------------------------------------------------------


def _remove(schema: dict[str, Any], name: str) -> None:
    del schema["properties"][name]
    if name in schema["required"]:
        schema["required"].remove(name)


def _field(name: str, **change: Any) -> Any:
    def apply(schema: dict[str, Any]) -> None:
        field = schema["properties"][name]
        for keyword, value in change.items():
            if value is None:
                del field[keyword]
            else:
                field[keyword] = value

    return apply


def _offer(name: str, **change: Any) -> Any:
    return lambda schema: _field(name, **change)(schema["$defs"]["Offer"])


CHANGES: dict[str, tuple[str, Any, str]] = {
    "an optional field removed": (REQUEST, lambda s: _remove(s, "room_type"), "body.room_type: the field is gone"),
    "a required field removed": (REQUEST, lambda s: _remove(s, "email"), "body.email: the field is gone"),
    "a field renamed": (
        REQUEST,
        lambda s: s["properties"].update(adults=s["properties"].pop("guests")),
        "body.guests: the field is gone",
    ),
    "a new required field": (
        REQUEST,
        lambda s: (s["properties"].update(vat={"type": "string"}), s["required"].append("vat")),
        "body.vat: a new field is required",
    ),
    "an optional field made required": (
        REQUEST,
        lambda s: s["required"].append("guests"),
        "body.guests: the field is now required",
    ),
    "a required field made optional": (
        REQUEST,
        lambda s: s["required"].remove("email"),
        "body.email: the field is no longer required",
    ),
    "another type": (REQUEST, _field("guests", type="string"), "body.guests: it may no longer be integer"),
    "a wider type": (REQUEST, _field("guests", type="number"), "body.guests: it may now be number"),
    "null no longer allowed": (
        REQUEST,
        lambda s: s["properties"].update(room_type={**s["properties"]["room_type"]["anyOf"][0], "default": None}),
        "body.room_type: it may no longer be null",
    ),
    "null allowed": (
        REQUEST,
        lambda s: s["properties"].update(email={"anyOf": [s["properties"]["email"], {"type": "null"}]}),
        "body.email: it may now be null",
    ),
    "a lower maximum": (REQUEST, _field("guests", maximum=10), "body.guests: maximum went from 20 to 10; what was"),
    "a higher maximum": (REQUEST, _field("guests", maximum=30), "body.guests: maximum went from 20 to 30; readers of"),
    "no maximum": (REQUEST, _field("guests", maximum=None), "body.guests: maximum went from 20 to none; readers of"),
    "a higher minimum": (REQUEST, _field("guests", minimum=2), "body.guests: minimum went from 1 to 2; what was"),
    "a lower minimum": (REQUEST, _field("guests", minimum=0), "body.guests: minimum went from 1 to 0; readers of"),
    "a new limit": (REQUEST, _field("guests", multipleOf=2), "body.guests: multipleOf changed from null to 2"),
    "a shorter text": (REQUEST, _field("user_id", maxLength=32), "body.user_id: maxLength went from 64 to 32; what"),
    "a text that may not be empty": (
        REQUEST,
        _field("guest_name", minLength=1),
        "body.guest_name: minLength went from none to 1; what was",
    ),
    "a shorter optional text": (
        REQUEST,
        lambda s: s["properties"]["room_type"]["anyOf"][0].update(maxLength=8),
        "body.room_type: maxLength went from 64 to 8",
    ),
    "another pattern": (REQUEST, _field("currency", pattern="^[A-Z]{2}$"), "body.currency: pattern changed"),
    "no pattern": (REQUEST, _field("currency", pattern=None), "body.currency: pattern changed"),
    "another format": (REQUEST, _field("check_in", format="date-time"), "body.check_in: format changed"),
    "a value removed": (REQUEST, _field("source", enum=["web", "api"]), 'body.source: "mobile" may no longer be used'),
    "a value added": (
        REQUEST,
        _field("source", enum=["web", "mobile", "api", "fax"]),
        'body.source: "fax" may now be used',
    ),
    "free text made a choice": (
        REQUEST,
        _field("guest_name", enum=["Ada"]),
        "body.guest_name: only certain values are allowed now",
    ),
    "a choice made free text": (REQUEST, _field("source", enum=None), "body.source: any value is allowed now"),
    "another constant": (
        REQUEST,
        _field("payment_method", const="invoice"),
        'body.payment_method: "card" may no longer be used',
    ),
    "another default": (REQUEST, _field("guests", default=2), "body.guests: the default went from 1 to 2"),
    "unknown fields refused": (
        REQUEST,
        lambda s: s.update(additionalProperties=False),
        "body: additionalProperties changed",
    ),
    "fewer items": (FOUND, _field("offers", maxItems=3), "body.offers: maxItems went from 5 to 3; what was"),
    "more items": (FOUND, _field("offers", maxItems=9), "body.offers: maxItems went from 5 to 9; readers of"),
    "a list made a text": (
        FOUND,
        lambda s: s["properties"].update(offers={"type": "string"}),
        "body.offers: it may no longer be array",
    ),
    "a field of a part removed": (
        FOUND,
        lambda s: _remove(s["$defs"]["Offer"], "room_type"),
        "body.offers[].room_type: the field is gone",
    ),
    "a field of a part narrowed": (
        FOUND,
        _offer("total_minor", maximum=10),
        "body.offers[].total_minor: maximum went from 100000000 to 10",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_refused(change: str) -> None:
    ce_type, apply, expected = CHANGES[change]
    new = changed(ce_type)
    apply(new)
    found = reasons(ce_type, new)
    assert found
    assert found[0].startswith(expected) or any(reason.startswith(expected) for reason in found), found
    assert all(reason.startswith("body") and len(reason) > 20 for reason in found)


def test_a_type_that_is_gone_is_refused() -> None:
    without = {name: schema for name, schema in json_schemas().items() if name != REQUEST}
    assert list(incompatible_types(COMMITTED, without)) == [REQUEST]


def test_objects_of_a_union_are_told_apart_by_name() -> None:
    name = {"type": "string"}
    cat, dog = ({"type": "object", "title": title, "properties": {"name": name}} for title in ("Cat", "Dog"))
    assert incompatibilities({"anyOf": [cat, dog]}, {"anyOf": [dog, cat]}) == []
    assert incompatibilities({"anyOf": [cat, dog]}, {"anyOf": [{**cat, "title": "Fox"}, dog]}) == [
        "body: it may no longer be object Cat; what was written before would be refused",
        "body: it may now be object Fox; readers of the old version would refuse what is written now",
    ]


def test_every_problem_is_named_not_just_the_first() -> None:
    new = changed()
    _remove(new, "email")
    _field("guests", maximum=10, default=2)(new)
    assert len(reasons(REQUEST, new)) == 3


def test_integers_may_be_read_as_numbers_but_numbers_not_as_integers() -> None:
    whole, any_number = {"type": "integer"}, {"type": "number"}
    assert incompatibilities(whole, any_number) == [
        "body: it may now be number; readers of the old version would refuse what is written now"
    ]
    assert incompatibilities(any_number, whole) == [
        "body: it may no longer be number; what was written before would be refused"
    ]


def test_a_change_made_to_a_model_is_found_as_well() -> None:
    class LockRefused(Message):
        """As in the replies, but a field is gone, one is wider, and one is new and needed."""

        booking_id: str
        reservation_id: Identifier
        reason: Name
        because: int = Field(ge=0)

    try:
        found = incompatibilities(COMMITTED["booking.LockRefused.v1"], json_schema(LockRefused))
    finally:
        Message._register[replies.LockRefused.type_name()] = replies.LockRefused
    assert [reason.partition(":")[0] for reason in found] == [
        "body.competing_reservation",
        "body.because",
        "body.booking_id",
        "body.booking_id",
        "body.reason",
    ]
