"""Requests from lines: the good ones are understood, the bad ones named by line and reason, and nothing is repeated."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga.cli.request_lines import BadLine, Line, bounded_lines, read_requests
from saga.errors import UsageError
from saga.publishing import new_booking_id
from saga.telemetry.redaction import contains_card_number, redact_text
from schemas.limits import MAX_MESSAGE_BYTES

GOOD = {
    "user_id": "u-1",
    "property_id": "htl-001",
    "check_in": "2027-01-02",
    "check_out": "2027-01-04",
    "payment_token": "tok_visa",
    "email": "ada@example.com",
}
HEADER = "booking_id,user_id,property_id,check_in,check_out,guests,payment_token,email,guest_name"


def read(lines: Iterable[str], **options: Any) -> list[Line | BadLine]:
    ids = itertools.count(1)
    return list(read_requests(lines, lambda: f"new-{next(ids)}", **options))


def json_line(**changes: object) -> str:
    return json.dumps({**GOOD, **changes}) + "\n"


def reason_of(found: Line | BadLine) -> str:
    assert isinstance(found, BadLine)
    return found.reason


def test_json_lines_give_requests_with_keys() -> None:
    first, second = read([json_line(booking_id="mine"), "\n", json_line(guests=3)])
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert (first.key, second.key) == ("mine", "new-1")
    assert (second.number, second.request.guests) == (3, 3)


def test_csv_gives_requests_and_leaves_empty_cells_out() -> None:
    rows = [
        f"\ufeff{HEADER}\n",
        'b-1,u-1,htl-001,2027-01-02,2027-01-04,2,tok_visa,ada@example.com,"Lovelace, Ada"\n',
        ",u-1,htl-001,2027-01-02,2027-01-04,,tok_visa,ada@example.com,\n",
    ]
    first, second = read(rows)
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert (first.number, first.key, first.request.guest_name) == (2, "b-1", "Lovelace, Ada")
    assert (second.number, second.key, second.request.guests) == (3, "new-1", 1)


def test_a_source_is_filled_in_where_a_line_says_none() -> None:
    first, second = read([json_line(), json_line(source="web")], source="mobile")
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert (first.request.source, second.request.source) == ("mobile", "web")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{oops\n", "not JSON"),
        ("[1]\n", "no object"),
        ('"text"\n', "no object"),
        (json_line(guest=2), "no field 'guest'"),
        (json_line(check_out="2027-01-02"), "check_out must be 1 to 60 nights"),
        (json_line(payment_token="visa"), "payment_token must be the payment provider's token"),
        (json_line(email="nobody"), "email must be an e-mail address"),
        (json_line(guests=99), "guests must be less than"),
        (json_line(booking_id="no spaces"), "booking_id must be"),
        (json_line(guest_name="4242 4242 4242 4242"), "card number"),
        (json_line(note="4242424242424242"), "card number"),
        (json_line(booking_id="4242424242424242"), "card number"),
        (json_line(guest_name="x" * MAX_MESSAGE_BYTES), "bytes"),
        (json_line()[:-2] + ', "guest_name": "\udcff"}\n', "not UTF-8"),
        ('{"a":' * 20_000 + "\n", "bytes"),
        ('{"a":' * 10_000 + "\n", "not JSON"),
        ('{"a":' + "1" * 5_000 + "}\n", "not JSON that anybody"),
        (json_line(user_id=None).replace('"user_id": null, ', ""), "user_id is missing"),
    ],
    ids=itertools.count(),
)
def test_a_bad_line_is_named_and_does_not_stop_the_others(line: str, reason: str) -> None:
    good, bad, after = read([json_line(), line, json_line()])
    assert isinstance(good, Line)
    assert isinstance(after, Line)
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert reason in bad.reason
    assert "4242" not in bad.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b-2,u-1\n", "there are 2 cells, but the header has 9"),
        ('b-2,"u-1"x,htl-001,2027-01-02,2027-01-04,2,tok_visa,a@example.com,\n', "not CSV"),
        (",u-1,htl-001,2027-01-02,2027-01-04,2,4242424242424242,a@example.com,\n", "card number"),
        (",u-1,htl-001,tomorrow,2027-01-04,2,tok_visa,a@example.com,\n", "check_in"),
    ],
)
def test_a_bad_row_is_named_and_does_not_stop_the_others(row: str, reason: str) -> None:
    good = ",u-1,htl-001,2027-01-02,2027-01-04,2,tok_visa,a@example.com,\n"
    first, bad, after = read([HEADER + "\n", good, row, good])
    assert isinstance(first, Line)
    assert isinstance(after, Line)
    assert reason in reason_of(bad)


def test_the_same_booking_twice_is_refused_naming_the_first_line() -> None:
    _, bad = read([json_line(booking_id="b-1"), json_line(booking_id="b-1")])
    assert reason_of(bad) == "booking b-1 is on line 1 already"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (['[{"user_id": 1}]\n'], "jq"),
        (["user_id,hotel\n", "a,b\n"], "'hotel'"),
        (["user_id,ada@example.com\n"], r"\[redacted"),
    ],
)
def test_what_is_neither_is_refused_as_a_whole(lines: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(lines)


def test_nothing_gives_nothing() -> None:
    assert read([]) == []
    assert read(["\n", "  \n"]) == []


def test_an_endless_line_is_read_only_as_far_as_it_takes_to_refuse_it() -> None:
    text = "x" * (3 * MAX_MESSAGE_BYTES) + "\n" + json_line()
    lines = list(bounded_lines(io.StringIO(text)))
    assert [len(line) for line in lines] == [MAX_MESSAGE_BYTES + 1, len(json_line())]


@given(st.text(max_size=200), st.sampled_from(["guest_name", "user_id", "email", "payment_token", "booking_id"]))
def test_no_reason_ever_repeats_what_is_sensitive(text: str, name: str) -> None:
    for found in read([json_line(**{name: f"ada@example.com tok_x1 4242424242424242 {text}"})]):
        reason = reason_of(found)
        assert redact_text(reason) == reason
        assert not contains_card_number(reason)


def test_new_ids_sort_by_time_and_are_keys_the_saga_takes() -> None:
    ids = [new_booking_id(now_ms) for now_ms in range(1_790_000_000_000, 1_790_000_400_000, 1_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    (found,) = read([json_line(booking_id=ids[0])])
    assert isinstance(found, Line)
