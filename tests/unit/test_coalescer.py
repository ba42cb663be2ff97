"""Group commit: batching, order, failures, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from saga.coalescer import Coalescer


class Recording:
    """A flush that keeps its batches and can be held back."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await self.gate.wait()
        self.running -= 1
        if 13 in items:
            raise ValueError("unlucky")
        return [item * 2 for item in items]


async def test_calls_of_one_turn_are_flushed_together_and_each_gets_its_own_result() -> None:
    flush = Recording()
    coalescer = Coalescer(flush)
    assert await asyncio.gather(*(coalescer(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert flush.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_during_a_flush_goes_with_the_next_one() -> None:
    flush = Recording()
    flush.gate.clear()
    coalescer = Coalescer(flush)
    first = asyncio.create_task(coalescer(1))
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(coalescer(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0.01)
    assert flush.batches == [[1]]
    flush.gate.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6, 8]
    assert flush.batches == [[1], [2, 3, 4]]
    assert flush.most_running == 1


async def test_no_batch_is_larger_than_asked_for() -> None:
    flush = Recording()
    coalescer = Coalescer(flush, max_batch=3)
    await asyncio.gather(*(coalescer(n) for n in range(8)))
    assert [len(batch) for batch in flush.batches] == [3, 3, 2]


async def test_up_to_the_allowed_number_of_flushes_run_side_by_side() -> None:
    flush = Recording()
    flush.gate.clear()
    coalescer = Coalescer(flush, max_batch=1, concurrency=2)
    tasks = [asyncio.create_task(coalescer(n)) for n in range(4)]
    await asyncio.sleep(0.01)
    assert flush.running == 2
    flush.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6]
    assert flush.most_running == 2


async def test_a_failing_flush_fails_all_of_its_batch_and_nothing_after_it() -> None:
    coalescer = Coalescer(Recording())
    results = await asyncio.gather(coalescer(12), coalescer(13), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await coalescer(14) == 28


async def test_a_flush_that_returns_too_few_results_is_an_error_for_its_callers() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return list(items)[1:]

    with pytest.raises(RuntimeError, match="owes one each"):
        await Coalescer(short)(1)


async def test_a_cancelled_caller_harms_no_other_and_is_dropped_if_still_waiting() -> None:
    flush = Recording()
    flush.gate.clear()
    coalescer = Coalescer(flush)
    under_way = [asyncio.create_task(coalescer(n)) for n in (1, 2)]
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(coalescer(n)) for n in (3, 4)]
    await asyncio.sleep(0.01)
    under_way[0].cancel()
    waiting[0].cancel()
    await asyncio.sleep(0)
    flush.gate.set()
    assert await under_way[1] == 4
    assert await waiting[1] == 8
    assert flush.batches == [[1, 2], [4]]
    assert under_way[0].cancelled()
    assert waiting[0].cancelled()


async def test_settle_returns_when_everything_is_carried_out() -> None:
    flush = Recording()
    coalescer = Coalescer(flush, max_batch=1)
    tasks = [asyncio.create_task(coalescer(n)) for n in range(3)]
    await asyncio.sleep(0)
    await coalescer.settle()
    assert flush.batches == [[0], [1], [2]]
    assert await asyncio.gather(*tasks) == [0, 2, 4]
    await coalescer.settle()  # idle: returns at once


async def test_a_flush_belongs_to_nobodys_trace() -> None:
    seen: list[tuple[bool, bool]] = []

    async def look(items: Sequence[int]) -> Sequence[int]:
        seen.append((trace.get_current_span().get_span_context().is_valid, is_instrumentation_enabled()))
        return items

    parent = trace.NonRecordingSpan(trace.SpanContext(trace_id=1, span_id=2, is_remote=False))
    with trace.use_span(parent):
        await Coalescer(look)(1)
        assert trace.get_current_span() is parent
    assert seen == [(False, False)]


async def test_a_call_made_as_a_flush_ends_is_not_forgotten() -> None:
    coalescer = Coalescer(Recording())

    async def again() -> int:
        return await coalescer(await coalescer(await coalescer(1)))

    assert await asyncio.wait_for(asyncio.gather(*(again() for _ in range(50))), timeout=5) == [8] * 50


def test_nonsensical_limits_are_refused() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        return items

    for limits in ({"max_batch": 0}, {"concurrency": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Coalescer(flush, **limits)
