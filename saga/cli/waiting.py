"""Following sagas to their end by asking the store, a few thousand at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saga.cli.counting import Count
    from saga.store.reading import Reader, Summary

_CHUNK = 1_000
_CHUNKS_PER_ROUND = 4
_PAUSES_S = (0.03, 0.5)


def has_ended(summary: Summary) -> bool:
    """Whether nobody needs to wait for this saga any more."""
    return not summary.status.live


async def follow(
    reader: Reader,
    saga_ids: Sequence[str],
    *,
    timeout_s: float,
    settled: Callable[[Summary], bool] = has_ended,
    on_progress: Count = lambda done: None,
) -> dict[str, Summary]:
    """Ask until every saga is ``settled`` or the time is over; returns the last that is known of each.

    A saga that is missing from the answer was never seen by an orchestrator. Raises as :class:`Reader` does.
    """
    known: dict[str, Summary] = {}
    waiting = dict.fromkeys(saga_ids)
    deadline = time.monotonic() + timeout_s
    pause, longest = _PAUSES_S
    while waiting:
        before = len(waiting)
        queue = list(waiting)
        for start in range(0, min(len(queue), _CHUNK * _CHUNKS_PER_ROUND), _CHUNK):
            chunk = queue[start : start + _CHUNK]
            found = await reader.outcomes(chunk)
            known.update(found)
            for saga_id in chunk:
                del waiting[saga_id]
                if saga_id not in found or not settled(found[saga_id]):
                    waiting[saga_id] = None  # to the end of the queue, so that those that hang hide nobody
        on_progress(len(saga_ids) - len(waiting))
        if not waiting or time.monotonic() >= deadline:
            break
        pause = _PAUSES_S[0] if len(waiting) < before else min(pause * 1.5, longest)
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    return known
