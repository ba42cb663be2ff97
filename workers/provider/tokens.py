"""Test tokens: what a charge with a given ``source`` does, so that a test can drive every fault per booking. Pure.

=================================  =====================================================================
``tok_visa``, ``tok_mastercard``   captured; also amex, discover, diners, jcb, unionpay
``tok_visa_1881``                  captured, from a card with these last four digits
``tok_declined_<code>``            declined with ``<code>``: insufficient_funds, expired_card, do_not_honor, fraud, ...
``tok_slow_<ms>``                  captured, answered after so many milliseconds
``tok_timeout_after_charge``       captured, then never answered; asked again with the same key: answered
``tok_timeout_before_charge_<n>``  the first n attempts (1 without a number) are neither captured nor answered
``tok_unavailable_<n>``            503 for the first n attempts (every attempt without a number)
``tok_refund_unavailable_<n>``     captured; 503 for the first n refunds and voids (every one without a number)
=================================  =====================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LAST_FOUR = {
    "visa": "4242",
    "mastercard": "4444",
    "amex": "0005",
    "discover": "1117",
    "diners": "5904",
    "jcb": "0505",
    "unionpay": "0000",
}
_CARD = re.compile(rf"tok_({'|'.join(_LAST_FOUR)})(?:_(\d{{4}}))?")
_DECLINED = re.compile(r"tok_declined_([a-z_]{1,40})")
_SLOW = re.compile(r"tok_slow_(\d{1,5})")
_BEFORE = re.compile(r"tok_timeout_before_charge(?:_(\d{1,4}))?")
_UNAVAILABLE = re.compile(r"tok_unavailable(?:_(\d{1,4}))?")
_NO_REFUND = re.compile(r"tok_refund_unavailable(?:_(\d{1,4}))?")
_ALWAYS = 1_000_000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a charge does. ``decline_code`` is empty for a capture; counts are attempts with the same key."""

    brand: str = "visa"
    last_four: str = "4242"
    decline_code: str = ""
    delay_ms: int = 0
    silent_after_capture: bool = False
    silent_attempts: int = 0
    unavailable_attempts: int = 0
    unavailable_undos: int = 0


def behaviour_of(token: str) -> Behaviour | None:
    """What a charge from ``token`` does; None for a token this provider never issued."""
    if match := _CARD.fullmatch(token):
        return Behaviour(brand=match[1], last_four=match[2] or _LAST_FOUR[match[1]])
    if match := _DECLINED.fullmatch(token):
        return Behaviour(last_four="0002", decline_code=match[1])
    if match := _SLOW.fullmatch(token):
        return Behaviour(delay_ms=int(match[1]))
    if token == "tok_timeout_after_charge":  # noqa: S105  # a test token, not a password
        return Behaviour(silent_after_capture=True)
    if match := _BEFORE.fullmatch(token):
        return Behaviour(silent_attempts=int(match[1] or 1))
    if match := _UNAVAILABLE.fullmatch(token):
        return Behaviour(unavailable_attempts=int(match[1] or _ALWAYS))
    if match := _NO_REFUND.fullmatch(token):
        return Behaviour(unavailable_undos=int(match[1] or _ALWAYS))
    return None
