"""Taking records in: poll, decode, set poison aside, hand on, and commit offsets at the low-water mark."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from saga.engine.envelope import Envelope
from saga.errors import BrokerUnreachable, PoisonMessage
from saga.faults import FaultPoint
from saga.messaging.broker import Outbound, Partition, Publisher, Record, Subscription
from saga.messaging.deadletter import dead_letter
from saga.messaging.offsets import LowWaterMark
from saga.messaging.wire import decode
from saga.telemetry import names
from saga.telemetry.messaging import process_context, process_span
from saga.telemetry.meters import Meters
from saga.telemetry.spans import SpanContext, SpanRecord, derive_trace_id
from schemas.base import Message

if TYPE_CHECKING:
    from saga.telemetry.pipeline import SpanPipeline

_log = logging.getLogger(__name__)

_POLL_MS = 1_000
_COMMIT_EVERY_S = 0.2
_SEEN_S = 5.0
"""How long an offset waits for the spans of its records: a collector that is away must not hold the group back."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One message that this process is handling. ``context`` is its ``process T`` span."""

    record: Record
    envelope: Envelope
    context: SpanContext
    parent: SpanContext | None
    received_ns: int

    def span(self, group: str, end_ns: int, *, dropped: str | None = None, error: str | None = None) -> SpanRecord:
        """The ``process T`` span of this delivery."""
        return process_span(
            origin=self.record.origin,
            group=group,
            key=self.envelope.key,
            message_id=self.envelope.id,
            context=self.context,
            parent=self.parent,
            start_ns=self.received_ns,
            end_ns=end_ns,
            dropped=dropped,
            error_type=error,
        )


