"""Confirmation codes: short enough to read out at a desk, and without letters that look like digits."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_LENGTH = 8


def new_code() -> str:
    """A code such as ``BK-7F3K9QXZ``: 40 random bits, so it cannot be guessed from the booking. The database sees to it
    that no two bookings have the same."""
    bits = secrets.randbits(5 * _LENGTH)
    return "BK-" + "".join(_ALPHABET[bits >> shift & 31] for shift in range(5 * _LENGTH - 5, -1, -5))
