"""Jobs as workers get them, and carrying them out as the runtime does: one poll, one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from saga.booking import reservation_of
from saga.database import Connection
from saga.engine.envelope import Envelope, SagaHeaders
from saga.messaging.job import BatchHandler, CallHandler, Job, Result, Write
from saga.telemetry.meters import Meters
from saga.telemetry.spans import SpanContext
from schemas import commands, events
from schemas.base import Message

CHECK_IN = date(2027, 3, 1)
CHECK_OUT = date(2027, 3, 4)
PARENT = SpanContext(0xABC, 0xDEF)


def job(body: Message, command_id: str, *, attempt: int = 1, step: str = "step") -> Job[Any]:
    """The job a command (or event) with this id makes; its key is the body's booking."""
    headers = SagaHeaders(1, step, attempt, command_id, PARENT)
    key = str(body.booking_id)  # type: ignore[attr-defined]  # every command and event has one
    return Job(Envelope(command_id, key, body, 1, "/booking/orchestrator", PARENT.child(0x5), saga=headers), body, 1)


async def carry_out(pool: asyncpg.Pool[asyncpg.Record], handler: BatchHandler, *jobs: Job[Any]) -> list[Result]:
    """One poll of ``jobs``, committed."""
    async with pool.acquire() as connection, connection.transaction():
        results = list(await handler.carry_out(connection, jobs))
    _told(results)
    return results


async def call(pool: asyncpg.Pool[asyncpg.Record], handler: CallHandler, one: Job[Any]) -> Result:
    """One call and its commit."""
    result = await handler.call(one)
    async with pool.acquire() as connection, connection.transaction():
        await write(connection, handler.writes([(one, result)]))
    _told([result])
    return result


async def write(connection: Connection, writes: Sequence[Write]) -> None:
    """Each write as a statement of its own; :class:`saga.messaging.inbox.Inbox` makes them part of its own."""
    for one in writes:
        await connection.execute(one.sql, one.rows)


def _told(results: Sequence[Result]) -> None:
    for result in results:
        if result.tell is not None:
            result.tell()


class Measured:
    """Meters whose values can be read back."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader])
        self.meters = Meters(self._provider.get_meter("tests"))

    def counts(self, name: str, by: str) -> dict[Any, float]:
        """The sums (or for histograms the counts) of a metric, by one of its attributes."""
        data = self._reader.get_metrics_data()
        counted: dict[Any, float] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name != name:
                        continue
                    for point in metric.data.data_points:
                        value = (point.attributes or {}).get(by)
                        counted[value] = counted.get(value, 0) + float(
                            getattr(point, "value", getattr(point, "count", 0))
                        )
        return counted


# --- messages ---------------------------------------------------------------------------------------------------------


def lock_id(booking: str, number: int = 1) -> str:
    """The id of a booking's n-th lock command."""
    return f"{booking}.acquire_lock.{number}"


def acquire(booking: str, room: str = "101", number: int = 1, **changes: Any) -> Job[Any]:
    """``AcquireLock`` of a room for three nights from 1 March."""
    fields: dict[str, Any] = {
        "booking_id": booking,
        "reservation_id": reservation_of(lock_id(booking, number)),
        "property_id": "hotel-1",
        "room_id": room,
        "check_in": CHECK_IN,
        "check_out": CHECK_OUT,
    }
    return job(commands.AcquireLock(**{**fields, **changes}), lock_id(booking, number), step="acquire_lock")


def release(booking: str, number: int = 1) -> Job[Any]:
    """The undo of :func:`acquire`."""
    undoes = lock_id(booking, number)
    body = commands.ReleaseLock(booking_id=booking, reservation_id=reservation_of(undoes), undoes=undoes)
    return job(body, f"{undoes}.undo", step="acquire_lock")


def confirmed(booking: str, number: int = 1, **changes: Any) -> Job[Any]:
    """``BookingConfirmed`` for the booking's n-th lock."""
    body = events.BookingConfirmed(
        **_outcome(booking),
        confirmation_code="BK-7F3K9QXZ",
        reservation_id=reservation_of(lock_id(booking, number)),
        room_id="101",
        room_type="double",
        total_minor=42_000,
        currency="EUR",
    ).model_copy(update=changes)
    return job(body, f"{booking}.confirmed", step="announce")


def failed(booking: str, error_type: str = "payment_declined") -> Job[Any]:
    """``BookingFailed``."""
    body = events.BookingFailed(
        **_outcome(booking), status="FAILED", error_type=error_type, reason="it was declined", compensated=True
    )
    return job(body, f"{booking}.failed", step="announce")


def cancelled(booking: str) -> Job[Any]:
    """``BookingCancelled``."""
    body = events.BookingCancelled(**_outcome(booking), reason="requested", compensated=True)
    return job(body, f"{booking}.cancelled", step="announce")


def confirm(booking: str, room: str = "101", **changes: Any) -> Job[Any]:
    """``ConfirmBooking`` for three nights from 1 March."""
    fields: dict[str, Any] = {
        "booking_id": booking,
        "reservation_id": reservation_of(lock_id(booking)),
        "property_id": "hotel-1",
        "room_id": room,
        "check_in": CHECK_IN,
        "check_out": CHECK_OUT,
        "guests": 2,
    }
    return job(commands.ConfirmBooking(**{**fields, **changes}), f"{booking}.confirm.1", step="confirm")


def restore(booking: str) -> Job[Any]:
    """The undo of :func:`confirm`."""
    undoes = f"{booking}.confirm.1"
    reservation = reservation_of(lock_id(booking))
    body = commands.RestoreInventory(booking_id=booking, reservation_id=reservation, undoes=undoes)
    return job(body, f"{undoes}.undo", step="confirm")


def _outcome(booking: str) -> dict[str, Any]:
    return {
        "booking_id": booking,
        "user_id": "u-7",
        "property_id": "hotel-1",
        "check_in": CHECK_IN,
        "check_out": CHECK_OUT,
        "guests": 2,
        "email": "ada@example.org",
        "guest_name": "Ada",
        "source": "web",
    }
