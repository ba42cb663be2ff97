"""Play a demonstration on running services: publish, cancel one, sell rooms at the desk, wait for the end, audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.audit import AuditOptions, AuditReport, audit
from saga.booking import Booking
from saga.cli.waiting import follow
from saga.database import Schemas, Statements
from saga.demo.cast import cast
from saga.desk import load_desk
from saga.engine.state import Status
from saga.errors import SagaError
from saga.generate import GeneratedBooking, Kind, generate
from saga.publishing import BookingPublisher, Request
from saga.stacks.base import Progress
from saga.store.reading import Reader, Stored, open_reader
from saga.traces.model import Trace
from saga.traces.reader import PostgresTraceReader
from schemas.requests import BookingCancellationRequested

if TYPE_CHECKING:
    from saga.settings import Settings

_END_S = 90.0
_LETTERS_S = 15.0
_TRACES_S = 20.0
_DESK_S = 20.0


@dataclass(frozen=True, slots=True)
class Played:
    """What a demonstration came to. ``confirmed_trace`` and ``rolled_back_trace`` are one of each, with booking ids."""

    bookings: int
    statuses: dict[Status, int]
    reasons: dict[str, int]
    compensated: int
    duration_s: float
    letters: int
    report: AuditReport
    confirmed_trace: tuple[str, Trace] | None
    rolled_back_trace: tuple[str, Trace] | None


async def play(settings: Settings, bookings: int, seed: int, progress: Progress) -> Played:
    """Play ``bookings`` of the seeded catalogue. Raises :class:`SagaError` when some never end."""
    async with open_reader(settings, role="demo") as reader:
        lodgings = await reader.lodgings()
        first_day = date.today() + timedelta(days=30)  # noqa: DTZ011 - a hotel's calendar day, not an instant
        generated = list(generate(bookings, seed, lodgings, cast(bookings), first_day=first_day))
        keys = [booking.key for booking in generated]
        progress(f"publishing {bookings} bookings")
        started = time.monotonic()
        async with BookingPublisher(settings) as publisher:
            await publisher.publish([Request(booking.key, booking.request) for booking in generated])
            await asyncio.gather(
                *(_cancel(publisher, booking) for booking in generated if booking.cancel_after_s is not None),
                *(_sell_its_room(settings, reader, booking) for booking in generated if booking.kind is Kind.SLOW),
            )
        progress("waiting for every booking to end")
        ended = await follow(reader, keys, timeout_s=_END_S)
        duration_s = time.monotonic() - started
        hanging = [key for key in keys if key not in ended or ended[key].status.live]
        if hanging:
            raise SagaError(f"{len(hanging)} bookings have not ended after {_END_S:.0f} s, such as {hanging[0]}")
        stored = {key: await _stored(reader, key) for key in keys}
        progress("waiting for the e-mails")
        letters = await _letters(settings, reader, [k for k in keys if ended[k].status is not Status.NEEDS_ATTENTION])
        progress("auditing")
        report = await _audit(settings)
        statuses = {status: sum(1 for one in ended.values() if one.status is status) for status in Status}
        reasons: dict[str, int] = {}
        for one in ended.values():
            if one.error_type:
                reasons[one.error_type] = reasons.get(one.error_type, 0) + 1
        return Played(
            bookings=bookings,
            statuses={status: count for status, count in statuses.items() if count},
            reasons=reasons,
            compensated=sum(1 for one in stored.values() if one.state.rollback is not None),
            duration_s=duration_s,
            letters=letters,
            report=report,
            confirmed_trace=await _trace_of(settings, reader, generated, stored, rolled_back=False),
            rolled_back_trace=await _trace_of(settings, reader, generated, stored, rolled_back=True),
        )


async def _stored(reader: Reader, key: str) -> Stored:
    found = await reader.find(key)
    assert found is not None, "it has just been seen"
    return found


async def _cancel(publisher: BookingPublisher, booking: GeneratedBooking) -> None:
    await asyncio.sleep(booking.cancel_after_s or 0)
    await publisher.publish([Request(booking.key, BookingCancellationRequested(reason="plans changed"))])


async def _sell_its_room(settings: Settings, reader: Reader, booking: GeneratedBooking) -> None:
    """Sell the booking's room to somebody who walks in, while the booking is being paid."""
    deadline = time.monotonic() + _DESK_S
    while time.monotonic() < deadline:
        found = await reader.find(booking.key)
        pending = found.state.pending if found is not None else None
        if found is not None and pending is not None and pending.step == "process_payment":
            details: Booking = found.definition.decode(found.state)
            with suppress_instrumentation():
                await load_desk()(
                    reader.pool,
                    Schemas(settings.schema_prefix),
                    property_id=details.property_id,
                    room_id=details.chosen.room_id,
                    check_in=details.check_in,
                    check_out=details.check_out,
                )
            return
        if found is not None and not found.summary.status.live:
            return
        await asyncio.sleep(0.03)


async def _letters(settings: Settings, reader: Reader, keys: Sequence[str]) -> int:
    """How many e-mails have arrived once there is one for each booking, or after a while."""
    sql = Statements.load("saga.demo", "sql/demo.sql", Schemas(settings.schema_prefix))
    deadline = time.monotonic() + _LETTERS_S
    while True:
        count: int = await reader.pool.fetchval(sql["letters"], list(keys))
        if count >= len(keys) or time.monotonic() >= deadline:
            return count
        await asyncio.sleep(0.1)


async def _audit(settings: Settings) -> AuditReport:
    """Audit, giving the last spans time to arrive: they leave their processes once a second."""
    options = AuditOptions(min_confirmed=1, min_compensated=1, wait_s=5.0)
    deadline = time.monotonic() + _TRACES_S
    while True:
        report = await audit(settings, options)
        settled = report.clean and not report.traces_incomplete and not report.traces_unavailable
        if settled or time.monotonic() >= deadline:
            return report
        await asyncio.sleep(0.5)


async def _trace_of(
    settings: Settings,
    reader: Reader,
    generated: Sequence[GeneratedBooking],
    stored: dict[str, Stored],
    *,
    rolled_back: bool,
) -> tuple[str, Trace] | None:
    """One booking's trace: a plain confirmed one, or the one with the longest rollback."""

    def undone(key: str) -> int:
        rollback = stored[key].state.rollback
        return len(rollback.done) if rollback is not None else 0

    if rolled_back:
        key = max((booking.key for booking in generated), key=undone)
        if not undone(key):
            return None
    else:
        plain = [b.key for b in generated if stored[b.key].summary.status is Status.CONFIRMED and not undone(b.key)]
        if not plain:
            return None
        key = plain[0]
    trace = stored[key].state.trace
    publisher = trace.publisher()
    traces = PostgresTraceReader(reader.pool, settings)
    found = await traces.trace(int(trace.trace_id, 16), external_parent=publisher.span_id if publisher else 0)
    return key, found
