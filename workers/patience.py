"""Waiting for a database that is away: what a worker asks of its own tables can be asked again until it is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from saga.messaging.batchworker import LOST_CONNECTION

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def patiently(statement: Callable[[], Awaitable[T]]) -> T:
    """The result of ``statement``, repeated while the database is away; it may have been carried out more than once."""
    pause_s = 0.05
    while True:
        try:
            return await statement()
        except LOST_CONNECTION as error:
            _log.warning("asking the database again in %.2f s: %s: %s", pause_s, type(error).__name__, error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)
