"""What is masked, and what must not be."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga.telemetry.redaction import CARD, contains_card_number, redact_item, redact_text, redact_value

CARDS = (
    "4242424242424242",
    "4111111111111111",
    "4000000000000002",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3566002020360505",
    "6212345678901232",
    "1234567812345670",
    "4222222222222",
    "6304000000000000000",
)


def luhn_digit(digits: str) -> str:
    total = sum(
        value if place % 2 else (value * 2 - 9 if value > 4 else value * 2)
        for place, value in enumerate(map(int, reversed(digits)))
    )
    return str(-total % 10)


NETWORKS = {
    "4": (13, 16, 19),
    "51": (16,),
    "55": (16,),
    "2221": (16,),
    "2720": (16,),
    "34": (15,),
    "37": (15,),
    "36": (14,),
    "35": (16, 17, 18, 19),
    "50": (13, 14, 15, 16, 17, 18, 19),
    "6011": (16, 17, 18, 19),
    "62": (16, 17, 18, 19),
}


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """Numbers as networks issue them: their first digits, their lengths, a valid check digit."""
    lead = draw(st.sampled_from(sorted(NETWORKS)))
    size = draw(st.sampled_from(NETWORKS[lead]))
    body = lead + draw(st.text("0123456789", min_size=size - len(lead) - 1, max_size=size - len(lead) - 1))
    return body + luhn_digit(body)


@st.composite
def written_cards(draw: st.DrawFn) -> tuple[str, str]:
    """(digits, the same as somebody may write them)."""
    digits = draw(card_numbers())
    separator = draw(st.sampled_from(["", " ", "-", " - ", "\u00a0", "\u2013"]))
    size = draw(st.integers(2, 6))
    return digits, separator.join(digits[at : at + size] for at in range(0, len(digits), size))


no_digits = st.text(st.characters(codec="utf-8", exclude_categories=["Nd", "Cs"]), max_size=30)


@pytest.mark.parametrize("card", CARDS)
def test_known_card_numbers_are_masked_however_they_are_grouped(card: str) -> None:
    for written in (card, " ".join(card[at : at + 4] for at in range(0, len(card), 4)), f"pan:{card};", f"No{card}x"):
        assert contains_card_number(written)
        masked = redact_text(written)
        assert CARD in masked
        assert card not in masked.replace(" ", "")


@given(no_digits, written_cards(), no_digits)
def test_a_card_number_is_found_within_any_text(before: str, card: tuple[str, str], after: str) -> None:
    text = f"{before}|{card[1]}|{after}"
    assert contains_card_number(text)
    assert "".join(filter(str.isdecimal, redact_text(text))) == ""


@given(card_numbers(), st.integers(0, 999))
def test_a_card_number_next_to_another_number_is_masked(card: str, number: int) -> None:
    assert card not in redact_text(f"{number} {card} {number}")
    assert contains_card_number(f"{number} {card}")


@given(card_numbers(), st.sampled_from(["\u0660", "\u0966", "\uff10"]))
def test_digits_of_other_scripts_count(card: str, zero: str) -> None:
    text = "".join(chr(ord(zero) + int(digit)) for digit in card)
    assert contains_card_number(text)
    assert redact_text(text) == CARD


@given(st.uuids(), st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1))
def test_uuids_and_traceparents_stay_readable(some: uuid.UUID, trace_id: int, span_id: int) -> None:
    traceparent = f"00-{trace_id:032x}-{span_id:016x}-03"
    for text in (str(some), f"booking {some}/lock", traceparent, f"{some} {traceparent}"):
        assert redact_text(text) == text
        assert not contains_card_number(text)


@given(st.integers(1_500_000_000, 2_099_999_999), st.integers(0, 999_999_999))
def test_timestamps_stay_readable(seconds: int, nanos: int) -> None:
    for number in (seconds * 1000 + nanos // 10**6, seconds * 10**6 + nanos // 10**3, seconds * 10**9 + nanos):
        for text in (f"{number}", f"load-{number}", f"at {number}"):
            assert redact_text(text) == text
            assert not contains_card_number(text)
        assert redact_value(number) == number


@given(st.integers(0, 10**9))
def test_padded_counters_stay_readable(number: int) -> None:
    assert redact_text(f"bk-{number:016d}") == f"bk-{number:016d}"


@given(no_digits, st.emails(), no_digits)
def test_no_email_address_survives(before: str, address: str, after: str) -> None:
    assert address not in redact_text(f"{before} <{address}> {after}")
    assert address not in redact_text(f"DETAIL: Key (email)=({address}) already exists.")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("card tok_visa_declined here", "card [redacted] here"),
        ("key sk_test_51Habc", "key [redacted]"),
        ("Authorization: Bearer abc.DEF-123", "Authorization: Bearer [redacted]"),
        ("postgresql://saga:hunter2@db:5432/saga", "postgresql://saga:[redacted]@db:5432/saga"),
        ("http://u:p@10.0.0.1/x", "http://u:[redacted]@10.0.0.1/x"),
        ("cvv=123", "cvv=[redacted]"),
        ('{"cvc": "1234"}', '{"cvc": "[redacted]"}'),
        ("host=db password=hunter2 user=saga", "host=db password=[redacted] user=saga"),
        ("/offers?email=jo%40example.com&n=2", "/offers?email=[redacted e-mail]&n=2"),
    ],
)
def test_secrets_are_masked_and_their_surroundings_kept(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "task_id",
        "disk_usage=3",
        "booking.commands.payment",
        "card_last_four 4242",
        "send booking.replies",
        "check_in=1",
        "",
    ],
)
def test_ordinary_text_is_returned_as_the_same_object(text: str) -> None:
    assert redact_text(text) is text


@given(st.text())
def test_redaction_is_idempotent(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


def test_values_of_every_type_are_masked() -> None:
    assert redact_value(4242424242424242) == CARD
    assert redact_value(4242424242424242.0) == CARD
    assert redact_value(b"pan 4242424242424242") == f"pan {CARD}".encode()
    assert redact_value(["a", "a@b.example", 3]) == ("a", "[redacted e-mail]", 3)
    assert redact_value({"a": {"cvv": 123}, "n": None}) == {"a": {"cvv": "[redacted]"}, "n": None}
    assert redact_value(value=True) is True
    assert redact_value(-17) == -17
    assert redact_item("http.request.header.authorization", "x") == "[redacted]"
    assert redact_item("payment.card_last_four", "4242") == "4242"


@pytest.mark.parametrize("text", ["a" * 50_000 + "@", "@" * 20_000, "4" * 50_000, "a:" * 20_000 + "@", "/@" * 20_000])
@pytest.mark.timeout(10)
def test_hostile_text_takes_linear_time(text: str) -> None:
    assert isinstance(redact_text(text), str)
    assert contains_card_number(text) is False
