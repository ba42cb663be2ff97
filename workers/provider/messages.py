"""Bodies of the payment provider's HTTP interface. Amounts are integer minor units of an ISO 4217 currency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,256}$")]
ChargeId = Annotated[str, StringConstraints(pattern=r"^ch_[0-9a-f]{24}$")]


class Metadata(BaseModel):
    """What the merchant attaches to a charge."""

    model_config = ConfigDict(frozen=True)

    booking_id: str = Field(min_length=1, max_length=128)


class ChargeRequest(BaseModel):
    """``POST /v1/charges`` with an ``Idempotency-Key`` header: take ``amount`` from ``source``.

    ``source`` is a token, never a card number; see :mod:`workers.provider.tokens` for the test tokens.
    """

    model_config = ConfigDict(frozen=True)

    amount: int = Field(gt=0, le=10**11)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    source: Annotated[str, StringConstraints(pattern=r"^tok_[A-Za-z0-9_]{1,124}$")]
    metadata: Metadata


class RefundRequest(BaseModel):
    """``POST /v1/refunds``: give a captured charge back in full. Asking again returns the same refund."""

    model_config = ConfigDict(frozen=True)

    charge: ChargeId
    reason: str = Field("", max_length=200)


class VoidRequest(BaseModel):
    """``POST /v1/voids``: make sure that the charge with this key takes no money, whether or not it has arrived."""

    model_config = ConfigDict(frozen=True)

    idempotency_key: IdempotencyKey
    booking_id: str | None = Field(None, min_length=1, max_length=128)
    reason: str = Field("", max_length=200)


class Card(BaseModel):
    """What may be known of a card."""

    model_config = ConfigDict(frozen=True)

    brand: str
    last_four: str


class Charge(BaseModel):
    """A charge. ``declined`` is an answer, not an error: it comes with 201 and a ``decline_code``.

    ``created`` is seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    object: Literal["charge"] = "charge"
    id: str
    status: Literal["captured", "declined", "voided"]
    idempotency_key: str
    amount: int
    currency: str
    amount_refunded: int
    card: Card | None = None
    decline_code: str | None = None
    refund: str | None = None
    metadata: Metadata | None = None
    created: float


class ChargeList(BaseModel):
    """``GET /v1/charges?idempotency_key=...``: one charge or none."""

    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: tuple[Charge, ...]


class Refund(BaseModel):
    """Money given back."""

    model_config = ConfigDict(frozen=True)

    object: Literal["refund"] = "refund"
    id: str
    charge: str
    amount: int
    currency: str


class Void(BaseModel):
    """What voiding a key did.

    ``refunded``: the charge was captured and has been given back in full. ``voided``: it had not arrived and never
    will. ``declined``: it had been declined, so there was nothing to undo.
    """

    model_config = ConfigDict(frozen=True)

    object: Literal["void"] = "void"
    idempotency_key: str
    status: Literal["refunded", "voided", "declined"]
    refund: Refund | None = None
