"""From a finished span to the collector: one bounded queue, one background thread, and a watermark.

Handing a span over costs the caller an append; encoding and sending happen on the thread. While the collector is away
the batch in hand is kept and retried with backoff, the queue fills, and then the oldest spans are dropped and counted:
callers are never blocked and never see an exception. Everything handed over has a sequence number, so that somebody
who must not forget a span before it has left this process can wait for :attr:`SpanPipeline.exported_mark`.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from saga.telemetry.spans import SAMPLED, SpanRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saga.telemetry.exporter import Sent
    from saga.telemetry.otlp import AnySpan

_log = logging.getLogger(__name__)

_BACKOFF_S = (0.2, 5.0)  # first and longest pause between attempts
_SLICE, _YIELD_S = 128, 50e-6  # after so many spans encoded, the event loop gets a chance to have the interpreter
_QUIET_S = 60.0  # at most one line in the log per minute


class SpanSender(Protocol):
    """What the pipeline needs of an exporter; :class:`~saga.telemetry.exporter.FastOTLPExporter` is one."""

    def encode(self, spans: Sequence[AnySpan]) -> bytes:
        """A part of a request; the parts of one request may be concatenated."""
        ...

    def send(self, body: bytes, *, timeout_s: float | None = None) -> Sent:
        """One attempt; never raises."""
        ...

    def shutdown(self) -> None:
        """Close the connection."""
        ...


class SpanPipeline(SpanProcessor):
    """A :class:`~saga.telemetry.spans.Recorder` for our spans and a ``SpanProcessor`` for the SDK's, in one queue.

    Without a ``sender`` spans go nowhere and every mark is reached at once. ``capacity`` bounds the queue; beside it at
    most one batch is held. ``delay_s`` and ``batch`` default to ``OTEL_BSP_SCHEDULE_DELAY`` (1000 ms) and
    ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE`` (1024), ``capacity`` to ``OTEL_BSP_MAX_QUEUE_SIZE`` (65536).
    """

    def __init__(
        self,
        sender: SpanSender | None,
        *,
        capacity: int | None = None,
        batch: int | None = None,
        delay_s: float | None = None,
    ) -> None:
        self._sender = sender
        self._capacity = max(1, capacity or _from_environment("OTEL_BSP_MAX_QUEUE_SIZE", 65_536))
        self._batch = max(1, min(batch or _from_environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1_024), self._capacity))
        self._delay_s = delay_s if delay_s is not None else _from_environment("OTEL_BSP_SCHEDULE_DELAY", 1_000) / 1e3
        self._queue: deque[AnySpan] = deque()
        # `_lock` guards what is taken from the queue; appending needs no lock.
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._taken = 0  # spans that have left the queue
        self._unsettled: int | None = None  # sequence number at which the batch in hand begins
        self._dropped = 0
        self._exported = 0
        self._wake = threading.Event()
        self._woken = False
        self._flush_to = 0
        self._deadline: float | None = None  # set by shutdown, monotonic seconds
        self._quiet_until = 0.0
        self._thread: threading.Thread | None = None
        if sender is not None:
            self._thread = threading.Thread(target=self._run, name="span-pipeline", daemon=True)
            self._thread.start()

    # Handing over -----------------------------------------------------------------------------------------------

    def record(self, span: SpanRecord) -> None:
        """Accept a finished span; unsampled ones are not kept. Never blocks, never raises."""
        if span.context.flags & SAMPLED:
            self._append(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Accept a span of the SDK."""
        context = span.context
        if context is not None and context.trace_flags & SAMPLED:
            self._append(span)

    def _append(self, span: AnySpan) -> None:
        queue = self._queue
        queue.append(span)
        size = len(queue)
        if size >= self._batch:
            if size > self._capacity:
                self._drop_oldest()
            if not self._woken:
                self._woken = True
                self._wake.set()
        if self._thread is None:
            self._discard()

    def _drop_oldest(self) -> None:
        with self._lock:
            while len(self._queue) > self._capacity:
                self._queue.popleft()
                self._taken += 1
                self._dropped += 1
                if self._unsettled is None:
                    self._settled.notify_all()

    def _discard(self) -> None:
        """Nobody is there to export: no sender, or shut down already."""
        with self._lock:
            count = len(self._queue)
            self._queue.clear()
            self._taken += count
            if self._sender is not None:
                self._dropped += count

    # Watching ---------------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """The sequence number after everything handed over so far."""
        with self._lock:
            return self._taken + len(self._queue)

    @property
    def exported_mark(self) -> int:
        """Everything handed over before this mark is settled: stored by the collector, or dropped and counted."""
        with self._lock:
            return self._taken if self._unsettled is None else self._unsettled

    @property
    def dropped(self) -> int:
        """Spans lost so far: the queue was full, the collector refused them, or time ran out at the end."""
        return self._dropped

    @property
    def exported(self) -> int:
        """Spans the collector has acknowledged."""
        return self._exported

    @property
    def queued(self) -> int:
        """Spans waiting, beside the batch in hand."""
        return len(self._queue)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has been handed over without waiting for the delay; True when all of it is settled in time."""
        target = self.mark()
        deadline = time.monotonic() + timeout_millis / 1e3
        with self._lock:
            self._flush_to = max(self._flush_to, target)
        self._wake.set()
        return self.wait_exported(target, max(0.0, deadline - time.monotonic()))

    def wait_exported(self, mark: int, timeout_s: float) -> bool:
        """Block until :attr:`exported_mark` reaches ``mark``; False when ``timeout_s`` seconds were not enough."""
        with self._lock:
            return self._settled.wait_for(
                lambda: (self._taken if self._unsettled is None else self._unsettled) >= mark, timeout_s
            )

    def shutdown(self, timeout_s: float = 10.0) -> None:
        """Send what is left, for at most ``timeout_s`` seconds; what remains then is dropped and counted."""
        thread = self._thread
        if thread is None:
            return
        self._deadline = time.monotonic() + timeout_s
        self._wake.set()
        thread.join(timeout_s + 1.0)
        self._thread = None
        self._discard()
        if self._sender is not None:
            self._sender.shutdown()
        if self._dropped:
            _log.warning("%d spans were lost in this process; see saga.spans.dropped", self._dropped)

    # The thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            due = not self._wake.wait(self._delay_s)
            self._wake.clear()
            self._woken = False
            closing = self._deadline is not None
            # Full batches go at once; the rest when the delay has passed, or when somebody waits for it.
            left = len(self._queue)
            while left >= self._batch or (left > 0 and (due or closing or self._flush_to > self._taken)):
                batch = self._take()
                if not batch:  # a caller dropped the oldest meanwhile
                    break
                self._deliver(batch)
                left -= len(batch)
            if closing and (not self._queue or self._out_of_time()):
                return
            if closing or len(self._queue) >= self._batch or self._flush_to > self._taken:
                self._wake.set()

    def _take(self) -> list[AnySpan]:
        with self._lock:
            count = min(self._batch, len(self._queue))
            batch = [self._queue.popleft() for _ in range(count)]
            if batch:
                self._unsettled = self._taken
                self._taken += count
            return batch

    def _deliver(self, batch: list[AnySpan]) -> None:
        stored = 0
        try:
            stored = self._send(self._encode(batch), len(batch))
        except Exception as error:  # noqa: BLE001  # the thread must outlive any single batch
            self._say(f"a batch could not be exported: {type(error).__name__}: {error}")
        with self._lock:
            self._exported += stored
            self._dropped += len(batch) - stored
            self._unsettled = None
            self._settled.notify_all()

    def _encode(self, batch: list[AnySpan]) -> bytes:
        assert self._sender is not None
        parts = []
        for start in range(0, len(batch), _SLICE):
            parts.append(self._sender.encode(batch[start : start + _SLICE]))
            time.sleep(_YIELD_S)
        return b"".join(parts)

    def _send(self, body: bytes, count: int) -> int:
        """How many spans of the request were stored, after as many attempts as it takes."""
        assert self._sender is not None
        pause = _BACKOFF_S[0]
        while True:
            sent = self._sender.send(body, timeout_s=self._time_left())
            if sent.outcome == "stored":
                if sent.rejected:
                    self._say(f"the collector refused {sent.rejected} of {count} spans: {sent.detail}")
                return max(0, count - sent.rejected)
            if sent.outcome == "refused":
                self._say(f"the collector refused {count} spans: {sent.detail}")
                return 0
            if self._out_of_time():
                return 0
            self._say(f"the collector is away, {len(self._queue)} spans wait: {sent.detail}")
            self._pause(sent.retry_after_s or pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, _BACKOFF_S[1])

    def _pause(self, seconds: float) -> None:
        """Sleep, but wake up when a shutdown begins, and never sleep past its deadline."""
        was_closing = self._deadline is not None
        until = time.monotonic() + (min(seconds, self._time_left() or 0.0) if was_closing else seconds)
        while (left := until - time.monotonic()) > 0 and (was_closing or self._deadline is None):
            time.sleep(min(left, 0.1))

    def _time_left(self) -> float | None:
        return None if self._deadline is None else max(0.05, self._deadline - time.monotonic())

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline - 0.05

    def _say(self, message: str) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            _log.warning("%s (told once a minute at most)", message)


def _from_environment(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, "")) or default
    except ValueError:
        return default
