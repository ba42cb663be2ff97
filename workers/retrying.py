"""Retries by tenacity that cost nothing while nothing goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState

T = TypeVar("T")


async def retried(
    retrying: AsyncRetrying,
    attempt: Callable[[], Awaitable[T]],
    *,
    before_sleep: Callable[[RetryCallState], None] | None = None,
) -> T:
    """The result of ``attempt``, made again as ``retrying`` says; raises what ``retrying`` raises.

    ``before_sleep`` is told of every attempt that is followed by another.

    The first attempt is made without tenacity, whose bookkeeping takes as long as a fifth of an HTTP call; only its
    failure is handed to tenacity, which then counts, waits and reports as if it had seen all of it.
    """
    try:
        return await attempt()
    except Exception as error:  # noqa: BLE001  # tenacity decides whether it is one to retry
        failures = [error]

    async def again() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    return await retrying.copy(before_sleep=before_sleep)(again)
