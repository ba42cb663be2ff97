"""Bookings that look like real ones, the same for the same seed: for load, demonstrations and benchmarks. Pure.

A *mix* says how many of each *kind* there shall be. A kind is what is meant to become of a booking:

=============  ===========================================================================================
``confirmed``  a room that nobody else asked for, and a card that works
``declined``   the provider says no
``slow``       confirmed, after a provider that takes its time
``lost``       confirmed, though the provider's answer never arrives: it is asked what became of the charge
``contended``  twice as many guests as there are rooms of a scarce type, all at once: half of them are refused
``sold_out``   more guests than any room there takes
``unknown``    a property that does not exist
``cancelled``  cancelled by the guest while the payment is under way (``cancel_after_s`` says when)
=============  ===========================================================================================

Rooms are handed out so that no two bookings of one seed collide unless their kind says so: each is given a property and
a window of time of its own, as long as the catalogue has any left. Different seeds may collide.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from saga.engine.state import Status
from saga.errors import UsageError
from schemas.limits import MAX_GUESTS
from schemas.requests import BookingRequested

if TYPE_CHECKING:
    from saga.store.reading import Lodging


class Kind(StrEnum):
    """What is meant to become of a generated booking; see the module."""

    CONFIRMED = "confirmed"
    DECLINED = "declined"
    SLOW = "slow"
    LOST = "lost"
    CONTENDED = "contended"
    SOLD_OUT = "sold_out"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"

    @property
    def expected(self) -> frozenset[Status]:
        """The statuses with which a booking of this kind may rightly end."""
        return _EXPECTED[self]


_EXPECTED = {
    Kind.CONFIRMED: frozenset({Status.CONFIRMED}),
    Kind.DECLINED: frozenset({Status.FAILED}),
    Kind.SLOW: frozenset({Status.CONFIRMED}),
    Kind.LOST: frozenset({Status.CONFIRMED}),
    Kind.CONTENDED: frozenset({Status.CONFIRMED, Status.FAILED}),
    Kind.SOLD_OUT: frozenset({Status.FAILED}),
    Kind.UNKNOWN: frozenset({Status.FAILED}),
    Kind.CANCELLED: frozenset({Status.CANCELLED}),
}

Mix = Mapping[Kind, int]
"""Shares of the kinds, as relative weights."""

ALL_CONFIRMED: Mix = {Kind.CONFIRMED: 1}
TYPICAL: Mix = {
    Kind.CONFIRMED: 84,
    Kind.DECLINED: 6,
    Kind.SLOW: 2,
    Kind.LOST: 1,
    Kind.CONTENDED: 3,
    Kind.SOLD_OUT: 1,
    Kind.UNKNOWN: 1,
    Kind.CANCELLED: 2,
}

_MAX_WEIGHT = 1_000_000


@dataclass(frozen=True, slots=True)
class GeneratedBooking:
    """One booking to ask for; with ``cancel_after_s`` its cancellation is to be asked for so many seconds later."""

    key: str
    request: BookingRequested
    kind: Kind
    cancel_after_s: float | None = None


def parse_mix(text: str) -> Mix:
    """``typical``, or kinds with their weights: ``confirmed=90,declined=10``. Raises :class:`UsageError`."""
    if text == "typical":
        return TYPICAL
    mix: dict[Kind, int] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        if name not in list(Kind) or not (weight or "1").isdecimal() or not 0 <= int(weight or 1) <= _MAX_WEIGHT:
            kinds = ", ".join(Kind)
            raise UsageError(f"a mix is `typical` or like confirmed=90,declined=10; the kinds are {kinds}")
        mix[Kind(name)] = int(weight or 1)
    if not any(mix.values()):
        raise UsageError("every weight of the mix is 0; give at least one kind a weight, as in confirmed=1")
    return mix


def generate(
    count: int, seed: int, lodgings: Sequence[Lodging], mix: Mix = ALL_CONFIRMED, *, first_day: date
) -> Iterator[GeneratedBooking]:
    """``count`` bookings at ``lodgings``, with stays from ``first_day`` on.

    Everything, the keys included, depends on the arguments only, and the first bookings do not depend on ``count``;
    publishing the same ones again therefore changes nothing. Raises :class:`UsageError` for an empty catalogue.
    """
    if not lodgings:
        raise UsageError("there is no property to book; load a catalogue with `saga seed`")
    recipe = blake2b(repr((seed, sorted(mix.items()), list(lodgings), first_day)).encode(), digest_size=6)
    return _Generator(recipe.digest(), lodgings, first_day).bookings(count, mix)


# --- how ------------------------------------------------------------------------------------------------------------

_FIGHT_DAYS = 28
"""The first days are for those who fight over rooms, so that they are in nobody else's way."""
_WINDOW_DAYS = 7
_WINDOWS = 104
_SCARCE = 3
"""So few rooms of a type that all of them are tried: the saga tries three offers before it gives up."""
_CANCEL_AFTER_S = 0.4
_TOKENS = {
    Kind.SLOW: "tok_slow_900",
    Kind.LOST: "tok_timeout_after_charge",
    # Long enough that the first to come still hold their rooms when the last one asks.
    Kind.CONTENDED: "tok_slow_600",
    Kind.CANCELLED: "tok_slow_1500",
}

