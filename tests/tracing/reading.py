"""Waiting for a trace to be as it must be, and what else can be said about one."""

from __future__ import annotations

from itertools import pairwise

from saga.traces.model import Trace
from tests.tracing.tree import Node, differences, twice
from tests.tracing.world import Publisher, World, eventually


async def expect(world: World, publisher: Publisher, *roots: Node, again: bool = False) -> Trace:
    """Wait until the publisher's trace is exactly ``roots``; fails with every difference that remains.

    Nothing may have arrived twice, unless something was said ``again`` (after a crash, say): then under the same ids.
    """
    return await expect_trace(world, publisher.trace_id, publisher.span_id, *roots, again=again)


async def expect_trace(world: World, trace_id: int, external_parent: int, *roots: Node, again: bool = False) -> Trace:
    """The same for any trace."""
    trace = Trace.of(trace_id, ())

    def left() -> list[str]:
        nonlocal trace
        arrived = world.spans(trace_id)
        trace = Trace.of(trace_id, arrived, external_parent)
        return differences(trace, roots) + ([] if again else twice(arrived))

    if not await eventually(lambda: not left()):
        raise AssertionError("the trace differs:\n  " + "\n  ".join(left()))
    return trace


def in_order(trace: Trace, *steps: str) -> None:
    """Steps come one after another, each after the one before has ended, and all within the span they are under."""
    spans = [trace.one(f"booking.{step}") for step in steps]
    for before, after in pairwise(spans):
        assert before.end_ns <= after.start_ns, f"{after.name} begins before {before.name} has ended"
    parent = trace.parent(spans[0])
    assert parent is not None
    for span in spans:
        assert span.parent_id == parent.span_id, f"{span.name} is no sibling of {spans[0].name}"
        assert parent.start_ns <= span.start_ns, f"{span.name} begins before {parent.name}"
        assert span.end_ns <= parent.end_ns, f"{span.name} ends after {parent.name}"
