"""The locking worker: a poll of commands and events becomes a few statements, and each saga's order is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from opentelemetry.metrics import Counter

from saga.database import Connection, Schemas
from saga.messaging.job import NO_SPAN, Expectation, Job, Report, Result
from saga.telemetry.spans import Attribute, SpanEvent
from schemas.base import Message
from schemas.commands import AcquireLock, ReleaseLock
from schemas.events import BookingCancelled, BookingConfirmed, BookingFailed
from schemas.replies import LockAcquired, LockRefused, LockReleased
from workers import attributes as at
from workers.batches import in_runs
from workers.locking.ledger import Contended, Grant, Held, LockLedger, Wanted, lock_rows

_EXPIRES_LATER = Held(0)  # when, the database says
_ACQUIRE = "booking.acquire_lock"
_RELEASE = "booking.release_lock"
_PROMOTE = "booking.promote_lock"


class LockHandler:
    """See :class:`saga.messaging.job.BatchHandler`. ``contentions`` counts the locks refused, by reason."""

    handles: frozenset[type[Message]] = frozenset(
        {AcquireLock, ReleaseLock, BookingConfirmed, BookingFailed, BookingCancelled}
    )

    def __init__(self, schemas: Schemas, contentions: Counter) -> None:
        self._ledger = LockLedger(schemas)
        self._contentions = contentions

    def expect(self, jobs: Sequence[Job[Any]]) -> Expectation | None:
        """Locks are nearly always had."""
        if not all(isinstance(job.body, AcquireLock) for job in jobs):
            return None
        wanted = [Wanted(job.id, job.body) for job in jobs]
        results = [self._acquired(job, _EXPIRES_LATER) for job in jobs]
        return Expectation(self._ledger.acquiring, lock_rows(wanted), results)

    async def carry_out(self, connection: Connection, jobs: Sequence[Job[Any]]) -> Sequence[Result]:
        """See :meth:`saga.messaging.job.BatchHandler.carry_out`."""
        results: dict[str, Result] = {}
        for run in in_runs(jobs):
            results |= await self._carry_out(connection, run)
        return [results[job.id] for job in jobs]

    async def _carry_out(self, connection: Connection, jobs: Sequence[Job[Any]]) -> dict[str, Result]:
        """Jobs of different sagas: releases go first, so that what they free can be had."""
        results: dict[str, Result] = {}
        if releases := [job for job in jobs if isinstance(job.body, ReleaseLock)]:
            held = await self._ledger.release(connection, [job.body for job in releases])
            results |= {job.id: _released(job, was_held=job.body.reservation_id in held) for job in releases}
        if confirmed := [job for job in jobs if isinstance(job.body, BookingConfirmed)]:
            promoted = await self._ledger.promote(connection, [job.body.reservation_id for job in confirmed])
            results |= {job.id: _promoted(job.body, done=job.body.reservation_id in promoted) for job in confirmed}
        if acquires := [job for job in jobs if isinstance(job.body, AcquireLock)]:
            grants = await self._ledger.acquire(connection, [Wanted(job.id, job.body) for job in acquires])
            results |= {job.id: self._acquired(job, grants[job.body.reservation_id]) for job in acquires}
        for job in jobs:
            if isinstance(job.body, BookingFailed | BookingCancelled):
                # Its locks were released by command before this was said; there is nothing left to do.
                results[job.id] = Result(None, NO_SPAN)
        return results

    def _acquired(self, job: Job[AcquireLock], grant: Grant) -> Result:
        asked = job.body
        attributes: dict[str, Attribute] = {
            at.RESERVATION_ID: asked.reservation_id,
            at.LOCK_TYPE: "pessimistic",
            at.LOCK_ACQUIRED: isinstance(grant, Held),
            at.LOCK_TTL_MS: asked.ttl_ms,
        }
        if isinstance(grant, Held):
            reply = LockAcquired(
                booking_id=asked.booking_id, reservation_id=asked.reservation_id, expires_at_ms=grant.expires_ms
            )
            return Result(reply, Report(_ACQUIRE, attributes))
        if not isinstance(grant, Contended):
            attributes[at.LOCK_UNDONE] = True
            refused = LockRefused(booking_id=asked.booking_id, reservation_id=asked.reservation_id, reason="undone")
            return Result(refused, Report(_ACQUIRE, attributes))
        tell = partial(self._contentions.add, 1, {"reason": grant.reason})
        return Result(_refusal(asked, grant), _contention(attributes, grant), tell=tell)


def _refusal(asked: AcquireLock, grant: Contended) -> LockRefused:
    return LockRefused(
        booking_id=asked.booking_id,
        reservation_id=asked.reservation_id,
        reason="sold" if grant.reason == "sold" else "contention",
        competing_reservation=grant.rival,
    )


def _contention(attributes: dict[str, Attribute], grant: Contended) -> Report:
    told: dict[str, Attribute] = {at.CONTENTION_REASON: grant.reason}
    if grant.rival is not None:
        told[at.COMPETING_RESERVATION] = grant.rival
    event = SpanEvent(at.CONTENTION, time.time_ns(), told)
    return Report(_ACQUIRE, attributes, events=(event,), error="Lock contention", error_type="lock_contention")


def _released(job: Job[ReleaseLock], *, was_held: bool) -> Result:
    undo = job.body
    reply = LockReleased(booking_id=undo.booking_id, reservation_id=undo.reservation_id, was_held=was_held)
    return Result(reply, Report(_RELEASE, {at.RESERVATION_ID: undo.reservation_id, at.LOCK_WAS_HELD: was_held}))


def _promoted(event: BookingConfirmed, *, done: bool) -> Result:
    return Result(None, Report(_PROMOTE, {at.RESERVATION_ID: event.reservation_id, at.LOCK_PROMOTED: done}))
