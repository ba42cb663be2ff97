"""Which bookings a demonstration plays: so many of each kind that everything that can happen is seen once at least."""

from __future__ import annotations

from saga.errors import UsageError
from saga.generate import Kind, Mix

LEAST = 10
_RIVALS = 6
"""Twice the rooms of a scarce type: with fewer nobody would be refused."""


def cast(bookings: int) -> Mix:
    """How many of each kind. ``slow`` ones are those whose room the desk sells while they pay: their confirmation is
    refused after the payment. Raises :class:`UsageError` for fewer than ten."""
    if bookings < LEAST:
        raise UsageError(f"a demonstration needs at least {LEAST} bookings to show every outcome; got {bookings}")
    mix = {
        Kind.CANCELLED: 1,
        Kind.SLOW: max(1, bookings // 15),
        Kind.DECLINED: max(1, bookings // 8),
        Kind.CONTENDED: _RIVALS if bookings >= 2 * _RIVALS else 0,
        Kind.LOST: 1,
    }
    return {kind: count for kind, count in {**mix, Kind.CONFIRMED: bookings - sum(mix.values())}.items() if count}