Handle = Callable[[Sequence[Delivery]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What an intake reads and how it treats it. ``untrusted`` topics are searched for card numbers."""

    expected: frozenset[type[Message]]
    untrusted: frozenset[str] = frozenset()
    topic_prefix: str = ""
    batch_records: int = 500
    max_open: int = 4_000
    gated: frozenset[str] = frozenset()
    """Topics (without prefix) that are read only while the gate is open; see :class:`Intake`."""
    by_topic: Mapping[str, frozenset[type[Message]]] = field(default_factory=dict)
    """What belongs on a topic (without prefix) that may not hold everything ``expected``: a reply is no request."""


class Intake:
    """Feeds a handler with deliveries and keeps the group's offsets.

    The handler must call :meth:`finish` for every delivery once everything it led to is committed and acknowledged, in
    any order; until then, and until its spans are with the collector, a crash has it delivered again. ``gate`` says
    whether the gated topics may be read: what has begun goes before what has not, so a burst of new work waits in the
    topic and not in the middle of the saga.
    """

    def __init__(
        self,
        subscription: Subscription,
        publisher: Publisher,
        reading: Reading,
        *,
        recorder: SpanPipeline,
        meters: Meters,
        faults: FaultPoint,
        gate: Callable[[], bool] = lambda: True,
    ) -> None:
        self._gate = gate
        self._gated = frozenset(reading.topic_prefix + topic for topic in reading.gated)
        self._subscription = subscription
        self._publisher = publisher
        self._reading = reading
        self._recorder = recorder
        self._meters = meters
        self._faults = faults
        self._marks: dict[Partition, LowWaterMark] = {}
        self._finished: list[Record] = []
        # (mark of the span pipeline, when to wait no longer, records finished before that mark), oldest first
        self._leaving: deque[tuple[int, float, list[Record]]] = deque()
        self._room = asyncio.Event()
        self._open = 0
        self._background: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Timeout | None = None
        subscription.on_revoked(self._give_up)
        self._topics = {reading.topic_prefix + topic for topic in reading.untrusted}
        self._expected = {reading.topic_prefix + topic: types for topic, types in reading.by_topic.items()}

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._subscription.group

    async def run(self, handle: Handle, stopping: asyncio.Event) -> None:
        """Feed ``handle`` until ``stopping`` is set; then wait for what is open, for a while, and commit."""
        committer = asyncio.create_task(self._commit_regularly())
        watcher = asyncio.create_task(self._watch(stopping))
        try:
            while not stopping.is_set():
                if self._open >= self._reading.max_open:
                    self._room.clear()
                    await _either(self._room.wait(), stopping.wait(), timeout_s=1.0)
                    continue
                if self._gated:
                    self._subscription.hold(self._gated, held=not self._gate())
                records = await self._poll()
                if records:
                    await self._take_in(records, handle)
            await self._drain(10.0)
        finally:
            committer.cancel()
            watcher.cancel()
            await asyncio.wait({committer, watcher})
            await self._commit()

    async def _poll(self) -> Sequence[Record]:
        """Poll in this very task: a task of its own would let everything else that is ready go before its records."""
        try:
            async with asyncio.timeout(None) as self._polling:
                return await self._subscription.poll(self._reading.batch_records, _POLL_MS)
        except TimeoutError:
            return []
        finally:
            self._polling = None

    async def _watch(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        if self._polling is not None:
            self._polling.reschedule(0)

    async def _take_in(self, records: Sequence[Record], handle: Handle) -> None:
        self._faults.reach("after_receive")
        received_ns = time.time_ns()
        deliveries: list[Delivery] = []
        dead: list[tuple[Record, PoisonMessage]] = []
        for record in records:
            self._marks.setdefault(record.partition, LowWaterMark()).start(record.origin.offset)
            try:
                deliveries.append(self._delivery(record, received_ns))
            except PoisonMessage as poison:
                dead.append((record, poison))
        self._open += len(records)
        if dead:
            self._spawn(self._set_aside(dead, received_ns))
        if deliveries:
            await handle(deliveries)

    def _delivery(self, record: Record, received_ns: int) -> Delivery:
        untrusted = record.origin.topic in self._topics
        expected = self._expected.get(record.origin.topic, self._reading.expected)
        envelope = decode(record, expected, untrusted=untrusted)
        parent = envelope.context
        if parent is None:
            # Nobody sent a context: take the trace that the saga itself will derive (machine: _reserve_trace).
            trace_id = derive_trace_id(self._reading.topic_prefix, envelope.key, envelope.id)
            context = process_context(SpanContext(trace_id, 0), envelope.id, self.group, record.origin)
        else:
            context = process_context(parent, envelope.id, self.group, record.origin)
        return Delivery(record, envelope, context, parent, received_ns)

    async def _set_aside(self, dead: Sequence[tuple[Record, PoisonMessage]], received_ns: int) -> None:
        letters = []
        for record, poison in dead:
            self._meters.dead_letters.add(1, {"cause": poison.cause, names.DESTINATION: record.origin.topic})
            _log.warning("dead letter: %s from %s", poison, record.origin)
            letter = dead_letter(
                record, poison.cause, poison.detail, group=self.group, topic_prefix=self._reading.topic_prefix
            )
            letters.append(letter)
            self._note(record, letter, poison, received_ns)
        await publish_persistently(self._publisher, letters)
        for record, _ in dead:
            self._finish(record)

    def _note(self, record: Record, letter: Outbound, poison: PoisonMessage, received_ns: int) -> None:
        """A poison record has its ``process`` span too, ERROR, in the trace its dead letter carries."""
        if letter.context is None:
            return
        span = process_span(
            origin=record.origin,
            group=self.group,
            key=letter.key.decode("utf-8", "replace"),
            message_id=letter.message_id,
            context=process_context(letter.context, letter.message_id, self.group, record.origin),
            parent=letter.parent,
            start_ns=received_ns,
            end_ns=time.time_ns(),
            error_type=poison.cause,
        )
        self._recorder.record(span)
        self._meters.processed(span)

    async def reject(self, delivery: Delivery, cause: str, detail: str) -> None:
        """Send a delivery that decoded well but cannot be handled to the dead-letter topic, and finish it."""
        await self._set_aside([(delivery.record, PoisonMessage(cause, detail))], delivery.received_ns)

    def finish(self, delivery: Delivery) -> None:
        """Everything this delivery led to is committed and acknowledged."""
        self._finish(delivery.record)

    def _finish(self, record: Record) -> None:
        self._open -= 1
        self._room.set()
        self._finished.append(record)

    def _let_go(self, *, at_once: bool = False) -> None:
        """Let the offsets move past records whose spans have left this process.

        A span that no row keeps (an HTTP call's, a repetition's) is lost with its process, and whoever was called hangs
        in the air; unless the record comes again, is handled again, and its spans get the same ids again.
        """
        now = time.monotonic()
        if self._finished:
            self._leaving.append((self._recorder.mark(), now + _SEEN_S, self._finished))
            self._finished = []
        seen = self._recorder.exported_mark
        while self._leaving and (at_once or self._leaving[0][0] <= seen or self._leaving[0][1] <= now):
            for record in self._leaving.popleft()[2]:
                # A partition that was revoked meanwhile has no mark any more: its new owner is given the record again.
                if (mark := self._marks.get(record.partition)) is not None:
                    mark.finish(record.origin.offset)

    async def _commit(self) -> None:
        self._let_go()
        due = {
            partition: offset for partition, mark in self._marks.items() if (offset := mark.committable()) is not None
        }
        if not due:
            return
        self._faults.reach("before_offsets")
        try:
            await self._subscription.commit(due)
        except BrokerUnreachable as error:
            _log.warning("offsets are not committed yet: %s", error)
            return
        self._faults.reach("after_offsets")
        for partition, offset in due.items():
            if (mark := self._marks.get(partition)) is not None:
                mark.committed(offset)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            await self._commit()

    async def _give_up(self, partitions: Collection[Partition]) -> None:
        """Partitions go to somebody else: finish what can be finished quickly, commit, forget."""
        await self._drain(3.0, partitions)
        await self._commit()
        for partition in partitions:
            self._marks.pop(partition, None)

    async def _drain(self, timeout_s: float, partitions: Collection[Partition] | None = None) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._let_go(at_once=True)
            marks = self._marks.items()
            if not any(mark.open_records for p, mark in marks if partitions is None or p in partitions):
                return
            await asyncio.sleep(0.02)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def publish_persistently(publisher: Publisher, records: Sequence[Outbound]) -> None:
    """Publish, and keep trying while the broker is away: what is committed must be said, however late."""
    pause = 0.2
    while True:
        try:
            await publisher.publish(records)
            return
        except BrokerUnreachable as error:
            _log.warning("publishing %d records again in %.1f s: %s", len(records), pause, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


async def _either(*waits: Awaitable[object], timeout_s: float) -> None:
    tasks = {asyncio.ensure_future(wait) for wait in waits}
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
