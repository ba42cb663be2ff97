"""What every worker does around its effect: remember it with its reply, then publish, record, and finish the delivery.

The order is the whole of exactly-once effect: effect, reply and inbox row commit together; only then is the reply
published; only when the broker has it may the offset move on. A crash anywhere in between has the message delivered
again, the inbox answers, and the same reply goes out under the same ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from saga.database import Connection
from saga.faults import FaultPoint
from saga.messaging.broker import Publisher
from saga.messaging.heritage import Heritage
from saga.messaging.inbox import Answered, Inbox
from saga.messaging.intake import Delivery, Intake, publish_persistently
from saga.messaging.job import Expectation, Job, Report, Result, Write, step_span
from saga.messaging.wire import encode
from saga.telemetry import names
from saga.telemetry.afterwards import at_once
from saga.telemetry.codec import spans_from_json
from saga.telemetry.messaging import send_span
from saga.telemetry.meters import Meters
from saga.telemetry.spans import Recorder, SpanRecord
from schemas.base import Message

_PUBLISHES_UNDER_WAY = 4


@dataclass(frozen=True, slots=True)
class Settled:
    """One job done: its deliveries (a redelivery may have joined the first), its answer and its spans."""

    deliveries: tuple[Delivery, ...]
    answered: Answered
    spans: tuple[SpanRecord, ...]
    tell: Callable[[], None] | None = None


def _completed(settled: Settled, patch: Mapping[str, Any] | None) -> Settled:
    """With the reply as it was stored, and with spans that last until now: their effect has only just happened."""
    end_ns = time.time_ns()
    answered = settled.answered
    if answered.reply is not None and patch:
        answered = replace(answered, reply=answered.reply.model_copy(update=patch))
    return replace(settled, answered=answered, spans=tuple(replace(span, end_ns=end_ns) for span in settled.spans))


class Raced(Exception):
    """Somebody else remembered one of the messages first: roll back, look again. Never leaves this package."""


class Settlement:
    """Shared by the two kinds of worker."""

    def __init__(
        self,
        role: str,
        inbox: Inbox,
        heritage: Heritage,
        publisher: Publisher,
        intake: Intake,
        *,
        topic_prefix: str,
        recorder: Recorder,
        meters: Meters,
        faults: FaultPoint,
        afterwards: Callable[[Callable[[], None]], None] = at_once,
    ) -> None:
        self.role = role
        self.inbox = inbox
        self.faults = faults
        self.intake = intake
        self.meters = meters
        self._afterwards = afterwards
        self._source = f"/{names.NAMESPACE}/{role}"
        self._heritage = heritage
        self._publisher = publisher
        self._prefix = topic_prefix
        self._recorder = recorder
        self._room = asyncio.Semaphore(_PUBLISHES_UNDER_WAY)
        self._background: set[asyncio.Task[None]] = set()

    def settle(self, deliveries: tuple[Delivery, ...], job: Job[Message], result: Result) -> Settled:
        """A job's answer and spans, to be kept in the transaction of its effect."""
        first = deliveries[0]
        end_ns = time.time_ns()
        headers = first.envelope.saga
        answered = Answered(
            first.envelope.id,
            first.envelope.key,
            headers.epoch if headers else 0,
            headers.step if headers else "",
            job.attempt,
            result.reply,
            first.context,
            first.envelope.baggage,
            end_ns // 1000,
        )
        step = step_span(job, result.report, end_ns)
        process = first.span(self.intake.group, end_ns)
        return Settled(deliveries, answered, (process,) if step is None else (process, step), result.tell)

    def _rows(self, settled: Sequence[Settled]) -> list[tuple[Answered, type[Message], tuple[SpanRecord, ...]]]:
        """What the inbox is given: an answer, the type of what was handled, and the spans to keep with it."""
        return [
            (one.answered, type(one.deliveries[0].envelope.body), (*one.spans, *self._reply_span(one.answered)))
            for one in settled
        ]

    async def keep(self, connection: Connection, settled: Sequence[Settled], writes: Sequence[Write] = ()) -> int:
        """Remember ``settled``, with ``writes``, in the open transaction if there is one; returns the batch number.

        Raises :class:`Raced`.
        """
        batch = self._heritage.next_batch()
        rows = self._rows(settled)
        kept = await self.inbox.keep(connection, rows, writer=self._heritage.writer, batch=batch, writes=writes)
        if len(kept) != len(rows):
            raise Raced
        self.faults.reach("before_commit")
        return batch

    async def keep_as_expected(
        self, connection: Connection, settled: Sequence[Settled], expectation: Expectation
    ) -> tuple[list[Settled], int]:
        """Carry out and remember ``settled`` in one statement; returns them with the replies as they were stored, and
        the batch number. Raises :class:`Unexpected`, and nothing has happened then."""
        batch = self._heritage.next_batch()
        rows = self._rows(settled)
        self.faults.reach("before_commit")
        patches = await self.inbox.keep_as_expected(
            connection, rows, writer=self._heritage.writer, batch=batch, expectation=expectation
        )
        return [_completed(one, patches[one.answered.message_id]) for one in settled], batch

    def committed(self, settled: Sequence[Settled], batch: int) -> None:
        """The transaction is committed: its spans may be seen."""
        self.faults.reach("after_commit")
        self._afterwards(partial(self._tell, settled, batch))

    def _tell(self, settled: Sequence[Settled], batch: int) -> None:
        for one in settled:
            for span in one.spans:
                self._recorder.record(span)
            self.meters.processed(one.spans[0])
            if one.tell is not None:
                one.tell()
            self.joined(one.answered, one.deliveries[1:])
        self._heritage.handed_over(batch)

    async def publish(self, answers: Sequence[tuple[Answered, tuple[Delivery, ...]]]) -> None:
        """Send replies and finish their deliveries, however long the broker is away."""
        self.faults.reach("before_publish")
        outgoing = [out for answered, _ in answers if (out := answered.outgoing(self._source)) is not None]
        await publish_persistently(self._publisher, [encode(out, self._prefix) for out in outgoing])
        self.faults.reach("after_publish")
        self._afterwards(partial(self._finish, answers))

    def _finish(self, answers: Sequence[tuple[Answered, tuple[Delivery, ...]]]) -> None:
        """After the telling: an offset waits for the spans that were handed over before its record was finished."""
        for _, deliveries in answers:
            for delivery in deliveries:
                self.intake.finish(delivery)

    async def publish_later(self, answers: Sequence[tuple[Answered, tuple[Delivery, ...]]]) -> None:
        """Like :meth:`publish`, without waiting for the acknowledgements unless too many are under way already."""
        await self._room.acquire()

        async def work() -> None:
            try:
                await self.publish(answers)
            finally:
                self._room.release()

        self.spawn(work())

    def spawn(self, work: Awaitable[None]) -> None:
        """Run ``work`` beside the caller; kept alive until it is done."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def joined(self, answered: Answered, deliveries: Sequence[Delivery]) -> None:
        """The command was sent again before it was carried out: each of its records is seen, too."""
        if deliveries:
            self.repeated(answered, deliveries)

    def repeated(self, answered: Answered, deliveries: Sequence[Delivery], done_again: Settled | None = None) -> None:
        """Count messages that had been handled before; their handling is seen as a span that says so.

        ``done_again``: what was done nevertheless and came too late. Its spans are out but for the step's own.
        """
        end_ns = time.time_ns()
        if done_again is not None and done_again.answered.attempt != answered.attempt:
            for span in done_again.spans[1:]:
                self._recorder.record(span)
        for delivery in deliveries:
            if answered.context == delivery.context:
                # The very same record again, after a crash or a commit nobody saw end: its spans may never have left.
                for span in spans_from_json(answered.spans):
                    self._recorder.record(span)
                continue
            process = delivery.span(self.intake.group, end_ns, dropped="redelivery")
            self._recorder.record(process)
            self.meters.processed(process)
        self.meters.redeliveries.add(len(deliveries), {names.DESTINATION: deliveries[0].record.origin.topic})

    def failed(self, deliveries: Sequence[Delivery], job: Job[Message], report: Report | None, error_type: str) -> None:
        """An attempt that stored nothing: seen as ERROR spans; the orchestrator will send the command again."""
        end_ns = time.time_ns()
        for delivery in deliveries:
            process = delivery.span(self.intake.group, end_ns, error=error_type)
            self._recorder.record(process)
            self.meters.processed(process)
        if report is not None and (step := step_span(job, report, end_ns)) is not None:
            self._recorder.record(step)

    def _reply_span(self, answered: Answered) -> tuple[SpanRecord, ...]:
        out = answered.outgoing(self._source)
        if out is None or out.envelope.context is None:
            return ()
        at_ns = answered.replied_us * 1000
        return (
            send_span(
                topic=self._prefix + out.topic,
                key=answered.saga_id,
                message_id=out.envelope.id,
                attempt=answered.attempt,
                context=out.envelope.context,
                parent=answered.context,
                start_ns=at_ns,
                end_ns=at_ns,
            ),
        )
