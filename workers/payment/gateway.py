"""The seam to whoever takes the money: :class:`PaymentProvider` and its typed answers.

**A real provider is one class away.** Write a class with the three methods of :class:`PaymentProvider` and give it to
the payment worker instead of :class:`workers.payment.http_provider.HttpPaymentProvider`. What each has to promise:

- ``charge`` sends our idempotency key as the provider's own (Stripe, Adyen and Checkout.com have one), so that the same
  order never takes money twice. When an answer is lost it asks (``find``) before it sends again, and when it cannot
  find out it returns :class:`Unknown`; it never guesses.
- ``find`` looks a charge up by that key. A provider that cannot be asked by key is given the key as metadata or as the
  merchant reference, and is searched by that.
- ``undo`` leaves no money taken under the key, whatever has happened: refund what was captured, and make sure that a
  charge still under way is refused or refunded when it arrives. A provider without "void before charge" needs a row in
  the payment schema that ``charge`` consults, and a refund when the charge turns up after all.

Card numbers never come near this seam: orders hold the provider's token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Outcome_co = TypeVar("Outcome_co", covariant=True)


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """Take ``amount_minor`` (minor units of ``currency``) from ``token``, once per ``idempotency_key``."""

    idempotency_key: str
    booking_id: str
    amount_minor: int
    currency: str
    token: str


@dataclass(frozen=True, slots=True)
class Captured:
    """The money is taken."""

    transaction_id: str
    amount_minor: int
    currency: str
    card_brand: str
    card_last_four: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The card's bank, or the provider, said no; nothing was taken. ``reason`` is low-cardinality: ``expired_card``."""

    reason: str
    transaction_id: str = ""
    card_last_four: str = ""


@dataclass(frozen=True, slots=True)
class Voided:
    """An undo with this key came first: the charge is refused, now and for ever; nothing was taken."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider does not accept the order as it stands (unknown token, key reused, ...); nothing was taken."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether money was taken: a request was sent and neither it nor the query by key was answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money was taken and has been given back in full."""

    refund_id: str
    transaction_id: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class NothingCaptured:
    """No money was taken under the key, and none will be. ``void_recorded``: the charge had not arrived."""

    void_recorded: bool


ChargeOutcome = Captured | Declined | Voided | Rejected | Unknown
UndoOutcome = Refunded | NothingCaptured
Found = Captured | Declined | Voided | Refunded


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt that did not settle it; another follows after ``delay_s``. ``at_ns``: nanoseconds since the epoch."""

    attempt: int
    reason: str
    delay_s: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class Answered(Generic[Outcome_co]):
    """An outcome and what it took: attempts made, milliseconds spent waiting for the provider (pauses left out)."""

    outcome: Outcome_co
    attempts: int
    gateway_latency_ms: float


OnRetry = Callable[[Retry], None]


def ignore_retry(retry: Retry) -> None:
    """For callers that do not report retries."""


class PaymentProvider(Protocol):
    """Somebody who takes money and gives it back; see the module for what an implementation promises."""

    async def charge(self, order: ChargeOrder, on_retry: OnRetry = ignore_retry) -> Answered[ChargeOutcome]:
        """Take the money once.

        Raises :class:`saga.errors.TransientFailure` when the provider is away and certainly took nothing.
        """
        ...

    async def find(self, idempotency_key: str, on_retry: OnRetry = ignore_retry) -> Answered[Found | None]:
        """What became of the charge with this key; None if the provider has never seen it.

        Raises :class:`saga.errors.TransientFailure` when the provider does not answer.
        """
        ...

    async def undo(
        self, idempotency_key: str, *, booking_id: str, reason: str, on_retry: OnRetry = ignore_retry
    ) -> Answered[UndoOutcome]:
        """Leave no money taken under this key: refund, or void before the charge arrives. Safe to repeat.

        Raises :class:`saga.errors.TransientFailure` when the provider does not answer.
        """
        ...
