"""How a poll is cut so that it can be carried out as sets and still keep each saga's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from saga.messaging.job import Job


def in_runs(jobs: Sequence[Job[Any]]) -> Iterator[list[Job[Any]]]:
    """Split ``jobs`` so that no saga occurs twice in a run: within a run order does not matter, between runs it holds.

    Almost every poll is one run, since a saga awaits one reply at a time.
    """
    run: list[Job[Any]] = []
    seen: set[str] = set()
    for job in jobs:
        if job.envelope.key in seen:
            yield run
            run, seen = [], set()
        run.append(job)
        seen.add(job.envelope.key)
    if run:
        yield run
