"""Telling comes after acting: the next service waits for the message, nobody waits for the span that tells of it.

Building spans and counting takes a few tenths of a millisecond at each of a saga's hops. Done between a commit and its
message it would add up on the saga's way; done a moment later, while the broker and the next service are at work, it
does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)

_A_MOMENT_S = 0.002


def at_once(work: Callable[[], None]) -> None:
    """For those who have no reason to put anything off."""
    work()


class Afterwards:
    """Does what it is given in the order in which it came, a moment later, on the event loop.

    The order is what callers rely on: whoever must not go on before something has been told (an offset before its
    spans are handed over) puts that in here, too.
    """

    def __init__(self, delay_s: float = _A_MOMENT_S) -> None:
        self._delay_s = delay_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, work: Callable[[], None]) -> None:
        """Have ``work`` done soon. What it raises is logged: it must not take others' work with it."""
        self._waiting.append(work)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._run)

    def catch_up(self) -> None:
        """Do everything that waits, now."""
        while self._waiting:
            work = self._waiting.popleft()
            try:
                work()
            except Exception:  # noqa: BLE001  # one piece of work must not take the next with it
                _log.exception("telling failed")

    def _run(self) -> None:
        self._timer = None
        self.catch_up()