_FIRST = (
    *("Ada", "Amara", "Anna", "Björn", "Carmen", "Chidi", "Diego", "Elif", "Emma", "Farid", "Grace", "Hana", "Ines"),
    *("Ivan", "Jonas", "Kenji", "Leila", "Liam", "Lucía", "Maja", "Mateo", "Nadia", "Noah", "Olga", "Omar", "Priya"),
    *("Quentin", "Rosa", "Sanjay", "Sofia", "Tariq", "Tomás", "Uma", "Viktor", "Wanjiru", "Yuki", "Zoë", "Zhang"),
)
_LAST = (
    *(
        "Achebe",
        "Andersson",
        "Bianchi",
        "Chen",
        "Costa",
        "Diallo",
        "Dubois",
        "Eriksen",
        "Fernández",
        "García",
        "Haddad",
    ),
    *("Horvat", "Ito", "Jansen", "Kaya", "Kim", "Kowalski", "Lopez", "Martin", "Müller", "Nguyen", "Novák", "Okafor"),
    *("Patel", "Popescu", "Rossi", "Santos", "Schmidt", "Silva", "Singh", "Smith", "Tanaka", "Walsh", "Yildiz", "Zhou"),
)
_ASCII = str.maketrans("öüéáíñë", "oueaine")
_HOSTS = ("example.com", "example.net", "example.org")
_BRANDS = ("visa", "visa", "visa", "mastercard", "mastercard", "amex", "discover", "jcb")
_DECLINES = ("insufficient_funds", "insufficient_funds", "do_not_honor", "expired_card", "fraud")
_CURRENCIES = ("EUR", "EUR", "EUR", "USD", "GBP")
_NIGHTS = (1, 1, 2, 2, 2, 3, 3, 4, 5, 7)


@dataclass(frozen=True, slots=True)
class _Stay:
    property_id: str
    room_type: str | None
    guests: int
    check_in: date
    nights: int


