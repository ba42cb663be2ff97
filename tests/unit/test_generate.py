"""Generated bookings: the same for the same seed, valid, in the shares asked for, and out of each other's way."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga.errors import UsageError
from saga.generate import ALL_CONFIRMED, TYPICAL, GeneratedBooking, Kind, Mix, generate, parse_mix
from saga.messaging.wire import body_to_json
from saga.store.reading import Lodging
from saga.telemetry.redaction import contains_card_number
from workers.provider.tokens import behaviour_of

FIRST_DAY = date(2027, 1, 1)
LODGINGS = tuple(
    Lodging(f"htl-{number:03d}", room_type, capacity, rooms)
    for number in range(1, 7)
    for room_type, capacity, rooms in (("single", 1, 4), ("double", 2, 9), ("family", 4, 4), ("suite", 4, 2))
)
ROOMS = {(lodging.property_id, lodging.room_type): lodging for lodging in LODGINGS}


def bookings(count: int, seed: int = 1, mix: Mix = ALL_CONFIRMED) -> list[GeneratedBooking]:
    return list(generate(count, seed, LODGINGS, mix, first_day=FIRST_DAY))


@given(seed=st.integers(), count=st.integers(1, 60))
@settings(max_examples=25)
def test_the_same_seed_gives_the_same_bookings_however_many(seed: int, count: int) -> None:
    again = generate(1_000, seed, LODGINGS, TYPICAL, first_day=FIRST_DAY)
    assert bookings(count, seed, TYPICAL) == list(islice(again, count))


def test_another_seed_mix_day_or_catalogue_gives_other_ids() -> None:
    recipes = [
        bookings(1),
        bookings(1, 2),
        bookings(1, 1, TYPICAL),
        list(generate(1, 1, LODGINGS, ALL_CONFIRMED, first_day=FIRST_DAY + timedelta(days=1))),
        list(generate(1, 1, LODGINGS[1:], ALL_CONFIRMED, first_day=FIRST_DAY)),
    ]
    assert len({recipe[0].key for recipe in recipes}) == len(recipes)


@given(seed=st.integers())
@settings(max_examples=20)
def test_the_saga_would_take_every_one_of_them(seed: int) -> None:
    for booking in bookings(40, seed, TYPICAL):
        assert not contains_card_number(booking.key)
        assert not contains_card_number(body_to_json(booking.request).decode())
        assert booking.request.check_in >= FIRST_DAY


def test_every_kind_comes_in_its_share_at_any_time() -> None:
    made = Counter(booking.kind for booking in bookings(1_000, mix=TYPICAL))
    total = sum(TYPICAL.values())
    for kind, weight in TYPICAL.items():
        assert abs(made[kind] - 1_000 * weight / total) <= 6, kind
    few = Counter(booking.kind for booking in bookings(4, mix=parse_mix("confirmed,declined,unknown,cancelled")))
    assert set(few.values()) == {1}


def test_bookings_to_be_confirmed_never_lack_a_room() -> None:
    sold: Counter[tuple[str, str, date]] = Counter()
    for booking in bookings(4_000):
        request = booking.request
        nights = [request.check_in + timedelta(days=day) for day in range((request.check_out - request.check_in).days)]
        types = [request.room_type] if request.room_type else ["single", "double", "family", "suite"]
        free = [
            room_type
            for room_type in types
            if ROOMS[request.property_id, room_type].capacity >= request.guests
            and all(
                sold[request.property_id, room_type, night] < ROOMS[request.property_id, room_type].rooms
                for night in nights
            )
        ]
        assert free, booking
        for night in nights:
            sold[request.property_id, free[0], night] += 1


def test_neighbours_in_time_never_want_the_same_nights() -> None:
    recent: list[GeneratedBooking] = []
    for booking in bookings(1_200):
        for other in recent:
            same = other.request.property_id == booking.request.property_id
            apart = (
                other.request.check_out <= booking.request.check_in
                or booking.request.check_out <= other.request.check_in
            )
            assert not same or apart
        recent = [*recent[-499:], booking]


def test_those_who_contend_want_the_same_night_in_more_numbers_than_there_are_rooms() -> None:
    made = bookings(60, mix={Kind.CONTENDED: 1})
    wants = Counter((b.request.property_id, b.request.room_type, b.request.check_in) for b in made)
    complete = list(wants.items())[:-1]
    assert len(complete) > 5
    for (property_id, room_type, _), rivals in complete:
        assert rivals == 2 * ROOMS[property_id, room_type or ""].rooms
        assert room_type == "suite"


def test_tokens_do_what_the_kind_says() -> None:
    for booking in bookings(200, mix=TYPICAL):
        behaviour = behaviour_of(booking.request.payment_token)
        assert behaviour is not None
        assert bool(behaviour.decline_code) == (booking.kind is Kind.DECLINED)
        assert behaviour.silent_after_capture == (booking.kind is Kind.LOST)
        assert (behaviour.delay_ms > 0) == (booking.kind in {Kind.SLOW, Kind.CONTENDED, Kind.CANCELLED})
        if booking.cancel_after_s is not None:
            assert booking.cancel_after_s * 1_000 < behaviour.delay_ms
        assert (booking.cancel_after_s is not None) == (booking.kind is Kind.CANCELLED)
        assert booking.request.card_last_four in {None, behaviour.last_four}


def test_some_kinds_ask_for_what_does_not_exist() -> None:
    for booking in bookings(20, mix=parse_mix("unknown,sold_out")):
        if booking.kind is Kind.UNKNOWN:
            assert booking.request.property_id not in {lodging.property_id for lodging in LODGINGS}
        else:
            assert booking.request.guests > max(lodging.capacity for lodging in LODGINGS)


@pytest.mark.parametrize("text", ["", "confirmed=x", "confirmed=-1", "wild=3", "confirmed=0", "typical=2"])
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_mix(text)


def test_an_empty_catalogue_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="saga seed"):
        generate(1, 1, (), first_day=FIRST_DAY)
