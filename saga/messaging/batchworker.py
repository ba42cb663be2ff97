"""Feeds a :class:`~saga.messaging.job.BatchHandler`: one poll, one set, one transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.messaging.inbox import Answered, Unexpected
from saga.messaging.intake import Delivery
from saga.messaging.job import BatchHandler, Expectation, ExpectingHandler, Job
from saga.messaging.settlement import Raced, Settled, Settlement

_log = logging.getLogger(__name__)

_FEW = 8
"""Up to so many messages it is worth trying whether all go as expected; of more, one hardly ever does not."""

LOST_CONNECTION = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
)
"""After these nobody knows whether the transaction committed: look again, then repeat."""


class BatchWorker:
    """The batch kind of worker."""

    def __init__(self, handler: BatchHandler, pool: asyncpg.Pool[asyncpg.Record], settlement: Settlement) -> None:
        self._handler = handler
        self._expecting = handler if isinstance(handler, ExpectingHandler) else None
        self._pool = pool
        self._settlement = settlement

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Carry out ``deliveries``; returns when they are committed, publishing goes on beside the next batch."""
        grouped: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            grouped.setdefault(delivery.envelope.id, []).append(delivery)
        await self._persist([tuple(same) for same in grouped.values()])

    async def _persist(self, groups: Sequence[tuple[Delivery, ...]]) -> None:
        pause, look_first = 0.05, False
        while True:
            try:
                answers = await self._transact(groups, look_first=look_first)
                break
            except Raced:
                look_first = True
                continue
            except LOST_CONNECTION as error:
                _log.warning(
                    "repeating a batch of %d in %.2f s: %s: %s", len(groups), pause, type(error).__name__, error
                )
                await asyncio.sleep(pause)
                pause, look_first = min(pause * 2, 5.0), True
            except Exception as error:  # noqa: BLE001  # a bug in one message must not stop the partition
                if len(groups) > 1:
                    _log.warning("a batch of %d failed, trying each alone: %s", len(groups), error)
                    for group in groups:
                        await self._persist([group])
                    return
                _log.exception("a message cannot be handled")
                await self._settlement.intake.reject(groups[0][0], "handler_error", f"{type(error).__name__}: {error}")
                for again in groups[0][1:]:
                    self._settlement.intake.finish(again)
                return
        await self._settlement.publish_later(answers)

    async def _transact(
        self, groups: Sequence[tuple[Delivery, ...]], *, look_first: bool
    ) -> Sequence[tuple[Answered, tuple[Delivery, ...]]]:
        """One attempt. Almost everything is new, so the inbox is not read first: it refuses what it has (``Raced``),
        which rolls the effect back, and the repetition looks."""
        if not look_first and len(groups) <= _FEW and (expected := self._expectation(groups)) is not None:
            if (answers := await self._try_expected(groups, *expected)) is not None:
                return answers
            look_first = True  # some may have been handled before
        settlement = self._settlement
        batch = 0
        with suppress_instrumentation():
            async with self._pool.acquire() as connection, connection.transaction():
                known: dict[str, Answered] = {}
                if look_first:
                    known = await settlement.inbox.known(connection, [group[0].envelope.id for group in groups])
                fresh = [group for group in groups if group[0].envelope.id not in known]
                settled: list[Settled] = []
                if fresh:
                    jobs = self._jobs(fresh)
                    results = await self._handler.carry_out(connection, jobs)
                    settled = [
                        settlement.settle(group, job, result)
                        for group, job, result in zip(fresh, jobs, results, strict=True)
                    ]
                    batch = await settlement.keep(connection, settled)
        if settled:
            settlement.committed(settled, batch)
        for group in groups:
            if (before := known.get(group[0].envelope.id)) is not None:
                settlement.repeated(before, group)
        by_id = {one.answered.message_id: one.answered for one in settled} | known
        return [(by_id[group[0].envelope.id], group) for group in groups]

    def _expectation(self, groups: Sequence[tuple[Delivery, ...]]) -> tuple[list[Job[Any]], Expectation] | None:
        """What messages of different sagas are expected to come to, if anything is."""
        if self._expecting is None or len({group[0].envelope.key for group in groups}) < len(groups):
            return None
        jobs = self._jobs(groups)
        expectation = self._expecting.expect(jobs)
        return None if expectation is None else (jobs, expectation)

    async def _try_expected(
        self, groups: Sequence[tuple[Delivery, ...]], jobs: Sequence[Job[Any]], expectation: Expectation
    ) -> Sequence[tuple[Answered, tuple[Delivery, ...]]] | None:
        """A few messages that come to what they nearly always come to need one round trip instead of four. None: they
        did not, and nothing has happened."""
        settlement = self._settlement
        settled = [
            settlement.settle(group, job, result)
            for group, job, result in zip(groups, jobs, expectation.results, strict=True)
        ]
        try:
            with suppress_instrumentation():
                async with self._pool.acquire() as connection:
                    settled, batch = await settlement.keep_as_expected(connection, settled, expectation)
        except Unexpected:
            return None
        settlement.committed(settled, batch)
        return [(one.answered, one.deliveries) for one in settled]

    def _jobs(self, groups: Sequence[tuple[Delivery, ...]]) -> list[Job[Any]]:
        started_ns = time.time_ns()
        return [Job(g[0].envelope, g[0].envelope.body, started_ns, self._settlement.role) for g in groups]