class _Generator:
    def __init__(self, recipe: bytes, lodgings: Sequence[Lodging], first_day: date) -> None:
        self._recipe = recipe.hex()
        # Letters only: digits beside the counter could look like a card number, and the saga would refuse that.
        self._label = "".join("abcdefghjkmnpqrstvwxyz"[byte % 22] for byte in recipe)
        self._first_day = first_day
        ordered = sorted(lodgings, key=lambda lodging: (lodging.property_id, lodging.room_type))
        self._places = [list(types) for _, types in groupby(ordered, key=lambda lodging: lodging.property_id)]
        dice = random.Random(f"{self._recipe}:places")
        dice.shuffle(self._places)
        least = max(_SCARCE, min(lodging.rooms for lodging in ordered))
        self._scarce = [lodging for lodging in ordered if lodging.rooms <= least]
        dice.shuffle(self._scarce)
        # How often a window of the smallest property can be given away with rooms to spare.
        self._depth = max(1, min(sum(lodging.rooms for lodging in types) for types in self._places) // 3)
        self._stays = 0
        self._fights = 0
        self._rivals_left = 0

    def bookings(self, count: int, mix: Mix) -> Iterator[GeneratedBooking]:
        total = sum(mix.values())
        given = dict.fromkeys(mix, 0)
        for number in range(1, count + 1):
            dice = random.Random(f"{self._recipe}:{number}")
            # Whoever lags most behind its share is next, so the shares are right after any number of bookings.
            kind = max(mix, key=lambda kind: mix[kind] * number - total * given[kind])
            if self._rivals_left:
                kind = Kind.CONTENDED  # rivals come together
            given[kind] += 1
            yield GeneratedBooking(
                f"bk-{self._label}-{number:05d}",
                self._request(dice, kind),
                kind,
                _CANCEL_AFTER_S if kind is Kind.CANCELLED else None,
            )

    def _request(self, dice: random.Random, kind: Kind) -> BookingRequested:
        stay = self._rival() if kind is Kind.CONTENDED else self._own(dice, kind)
        first, last = dice.choice(_FIRST), dice.choice(_LAST)
        token, last_four = _card(dice, kind)
        sources: tuple[Literal["web", "mobile", "api"], ...] = ("web", "mobile", "api")
        return BookingRequested(
            user_id=f"u-{dice.randrange(1_000_000):06d}",
            property_id=stay.property_id,
            check_in=stay.check_in,
            check_out=stay.check_in + timedelta(days=stay.nights),
            guests=stay.guests,
            room_type=stay.room_type,
            currency=dice.choice(_CURRENCIES),
            payment_token=token,
            card_last_four=last_four,
            email=f"{first}.{last}".lower().translate(_ASCII) + "@" + dice.choice(_HOSTS),
            guest_name=f"{first} {last}",
            source=dice.choices(sources, (55, 30, 15))[0],
        )

    def _own(self, dice: random.Random, kind: Kind) -> _Stay:
        """A stay in a window of a property that nobody else is given before all others have been given away."""
        number, self._stays = self._stays, self._stays + 1
        types = self._places[number % len(self._places)]
        turn = number // len(self._places)
        years, rest = divmod(turn, _WINDOWS * self._depth)
        layer, window = divmod(rest, _WINDOWS)
        nights = dice.choice(_NIGHTS)
        days = _FIGHT_DAYS + (years * _WINDOWS + window) * _WINDOW_DAYS + dice.randrange(_WINDOW_DAYS + 1 - nights)
        # Rooms for many are few: only the first in a window asks for one.
        guests = min(
            dice.choices((1, 2, 3, 4), (30, 50, 10, 10))[0] if layer == 0 else dice.choice((1, 2)),
            max(lodging.capacity for lodging in types),
        )
        fitting = [lodging for lodging in types if lodging.capacity >= guests and lodging.rooms > _SCARCE]
        wish = dice.choice(fitting).room_type if fitting and dice.random() < 0.35 else None
        stay = _Stay(types[0].property_id, wish, guests, self._first_day + timedelta(days=days), nights)
        if kind is Kind.SOLD_OUT:
            return replace(stay, guests=MAX_GUESTS, room_type=None)
        if kind is Kind.UNKNOWN:
            return replace(stay, property_id=f"nowhere-{dice.randrange(100):02d}", room_type=None)
        return stay

    def _rival(self) -> _Stay:
        """The same night in the same few rooms, for twice as many as there are."""
        if not self._rivals_left:
            self._fights += 1
            self._rivals_left = 2 * self._fought_over().rooms
        self._rivals_left -= 1
        lodging = self._fought_over()
        day = (self._fights - 1) // len(self._scarce) % _FIGHT_DAYS
        return _Stay(lodging.property_id, lodging.room_type, 1, self._first_day + timedelta(days=day), 1)

    def _fought_over(self) -> Lodging:
        return self._scarce[(self._fights - 1) % len(self._scarce)]


def _card(dice: random.Random, kind: Kind) -> tuple[str, str | None]:
    """A test token of the simulated provider, and the last four digits where the token fixes them."""
    if kind is Kind.DECLINED:
        return f"tok_declined_{dice.choice(_DECLINES)}", None
    if kind in _TOKENS:
        return _TOKENS[kind], None
    last_four = f"{dice.randrange(10_000):04d}"
    return f"tok_{dice.choice(_BRANDS)}_{last_four}", last_four
