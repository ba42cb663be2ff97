"""The confirmation worker: sells the room-nights of a poll's bookings in one statement, and gives nights back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saga.database import Connection, Schemas
from saga.messaging.job import Expectation, Job, Report, Result
from schemas.base import Message
from schemas.commands import ConfirmBooking, RestoreInventory
from schemas.replies import ConfirmationIssued, ConfirmationRefused, InventoryRestored
from workers import attributes as at
from workers.batches import in_runs
from workers.confirmation.ledger import Decision, InventoryLedger, Issued, Sale, sale_rows

_CONFIRM = "booking.confirm"
_RESTORE = "booking.restore_inventory"


class ConfirmationHandler:
    """See :class:`saga.messaging.job.BatchHandler`."""

    handles: frozenset[type[Message]] = frozenset({ConfirmBooking, RestoreInventory})

    def __init__(self, schemas: Schemas) -> None:
        self._ledger = InventoryLedger(schemas)

    def expect(self, jobs: Sequence[Job[Any]]) -> Expectation | None:
        """What is locked can nearly always be sold."""
        if not all(isinstance(job.body, ConfirmBooking) for job in jobs):
            return None
        sales = [Sale(job.id, job.body) for job in jobs]
        codes = [self._ledger.new_code() for _ in sales]
        results = [_decided(sale.body, Issued(code)) for sale, code in zip(sales, codes, strict=True)]
        return Expectation(self._ledger.confirming, sale_rows(sales, codes), results)

    async def carry_out(self, connection: Connection, jobs: Sequence[Job[Any]]) -> Sequence[Result]:
        """See :meth:`saga.messaging.job.BatchHandler.carry_out`."""
        results: dict[str, Result] = {}
        for run in in_runs(jobs):
            if undos := [job for job in run if isinstance(job.body, RestoreInventory)]:
                nights = await self._ledger.restore(connection, [job.body for job in undos])
                results |= {job.id: _restored(job.body, nights.get(job.body.booking_id, 0)) for job in undos}
            if sales := [Sale(job.id, job.body) for job in run if isinstance(job.body, ConfirmBooking)]:
                decisions = await self._ledger.confirm(connection, sales)
                results |= {sale.command_id: _decided(sale.body, decisions[sale.command_id]) for sale in sales}
        return [results[job.id] for job in jobs]


def _decided(asked: ConfirmBooking, decision: Decision) -> Result:
    if isinstance(decision, Issued):
        told = {at.RESERVATION_ID: asked.reservation_id, at.CONFIRMATION_CODE: decision.code}
        reply = ConfirmationIssued(booking_id=asked.booking_id, confirmation_code=decision.code)
        return Result(reply, Report(_CONFIRM, told))
    told = {at.RESERVATION_ID: asked.reservation_id, at.REFUSAL_REASON: decision.reason}
    refused = ConfirmationRefused(booking_id=asked.booking_id, reason=decision.reason)
    if decision.reason == "undone":
        return Result(refused, Report(_CONFIRM, told))
    error = f"Confirmation refused: {decision.reason}"
    return Result(refused, Report(_CONFIRM, told, error=error, error_type="confirmation_refused"))


def _restored(undo: RestoreInventory, nights: int) -> Result:
    reply = InventoryRestored(booking_id=undo.booking_id, nights=nights)
    return Result(reply, Report(_RESTORE, {at.RESERVATION_ID: undo.reservation_id, at.NIGHTS_RESTORED: nights}))
