"""Publishing many requests: as fast as the broker takes them, or at a steady rate whatever it does; cancelling some."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from saga.errors import BrokerUnreachable
from saga.publishing import Published, Request
from schemas.requests import BookingCancellationRequested

if TYPE_CHECKING:
    from saga.cli.counting import Count
    from saga.publishing import BookingPublisher

T = TypeVar("T")

_BATCH = 500
_UNDER_WAY = 8
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Planned:
    """A request to send, and when to take it back: so many seconds after it was sent."""

    request: Request
    cancel_after_s: float | None = None


class Sender:
    """Sends what is planned; ``published`` grows as the broker acknowledges, in no particular order."""

    def __init__(self, publisher: BookingPublisher, on_progress: Count = lambda done: None) -> None:
        self._publisher = publisher
        self._on_progress = on_progress
        self._room = asyncio.Semaphore(_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self.published: list[Published] = []

    async def send(self, plan: Iterable[Planned], *, rate: float | None = None) -> None:
        """Send all of ``plan``, ``rate`` a second if one is given. Raises :class:`BrokerUnreachable`, saying how far
        it came."""
        await self._finish(self._paced(plan, rate) if rate else self._at_once(plan))

    async def send_stream(self, batches: AsyncIterator[list[Planned]]) -> None:
        """Send what comes, batch by batch. Raises as :meth:`send`."""
        await self._finish(self._streamed(batches))

    async def _finish(self, sending: AsyncIterator[None]) -> None:
        try:
            async for _ in sending:
                self._give_up_on_failure()
            while self._tasks:
                await asyncio.wait(self._tasks)
                self._give_up_on_failure()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _give_up_on_failure(self) -> None:
        if isinstance(self._failure, BrokerUnreachable):
            raise BrokerUnreachable(
                f"{len(self.published)} requests were published, then: {self._failure}"
            ) from self._failure
        if self._failure is not None:
            raise self._failure

    async def _at_once(self, plan: Iterable[Planned]) -> AsyncIterator[None]:
        for batch in in_batches(plan, _BATCH):
            await self._start(batch)
            yield

    async def _streamed(self, batches: AsyncIterator[list[Planned]]) -> AsyncIterator[None]:
        async for batch in batches:
            await self._start(batch)
            yield

    async def _paced(self, plan: Iterable[Planned], rate: float) -> AsyncIterator[None]:
        """The n-th goes out n/rate seconds after the first, however slow the broker is."""
        start = time.monotonic()
        due: list[Planned] = []
        for number, planned in enumerate(plan):
            wait = start + number / rate - time.monotonic()
            if wait > 0:
                if due:
                    await self._start(due)
                    due = []
                    yield
                await asyncio.sleep(max(wait, _TICK_S))
            due.append(planned)
            if len(due) >= _BATCH:
                await self._start(due)
                due = []
                yield
        if due:
            await self._start(due)
            yield

    async def _start(self, batch: list[Planned]) -> None:
        await self._room.acquire()
        self._spawn(self._publish(batch))

    async def _publish(self, batch: list[Planned]) -> None:
        try:
            self.published += await self._publisher.publish([planned.request for planned in batch])
        finally:
            self._room.release()
        self._on_progress(len(self.published))
        for planned in batch:
            if planned.cancel_after_s is not None:
                self._spawn(self._cancel(planned.request, planned.cancel_after_s))

    async def _cancel(self, request: Request, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._publisher.publish([Request(request.key, BookingCancellationRequested(reason="changed plans"))])

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """``items`` in lists of ``size``, the last one shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Feed(Generic[T]):
    """Reads a blocking iterable in a thread, so that what trickles in from a pipe goes out as it comes."""

    def __init__(self, items: Callable[[], Iterable[T]]) -> None:
        self._items = items
        self._queue: queue.Queue[T | None] = queue.Queue(maxsize=4 * _BATCH)
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="feed", daemon=True).start()

    def _read(self) -> None:
        try:
            for item in self._items():
                self._queue.put(item)
        except BaseException as error:  # noqa: BLE001  # it is raised where the items are wanted
            self._error = error
        finally:
            self._queue.put(None)

    async def batches(self) -> AsyncIterator[list[T]]:
        """What has come so far, again and again; waits for at least one item. Raises what the iterable raised."""
        try:
            async for batch in self._batches():
                yield batch
        finally:
            with suppress(queue.Full):
                self._queue.put_nowait(None)  # a thread that still waits for an item must not keep the process
        if self._error is not None:
            raise self._error

    async def _batches(self) -> AsyncIterator[list[T]]:
        ended = False
        while not ended:
            batch: list[T] = []
            item = await asyncio.to_thread(self._queue.get)
            while True:
                if item is None:
                    ended = True
                    break
                batch.append(item)
                if len(batch) == _BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                yield batch
