"""The shell around the machine: load, decide, save, publish. One poll is one batch is one transaction.

What the machine decides is published only after it is saved, and the offset moves only after it is published; a crash
anywhere in between has the input delivered again, and the machine repeats what it said under the same ids.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.database import Connection
from saga.engine.decision import Decision, Dropped, Verdict
from saga.engine.envelope import Outgoing
from saga.engine.machine import Birth, Tick, advance
from saga.faults import FaultPoint
from saga.messaging.batchworker import LOST_CONNECTION
from saga.messaging.broker import Publisher
from saga.messaging.heritage import Heritage
from saga.messaging.intake import Delivery, Intake, publish_persistently
from saga.messaging.wire import encode
from saga.orchestrator.admission import Admission
from saga.orchestrator.memory import Recollection
from saga.orchestrator.metrics import count
from saga.store.store import Alarm, Applied, Loaded, Move, Store
from saga.telemetry import names
from saga.telemetry.messaging import Origin, process_context, send_span
from saga.telemetry.setup import Telemetry
from saga.telemetry.spans import SpanRecord

_log = logging.getLogger(__name__)

_PUBLISHES_UNDER_WAY = 4
_SWEEP_BATCH = 200
_LAST_WORDS_US = 10_000_000


@dataclass(slots=True)
class _Work:
    """What one batch has come to so far for one saga."""

    loaded: Loaded
    expected: int
    current: Loaded
    applied: list[Applied] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    spans: list[SpanRecord] = field(default_factory=list)
    all_applied: bool = True
    repeated: list[str] = field(default_factory=list)
    """The topics of inputs that had been applied before."""
    dropped: list[tuple[Origin, SpanRecord, Decision]] = field(default_factory=list)
    """Records that changed nothing, each with the span and the decision that say so."""
    rejected: list[tuple[Delivery, str, str]] = field(default_factory=list)
    """Deliveries for the dead-letter topic, each with cause and detail."""


class Orchestrator:
    """Decides for every saga whose messages reach this process."""

    def __init__(
        self,
        store: Store,
        pool: asyncpg.Pool[asyncpg.Record],
        heritage: Heritage,
        publisher: Publisher,
        intake: Intake,
        telemetry: Telemetry,
        faults: FaultPoint,
        admission: Admission,
        *,
        birth: Birth,
        topic_prefix: str = "",
    ) -> None:
        self._store = store
        self._pool = pool
        self._heritage = heritage
        self._publisher = publisher
        self._intake = intake
        self._recorder = telemetry.spans
        self._afterwards = telemetry.afterwards
        self._meters = telemetry.meters
        self._faults = faults
        self._admission = admission
        self._recollection = Recollection()
        self._birth = birth
        self._prefix = topic_prefix
        self._room = asyncio.Semaphore(_PUBLISHES_UNDER_WAY)
        self._background: set[asyncio.Task[None]] = set()
        # Commits are made one at a time, so that batches are numbered in the order in which they are handed over.
        self._committing = asyncio.Lock()

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Decide on ``deliveries``; returns when the decisions are saved, publishing goes on beside the next batch."""
        by_saga: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_saga.setdefault(delivery.envelope.key, []).append(delivery)
        pause, from_memory = 0.05, True
        while by_saga:
            try:
                by_saga = await self._handle(by_saga, from_memory=from_memory)
                from_memory = False
            except LOST_CONNECTION as error:
                _log.warning("repeating a batch in %.2f s: %s: %s", pause, type(error).__name__, error)
                await asyncio.sleep(pause)
                pause, from_memory = min(pause * 2, 5.0), False

    async def _handle(self, by_saga: dict[str, list[Delivery]], *, from_memory: bool) -> dict[str, list[Delivery]]:
        """One attempt; returns what must be decided on again."""
        async with self._committing:
            works, again, batch = await self._decide_and_save(by_saga, from_memory=from_memory)
            saved = [works[saga_id] for saga_id in by_saga if saga_id not in again]
            self._saved(saved, batch)
            if saved:
                await self._say_later(saved, [d for i in by_saga if i not in again for d in by_saga[i]])
        return {saga_id: by_saga[saga_id] for saga_id in by_saga if saga_id in again}

    async def _decide_and_save(
        self, by_saga: dict[str, list[Delivery]], *, from_memory: bool
    ) -> tuple[dict[str, _Work], set[str], int]:
        """Every saga's work, the sagas that must be decided on again with what the database says, and the batch."""
        with suppress_instrumentation():
            async with self._pool.acquire() as connection:
                loaded = self._presume(by_saga) if from_memory else {}
                if missing := [saga_id for saga_id in by_saga if saga_id not in loaded]:
                    loaded |= await self._store.load(connection, missing)
                    self._recollection.synchronise(loaded[missing[0]].now_us)
                works = {saga_id: _work(loaded[saga_id]) for saga_id in by_saga}
                for saga_id, deliveries in by_saga.items():
                    for delivery in deliveries:
                        self._decide(works[saga_id], delivery)
                # From memory only what is applied counts: it is checked by compare-and-set. The rest is looked up.
                again = (
                    {i for i, work in works.items() if i not in missing and not work.all_applied}
                    if from_memory
                    else set()
                )
                moves = [m for i, work in works.items() if i not in again and (m := _move(work)) is not None]
                batch = self._heritage.next_batch()
                if moves:
                    self._faults.reach("before_commit")
                    applied = [one for i, work in works.items() if i not in again for one in work.applied]
                    again |= await self._save(connection, moves, applied, batch)
                await self._recognise(connection, [work for i, work in works.items() if i not in again])
            if moves:
                self._faults.reach("after_commit")
        return works, again, batch

    def _presume(self, by_saga: dict[str, list[Delivery]]) -> dict[str, Loaded]:
        """Those of the sagas that need not be read: saved here lately, or asked for just now and so presumably new."""
        now_us = self._recollection.now_us()
        presumed: dict[str, Loaded] = {}
        if now_us is None:
            return presumed
        for saga_id, deliveries in by_saga.items():
            state = self._recollection.get(saga_id)
            begins = isinstance(deliveries[0].envelope.body, self._store.starts_on)
            if state is not None or begins:
                presumed[saga_id] = self._store.presumed(saga_id, state, now_us)
        return presumed

    async def _save(
        self, connection: Connection, moves: Sequence[Move], applied: Sequence[Applied], batch: int
    ) -> set[str]:
        """Write ``moves``; returns the sagas that had moved on."""
        saved = await self._store.save(connection, moves, applied, writer=self._heritage.writer, batch=batch)
        if saved.now_us is not None:
            self._recollection.synchronise(saved.now_us)
        lost: set[str] = set()
        conflicts = 0
        for move in moves:
            if move.state.id in saved.saga_ids:
                self._recollection.keep(move.state)
            else:
                self._recollection.forget(move.state.id)
                lost.add(move.state.id)
                conflicts += move.expected > 0  # a request that came twice is no conflict
        if conflicts:
            self._meters.epoch_conflicts.add(conflicts)
            _log.info("%d sagas had moved on; deciding about them again", conflicts)
        return lost

    async def _recognise(self, connection: Connection, works: Sequence[_Work]) -> None:
        """What changed nothing is a stray, or it was applied before and is delivered again, after a crash for example:
        then it was handled once, as its span of that time says, and no second one is to contradict it."""
        dropped = [(work, *one) for work in works for one in work.dropped]
        if not dropped:
            return
        before = await self._store.applied(
            connection, [(work.loaded.saga_id, origin) for work, origin, _, _ in dropped]
        )
        for work, origin, seen, decision in dropped:
            if origin in before:
                work.repeated.append(origin.topic)
            else:
                work.spans.append(seen)
                work.decisions.append(decision)

    def _decide(self, work: _Work, delivery: Delivery) -> None:
        current = work.current
        try:
            decision = advance(current.definition, current.state, delivery.envelope, current.now_us, self._birth)
        except Exception as error:  # noqa: BLE001  # see below
            # A bug in one definition must not stop the partition: the message goes aside, with its cause.
            _log.exception("%s cannot be decided on", delivery.envelope.id)
            work.rejected.append((delivery, "handler_error", f"{type(error).__name__}: {error}"))
            work.all_applied = False
            return
        work.all_applied = work.all_applied and decision.verdict is Verdict.APPLIED
        dropped = next((fact.reason for fact in decision.facts if isinstance(fact, Dropped)), None)
        if decision.verdict is Verdict.REPEATED:
            work.repeated.append(delivery.record.origin.topic)
        if decision.verdict is Verdict.UNKNOWN_SAGA:
            work.rejected.append((delivery, "unknown_saga", "no saga with this key was ever requested"))
            return
        if delivery.parent is None and decision.state is not None:
            # Nobody sent a context: the message belongs to the trace of the saga that it is about.
            root = decision.state.trace.root()
            context = process_context(root, delivery.envelope.id, self._intake.group, delivery.record.origin)
            delivery = replace(delivery, parent=root, context=context)
        seen = delivery.span(self._intake.group, time.time_ns(), dropped=dropped)
        if dropped is not None:
            work.dropped.append((delivery.record.origin, seen, decision))
            return
        spans = (seen, *decision.spans)
        work.spans += spans
        work.decisions.append(decision)
        if decision.verdict is Verdict.APPLIED and decision.state is not None:
            work.current = replace(current, state=decision.state)
            work.applied.append(
                Applied(
                    decision.state.id,
                    decision.state.epoch,
                    delivery.envelope.id,
                    delivery.envelope.type_name,
                    delivery.record.origin,
                    current.now_us,
                    decision.state.status.value,
                    (*spans, *self._send_spans(decision.emits, current.now_us)),
                )
            )

    def _saved(self, works: Sequence[_Work], batch: int | None) -> None:
        for work in works:
            if (state := work.current.state) is not None:
                self._admission.note(state.id, live=state.status.live)
        self._afterwards(partial(self._tell, works, batch))

    def _tell(self, works: Sequence[_Work], batch: int | None) -> None:
        """Saved: the spans and facts of ``works`` may be told."""
        for work in works:
            for span in work.spans:
                self._recorder.record(span)
                if span.kind == "consumer":
                    self._meters.processed(span)
            for topic in work.repeated:
                self._meters.redeliveries.add(1, {names.DESTINATION: topic})
            for decision in work.decisions:
                count(self._meters, work.current.definition.name, decision.facts)
        if batch is not None:
            self._heritage.handed_over(batch)

    async def _say_later(self, works: Sequence[_Work], deliveries: Sequence[Delivery]) -> None:
        await self._room.acquire()
        self._spawn(self._say(works, deliveries))

    async def _say(self, works: Sequence[_Work], deliveries: Sequence[Delivery]) -> None:
        try:
            rejected = {id(entry[0]): entry for work in works for entry in work.rejected}
            self._faults.reach("before_publish")
            emits = [out for work in works for decision in work.decisions for out in decision.emits]
            await publish_persistently(self._publisher, [encode(out, self._prefix) for out in emits])
            self._faults.reach("after_publish")
            for delivery in deliveries:
                if (entry := rejected.get(id(delivery))) is not None:
                    await self._intake.reject(*entry)
            done = [delivery for delivery in deliveries if id(delivery) not in rejected]
            self._afterwards(partial(self._finish, done))
        finally:
            self._room.release()

    def _finish(self, deliveries: Sequence[Delivery]) -> None:
        """After the telling: an offset waits for the spans that were handed over before its record was finished."""
        for delivery in deliveries:
            self._intake.finish(delivery)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _send_spans(self, emits: Sequence[Outgoing], now_us: int) -> list[SpanRecord]:
        """The send spans of ``emits`` as far as they are known before sending; kept for a successor, should we die."""
        return [
            send_span(
                topic=self._prefix + out.topic,
                key=out.envelope.key,
                message_id=out.envelope.id,
                attempt=out.envelope.saga.attempt if out.envelope.saga else 1,
                context=out.envelope.context,
                parent=out.parent,
                start_ns=now_us * 1000,
                end_ns=now_us * 1000,
            )
            for out in emits
            if out.envelope.context is not None
        ]

    async def sweep(self) -> int:
        """Look at sagas whose time has come; returns how many there were. Any orchestrator may do this at any time."""
        with suppress_instrumentation():
            async with self._committing, self._pool.acquire() as connection, connection.transaction():
                works = [_work(loaded) for loaded in await self._store.due(connection, _SWEEP_BATCH)]
                for work in works:
                    self._tick(work)
                moves = [move for work in works if (move := _move(work)) is not None]
                batch = self._heritage.next_batch() if moves else None
                if batch is not None:
                    await self._save(connection, moves, [one for work in works for one in work.applied], batch)
                await self._store.snooze(connection, [alarm for work in works if (alarm := _alarm(work)) is not None])
            self._saved(works, batch)
        await publish_persistently(
            self._publisher, [encode(out, self._prefix) for w in works for d in w.decisions for out in d.emits]
        )
        ended = [work.loaded.saga_id for work in works if work.current.state and not work.current.state.status.live]
        if ended:
            with suppress_instrumentation():
                async with self._pool.acquire() as connection:
                    await self._store.settle(connection, ended)
        return len(works)

    def _tick(self, work: _Work) -> None:
        current = work.current
        assert current.state is not None, "the sweeper only sees stored sagas"
        decision = advance(current.definition, current.state, Tick(), current.now_us)
        work.decisions.append(decision)
        work.spans += decision.spans
        if decision.verdict is Verdict.APPLIED and decision.state is not None:
            work.current = replace(current, state=decision.state)
            spans = (*decision.spans, *self._send_spans(decision.emits, current.now_us))
            status = decision.state.status.value
            work.applied.append(
                Applied(decision.state.id, decision.state.epoch, None, "tick", None, current.now_us, status, spans)
            )


def _work(loaded: Loaded) -> _Work:
    return _Work(loaded, loaded.state.epoch if loaded.state else 0, loaded)


def _move(work: _Work) -> Move | None:
    """The write that ``work`` needs."""
    state = work.current.state
    if not work.applied or state is None:
        return None
    return Move(work.expected, state, work.current.now_us, state.wake_us)


def _alarm(work: _Work) -> Alarm | None:
    """When the sweeper must look again. No record will be redelivered if we die before publishing an end that the
    sweeper decided, so such a saga stays in sight until its last words are known to be out."""
    state = work.current.state
    if state is None:
        return None
    wake_us = state.wake_us
    return Alarm(state.id, state.epoch, work.current.now_us + _LAST_WORDS_US if wake_us is None else wake_us)
