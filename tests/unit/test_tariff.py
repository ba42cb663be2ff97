"""What a night costs."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pricing.tariff import ExchangeRate, RoomRate, Season, Tariff, price_nights

EUR = ExchangeRate("EUR", 2, 1_000_000)
USD = ExchangeRate("USD", 2, 1_085_000)
JPY = ExchangeRate("JPY", 0, 163_500_000)

SUMMER = Season("summer", 615, 831, 13_000)
YULE = Season("yule", 1220, 102, 15_000)
TARIFF = Tariff("htl-1", "EUR", 12_000, (SUMMER, YULE), {"101": RoomRate("double", 10_000)})


def nightly(check_in: date, nights: int, target: ExchangeRate = EUR) -> tuple[int, ...]:
    return price_nights(10_000, TARIFF.weights(check_in, nights), EUR, target)


def test_a_plain_weekday_costs_the_room_rate() -> None:
    assert nightly(date(2026, 3, 2), 1) == (10_000,)  # a Monday


def test_the_nights_of_friday_and_saturday_are_weekend() -> None:
    thursday = date(2026, 3, 5)
    assert nightly(thursday, 4) == (10_000, 12_000, 12_000, 10_000)


def test_season_and_weekend_multiply() -> None:
    assert nightly(date(2026, 7, 3), 1) == (15_600,)  # a Friday in summer: 1.3 x 1.2


def test_season_bounds_are_included_and_a_season_may_run_over_new_year() -> None:
    assert [SUMMER.covers(date(2026, month, day)) for month, day in ((6, 14), (6, 15), (8, 31), (9, 1))] == [
        False,
        True,
        True,
        False,
    ]
    assert [YULE.covers(date(2026, month, day)) for month, day in ((12, 19), (12, 20), (1, 2), (1, 3))] == [
        False,
        True,
        True,
        False,
    ]


def test_half_a_minor_unit_is_rounded_up() -> None:
    assert price_nights(1, [15_000 * 10_000], EUR, EUR) == (2,)  # 1.5
    assert price_nights(1, [14_999 * 10_000], EUR, EUR) == (1,)


@pytest.mark.parametrize(("target", "expected"), [(EUR, 10_000), (USD, 10_850), (JPY, 16_350)])
def test_conversion_respects_the_digits_of_the_minor_unit(target: ExchangeRate, expected: int) -> None:
    assert nightly(date(2026, 3, 2), 1, target) == (expected,)


@given(
    amount=st.integers(1, 10**9),
    check_in=st.dates(date(2024, 1, 1), date(2035, 12, 31)),
    nights=st.integers(1, 60),
    target=st.sampled_from((EUR, USD, JPY)),
)
def test_a_longer_stay_costs_the_sum_of_its_nights(
    amount: int, check_in: date, nights: int, target: ExchangeRate
) -> None:
    whole = price_nights(amount, TARIFF.weights(check_in, nights), EUR, target)
    alone = [
        price_nights(amount, TARIFF.weights(check_in + timedelta(days=n), 1), EUR, target)[0] for n in range(nights)
    ]
    assert list(whole) == alone
    assert all(price >= 0 for price in whole)


@given(amount=st.integers(1, 10**9), weight=st.integers(10**6, 10**10))
def test_rounding_is_off_by_at_most_half_a_minor_unit(amount: int, weight: int) -> None:
    (price,) = price_nights(amount, [weight], EUR, EUR)
    assert abs(price * 10**8 - amount * weight) * 2 <= 10**8
