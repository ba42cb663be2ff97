"""Group commit for callers that do not know each other: concurrent calls become one call with all their items.

A caller awaits its own item; while a flush is under way, whatever else arrives waits together and goes with the next
one. An idle coalescer adds no delay, a busy one makes batches as large as the flush is slow::

    ledger = Coalescer(write_rows, max_batch=500)
    row = await ledger(charge)            # from any number of tasks
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from opentelemetry.instrumentation.utils import suppress_instrumentation

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Turns ``await coalescer(item)`` from many tasks into ``flush([item, ...])``.

    ``flush`` gets between one and ``max_batch`` items in the order they arrived and returns one result per item in
    that order. At most ``concurrency`` flushes run at a time. What ``flush`` raises is raised to every caller of that
    batch and to no other; the caller decides whether to ask again. A caller that is cancelled leaves its batch as it
    is: an item already handed to ``flush`` is carried out, one still waiting is dropped.

    A flush serves many traces at once, so it runs in a context of its own, without the spans of instrumented
    libraries: a span under the first caller's would be wrong for all the others.
    """

    def __init__(
        self, flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, max_batch: int = 500, concurrency: int = 1
    ) -> None:
        if max_batch < 1 or concurrency < 1:
            raise ValueError("max_batch and concurrency are at least 1")
        self._flush = flush
        self._max_batch = max_batch
        self._concurrency = concurrency
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._drains: set[asyncio.Task[None]] = set()

    async def __call__(self, item: T) -> R:
        """The result ``flush`` has for ``item``; raises what ``flush`` raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._drains) < self._concurrency:
            # The task starts after everything that is ready in this turn of the loop has put its item down.
            self._drains.add(loop.create_task(self._drain(), context=Context()))
        return await future

    async def settle(self) -> None:
        """Wait until nothing is waiting or under way; used when a service stops."""
        while self._drains:
            await asyncio.wait(tuple(self._drains))

    async def _drain(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            with suppress_instrumentation():
                while batch := self._take():
                    await self._run(batch)
        finally:
            # In the same turn as the last look at the queue: an item that arrives later starts a drain of its own.
            self._drains.discard(task)

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting[1].done():  # done before its result: the caller was cancelled
                batch.append(waiting)
        return batch

    async def _run(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = _one_each(batch, await self._flush([item for item, _ in batch]))
        except asyncio.CancelledError:
            for _, future in (*batch, *self._waiting):
                future.cancel()
            self._waiting.clear()
            raise
        except Exception as error:  # noqa: BLE001  # every caller of the batch is told, in its own task
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _one_each(batch: Sequence[object], results: Sequence[R]) -> Sequence[R]:
    if len(results) != len(batch):
        raise RuntimeError(f"flush returned {len(results)} results for {len(batch)} items; it owes one each")
    return results
