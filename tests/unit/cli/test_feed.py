"""What trickles in from a blocking source goes on as it comes, and what it raises is raised."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from saga.cli.sending import Feed, in_batches
from saga.errors import UsageError


async def test_everything_arrives_in_order() -> None:
    batches = [batch async for batch in Feed(lambda: range(3_000)).batches()]
    assert [item for batch in batches for item in batch] == list(range(3_000))
    assert max(len(batch) for batch in batches) <= 500


async def test_an_item_is_passed_on_before_the_next_one_has_come() -> None:
    go_on = threading.Event()

    def slowly() -> Iterator[int]:
        yield 1
        assert go_on.wait(10)
        yield 2

    batches = Feed(slowly).batches()
    async with asyncio.timeout(10):
        assert await anext(batches) == [1]
        go_on.set()
        assert await anext(batches) == [2]
        assert [batch async for batch in batches] == []


async def test_what_the_source_raises_is_raised_after_what_came_before() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise UsageError("that is no header")

    batches = Feed(breaking).batches()
    assert await anext(batches) == [1]
    with pytest.raises(UsageError, match="that is no header"):
        await anext(batches)


async def test_a_reader_that_leaves_does_not_wait_for_a_source_that_hangs() -> None:
    never = threading.Event()

    def hanging() -> Iterator[int]:
        yield 1
        never.wait()
        yield 2

    batches = Feed(hanging).batches()
    assert await anext(batches) == [1]
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.05)
    waiting.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    never.set()


def test_batches_hold_everything() -> None:
    assert list(in_batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_batches([], 2)) == []
