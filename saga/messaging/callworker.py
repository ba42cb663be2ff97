"""Feeds a :class:`~saga.messaging.job.CallHandler`: outside calls run concurrently within a window, one at a time per
saga; what they came to is committed and published in groups; one slow call never blocks its partition.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.coalescer import Coalescer
from saga.errors import TransientFailure
from saga.messaging.batchworker import LOST_CONNECTION
from saga.messaging.inbox import Answered
from saga.messaging.intake import Delivery
from saga.messaging.job import AttemptFailed, CallHandler, Job, Result
from saga.messaging.settlement import Raced, Settled, Settlement
from saga.telemetry.scope import call_series, step_scope

_log = logging.getLogger(__name__)

_Answer = tuple[Answered, tuple[Delivery, ...]]


class CallWorker:
    """The calling kind of worker. ``window`` bounds the calls under way. ``repeatable`` says that calling again under
    the same id does no harm at all, so that the inbox need not be read before each call: it has the last word anyway.
    """

    def __init__(
        self,
        handler: CallHandler,
        pool: asyncpg.Pool[asyncpg.Record],
        settlement: Settlement,
        *,
        window: int,
        repeatable: bool = False,
    ) -> None:
        self._repeatable = repeatable
        self._handler = handler
        self._pool = pool
        self._settlement = settlement
        self._window = asyncio.Semaphore(window)
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._under_way: dict[str, list[Delivery]] = {}
        self._committing: Coalescer[tuple[Job[Any], Result, Settled], Answered | Exception] = Coalescer(self._commit)
        self._publishing: Coalescer[_Answer, None] = Coalescer(self._publish, concurrency=4)

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Start on ``deliveries``; those handled before are answered from the inbox at once."""
        fresh: list[Delivery] = []
        for delivery in deliveries:
            if (first := self._under_way.get(delivery.envelope.id)) is not None:
                first.append(delivery)  # redelivered while its call is still under way: it joins the first
            else:
                self._under_way[delivery.envelope.id] = [delivery]
                fresh.append(delivery)
        if not fresh:
            return
        known = {} if self._repeatable else await self._look_up([delivery.envelope.id for delivery in fresh])
        for delivery in fresh:
            answered = known.get(delivery.envelope.id)
            if answered is None:
                self._enqueue(delivery)
            else:
                again = tuple(self._under_way.pop(delivery.envelope.id))
                self._settlement.repeated(answered, again)
                self._settlement.spawn(self._publishing((answered, again)))

    async def _look_up(self, message_ids: Sequence[str]) -> dict[str, Answered]:
        pause = 0.05
        while True:
            try:
                with suppress_instrumentation():
                    async with self._pool.acquire() as connection:
                        return await self._settlement.inbox.known(connection, message_ids)
            except LOST_CONNECTION as error:
                _log.warning("the inbox cannot be read, again in %.2f s: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    def _enqueue(self, delivery: Delivery) -> None:
        """One saga's messages are handled one after another, different sagas' beside each other."""
        key = delivery.envelope.key
        before = self._tails.get(key)
        task = asyncio.get_running_loop().create_task(self._carry_out(delivery, before))
        self._tails[key] = task
        task.add_done_callback(lambda done: self._tails.pop(key) if self._tails.get(key) is done else None)

    async def _carry_out(self, delivery: Delivery, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        message_id = delivery.envelope.id
        job: Job[Any] = Job(delivery.envelope, delivery.envelope.body, time.time_ns(), self._settlement.role)
        try:
            async with self._window:
                job = Job(delivery.envelope, delivery.envelope.body, time.time_ns(), self._settlement.role)
                with step_scope(job.span_context, delivery.envelope.baggage, call_series(job.id, job.attempt)):
                    result = await self._handler.call(job)
            settled = self._settlement.settle((delivery,), job, result)
            answered = await self._committing((job, result, settled))
            if isinstance(answered, Exception):
                raise answered  # noqa: TRY301  # another task's error, told here in ours
            done = tuple(self._under_way.pop(message_id))
            self._settlement.joined(answered, done[1:])
            await self._publishing((answered, done))
        except TransientFailure as failure:
            _log.info("%s could not be carried out now: %s", message_id, failure)
            abandoned = self._under_way.pop(message_id, [delivery])
            report = failure.report if isinstance(failure, AttemptFailed) else None
            self._settlement.failed(abandoned, job, report, failure.error_type)
            for one in abandoned:
                self._settlement.intake.finish(one)
        except Exception as error:  # noqa: BLE001  # a bug in one message must not stop the partition
            _log.exception("a message cannot be handled")
            joined = self._under_way.pop(message_id, [delivery])
            await self._settlement.intake.reject(joined[0], "handler_error", f"{type(error).__name__}: {error}")
            for again in joined[1:]:
                self._settlement.intake.finish(again)

    async def _commit(self, done: Sequence[tuple[Job[Any], Result, Settled]]) -> Sequence[Answered | Exception]:
        pause = 0.05
        while True:
            try:
                return await self._transact(done)
            except Raced:
                continue
            except LOST_CONNECTION as error:
                _log.warning("repeating a commit of %d in %.2f s: %s", len(done), pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            except Exception as error:  # noqa: BLE001  # a bug in one message must not take its group with it
                if len(done) == 1:
                    return [error]
                _log.warning("a group of %d failed, trying each alone: %s", len(done), error)
                return [(await self._commit([one]))[0] for one in done]

    async def _transact(self, done: Sequence[tuple[Job[Any], Result, Settled]]) -> Sequence[Answered]:
        settlement = self._settlement
        batch = 0
        try:
            async with self._pool.acquire() as connection:
                # A zombie may have been first; then its answer stands and ours is dropped.
                known: dict[str, Answered] = {}
                if self._raced:
                    known = await settlement.inbox.known(connection, [job.id for job, _, _ in done])
                fresh = [one for one in done if one[0].id not in known]
                if fresh:
                    writes = self._handler.writes([(job, result) for job, result, _ in fresh])
                    batch = await settlement.keep(connection, [settled for _, _, settled in fresh], writes)
        except BaseException:
            # Somebody was first, or nobody knows whether it committed: the repetition must look before it writes.
            self._raced = True
            raise
        self._raced = False
        if fresh:
            settlement.committed([settled for _, _, settled in fresh], batch)
        for _, _, settled in done:
            if (before := known.get(settled.answered.message_id)) is not None:
                settlement.repeated(before, settled.deliveries, settled)
        return [known.get(job.id) or settled.answered for job, _, settled in done]

    _raced = False
    """Whether the last commit failed in a way that makes it necessary to read the inbox before the next."""

    async def _publish(self, answers: Sequence[_Answer]) -> Sequence[None]:
        await self._settlement.publish(answers)
        return [None] * len(answers)
