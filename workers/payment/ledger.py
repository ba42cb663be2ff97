"""Our own record of charges and refunds, written in groups with the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saga.database import Connection, Schemas, Statements
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
    """Writes the ``payment`` schema."""

    def __init__(self, schemas: Schemas) -> None:
        self._sql = Statements.load("workers.payment", "sql/payments.sql", schemas)

    async def write(self, connection: Connection, charges: Sequence[ChargeEntry], undos: Sequence[UndoEntry]) -> None:
        """Write entries in the open transaction; writing one again changes nothing."""
        if charges:
            await connection.execute(
                self._sql["charged"],
                [entry.command_id for entry in charges],
                [entry.command.booking_id for entry in charges],
                [entry.command.reservation_id for entry in charges],
                [entry.state for entry in charges],
                [entry.command.amount_minor for entry in charges],
                [entry.command.currency for entry in charges],
                [entry.transaction_id for entry in charges],
                [entry.card_last_four for entry in charges],
                [entry.reason for entry in charges],
            )
        if undos:
            await connection.execute(
                self._sql["undo"],
                [entry.command.undoes for entry in undos],
                [entry.command_id for entry in undos],
                [entry.command.booking_id for entry in undos],
                [entry.command.reservation_id for entry in undos],
                ["voided" if entry.refund_id is None else "refunded" for entry in undos],
                [entry.command.amount_minor if entry.refund_id is None else entry.refunded_minor for entry in undos],
                [entry.currency or entry.command.currency for entry in undos],
                [entry.transaction_id for entry in undos],
                [entry.refund_id for entry in undos],
                [entry.refunded_minor for entry in undos],
            )
