"""The process that asks for bookings: traced like any client, its cost reported as role ``publisher``.

Orders: ``prepare`` (count) makes requests ahead, because inventing guests is no client's work; ``publish`` sends what
is prepared, at once or, with ``rate``, evenly at so many a second whatever becomes of the earlier ones (an open loop).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from saga.bench.errand import Answer, carry_out_orders, run_errand
from saga.errors import UsageError
from saga.generate import GeneratedBooking, generate
from saga.publishing import BookingPublisher, Request
from saga.settings import Settings
from saga.store.reading import open_reader

_AT_ONCE = 200  # requests handed to the client together
_UNDER_WAY = 4  # such batches whose acknowledgements are awaited
_NOTICE = timedelta(days=14)


class _Publishing:
    def __init__(self, settings: Settings, publisher: BookingPublisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._bookings: Iterator[GeneratedBooking] = iter(())
        self._prepared: list[Request] = []

    async def handle(self, order: str, words: Answer) -> Answer:
        """See the module."""
        if order == "generate":
            async with open_reader(self._settings, role="bench") as reader:
                lodgings = await reader.lodgings()
            first_day = datetime.now(UTC).date() + _NOTICE
            self._bookings = generate(words["sagas"], words["seed"], lodgings, first_day=first_day)
            return {}
        if order == "prepare":
            self._prepared = [Request(one.key, one.request) for one in islice(self._bookings, words["count"])]
            return {"keys": [request.key for request in self._prepared]}
        if order == "publish":
            requests, self._prepared = self._prepared, []
            rate = words["rate"]
            await (self._evenly(requests, rate) if rate else self._at_once(requests))
            return {}
        raise UsageError(f"the publisher has no order {order!r}")

    async def _at_once(self, requests: list[Request]) -> None:
        room = asyncio.Semaphore(_UNDER_WAY)

        async def send(batch: list[Request]) -> None:
            try:
                await self._publisher.publish(batch)
            finally:
                room.release()

        async with asyncio.TaskGroup() as sending:
            for start in range(0, len(requests), _AT_ONCE):
                await room.acquire()
                sending.create_task(send(requests[start : start + _AT_ONCE]))

    async def _evenly(self, requests: list[Request], rate: float) -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for number, request in enumerate(requests):
                await asyncio.sleep(begun + number / rate - time.monotonic())
                sending.create_task(self._publisher.publish([request]))


async def _serve(settings: Settings) -> None:
    async with BookingPublisher(settings) as publisher:
        await carry_out_orders(_Publishing(settings, publisher).handle)


if __name__ == "__main__":
    run_errand("publisher", _serve)
