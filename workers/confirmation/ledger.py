"""Room-nights as the database has them: whole batches of sales and returns, all nights of a stay or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from saga.database import Connection, Schemas, Statements
from saga.database.rows import as_rows
from schemas.commands import ConfirmBooking, RestoreInventory
from workers.confirmation.codes import new_code

_ROUNDS = 5
"""A code that is taken, or nights that only a loser held, make another round; after so many it stays refused."""


@dataclass(frozen=True, slots=True)
class Sale:
    """A stay to be sold. ``command_id`` is its idempotency key."""

    command_id: str
    body: ConfirmBooking


@dataclass(frozen=True, slots=True)
class Issued:
    """Every night is sold to the booking."""

    code: str


@dataclass(frozen=True, slots=True)
class NotSold:
    """No night is. ``sold``: somebody else has one; ``undone``: the undo came first; ``invalid``: no such room."""

    reason: Literal["sold", "undone", "invalid"]


Decision = Issued | NotSold


class InventoryLedger:
    """Runs in the transaction of whoever calls it; knows nothing of messages and spans."""

    def __init__(self, schemas: Schemas, code: Callable[[], str] = new_code) -> None:
        self._sql = Statements.load("workers.confirmation", "sql/inventory.sql", schemas)
        self.confirming = self._sql["confirm"]
        self._confirm = f"WITH {self.confirming} SELECT command_id, nights FROM got"  # noqa: S608  # our own file's
        self.new_code = code

    async def confirm(self, connection: Connection, sales: Sequence[Sale]) -> Mapping[str, Decision]:
        """Sell what can be sold; what became of each, by command id. First come, first served.

        Asking again under the same command id gives the same answer, the code included.
        """
        decisions, losers = await self._sell(connection, sales)
        for _ in range(_ROUNDS):
            if not losers:
                break
            # Nights that one loser gave back may be all that another one lacked: try each by itself, in order.
            left: list[Sale] = []
            for sale in losers:
                decided, lost = await self._sell(connection, [sale])
                decisions |= decided
                left += lost
            if len(left) == len(losers):
                break
            losers = left
        if losers:
            await connection.execute(self._sql["refuse"], *_columns(losers))
            decisions |= await self._decided(connection, losers)
        return decisions

    async def restore(self, connection: Connection, undos: Sequence[RestoreInventory]) -> Mapping[str, int]:
        """Nothing is sold under the undone commands from now on, or ever will be; nights given back, by booking id."""
        # Two statements: the first waits for a confirmation that is being committed, and only the second one sees it.
        await connection.execute(
            self._sql["bury"],
            [undo.undoes for undo in undos],
            [undo.booking_id for undo in undos],
            [undo.reservation_id for undo in undos],
        )
        rows = await connection.fetch(self._sql["restore"], [undo.booking_id for undo in undos])
        return {row["booking_id"]: row["nights"] for row in rows}

    async def _sell(self, connection: Connection, sales: Sequence[Sale]) -> tuple[dict[str, Decision], list[Sale]]:
        """Decisions by command id, and those who are left without: what they had got is taken back."""
        codes = [self.new_code() for _ in sales]
        rows = await connection.fetch(self._confirm, sale_rows(sales, codes))
        got: dict[str, int] = {row["command_id"]: row["nights"] for row in rows}
        decisions: dict[str, Decision] = {}
        short: list[Sale] = []
        unclaimed: list[Sale] = []
        for sale, code in zip(sales, codes, strict=True):
            nights = got.get(sale.command_id)
            if nights is None:
                unclaimed.append(sale)
            elif nights == (sale.body.check_out - sale.body.check_in).days:
                decisions[sale.command_id] = Issued(code)
            else:
                short.append(sale)
        if short:
            await connection.execute(
                self._sql["take_back"],
                [sale.body.booking_id for sale in short],
                [sale.body.property_id for sale in short],
                [sale.body.room_id for sale in short],
                [sale.body.check_in for sale in short],
                [sale.body.check_out for sale in short],
                [sale.command_id for sale in short],
            )
        if unclaimed:
            # Decided before; or the code was taken, or the stay is empty, and then nothing is decided yet.
            decisions |= await self._decided(connection, unclaimed)
        return decisions, [sale for sale in sales if sale.command_id not in decisions]

    async def _decided(self, connection: Connection, sales: Sequence[Sale]) -> dict[str, Decision]:
        rows = await connection.fetch(self._sql["decided"], [sale.command_id for sale in sales])
        decided: dict[str, Decision] = {}
        for command_id, state, code, reason in rows:
            if state == "issued":
                decided[command_id] = Issued(code)
            else:
                decided[command_id] = NotSold("undone" if state == "restored" else reason)
        return decided


def sale_rows(sales: Sequence[Sale], codes: Sequence[str]) -> str:
    """The parameter of the statement that sells, each sale with the code it would get; first come, first served."""
    return as_rows(
        {
            "n": n,
            "command_id": sale.command_id,
            "booking_id": sale.body.booking_id,
            "reservation_id": sale.body.reservation_id,
            "property_id": sale.body.property_id,
            "room_id": sale.body.room_id,
            "check_in": sale.body.check_in,
            "check_out": sale.body.check_out,
            "guests": sale.body.guests,
            "code": code,
        }
        for n, (sale, code) in enumerate(zip(sales, codes, strict=True))
    )


def _columns(sales: Sequence[Sale]) -> tuple[list[object], ...]:
    bodies = [sale.body for sale in sales]
    return (
        [sale.command_id for sale in sales],
        [body.booking_id for body in bodies],
        [body.reservation_id for body in bodies],
        [body.property_id for body in bodies],
        [body.room_id for body in bodies],
        [body.check_in for body in bodies],
        [body.check_out for body in bodies],
        [body.guests for body in bodies],
    )
