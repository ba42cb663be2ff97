"""Our own record of charges and refunds, written in the inbox's own statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saga.database import Schemas, Statements
from saga.database.rows import as_rows
from saga.messaging.job import Write
from schemas.commands import ProcessPayment, RefundPayment


@dataclass(frozen=True, slots=True)
class ChargeEntry:
    """What came of a charge."""

    command_id: str
    command: ProcessPayment
    state: Literal["captured", "declined", "rejected", "unknown"]
    transaction_id: str | None = None
    card_last_four: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UndoEntry:
    """What came of an undo; ``refund_id`` is None where nothing had been captured."""

    command_id: str
    command: RefundPayment
    refunded_minor: int = 0
    currency: str = ""
    refund_id: str | None = None
    transaction_id: str | None = None


class PaymentLedger:
    """How the ``payment`` schema is written; writing an entry again changes nothing."""

    def __init__(self, schemas: Schemas) -> None:
        self._sql = Statements.load("workers.payment", "sql/payments.sql", schemas)

    def writes(self, charges: Sequence[ChargeEntry], undos: Sequence[UndoEntry]) -> Sequence[Write]:
        """The writes of these entries, which are about different commands."""
        writes: list[Write] = []
        if charges:
            writes.append(Write(self._sql["charged"], as_rows(map(_charge_row, charges))))
        if undos:
            writes.append(Write(self._sql["undo"], as_rows(map(_undo_row, undos))))
        return writes


def _charge_row(entry: ChargeEntry) -> dict[str, object]:
    return {
        "command_id": entry.command_id,
        "booking_id": entry.command.booking_id,
        "reservation_id": entry.command.reservation_id,
        "state": entry.state,
        "amount_minor": entry.command.amount_minor,
        "currency": entry.command.currency,
        "transaction_id": entry.transaction_id,
        "card_last_four": entry.card_last_four,
        "reason": entry.reason,
    }


def _undo_row(entry: UndoEntry) -> dict[str, object]:
    refunded = entry.refund_id is not None
    return {
        "command_id": entry.command.undoes,
        "undo_command_id": entry.command_id,
        "booking_id": entry.command.booking_id,
        "reservation_id": entry.command.reservation_id,
        "state": "refunded" if refunded else "voided",
        "amount_minor": entry.refunded_minor if refunded else entry.command.amount_minor,
        "currency": entry.currency or entry.command.currency,
        "transaction_id": entry.transaction_id,
        "refund_id": entry.refund_id,
        "refunded_minor": entry.refunded_minor,
    }
