"""What this orchestrator remembers of the sagas it saved last, so that it need not read them again.

Memory is never trusted with an answer: what is decided from it is saved by compare-and-set, and an input that would
change nothing (stale, repeated) is looked at again with the stored state. So another orchestrator's work is never
overlooked, and the usual message costs one round trip to the database instead of two.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from saga.engine.state import State

_STALE_CLOCK_S = 5.0
_LATE_US = 1_000_000
_DRIFT = 0.0005  # no two clocks that are kept in step drift faster


class Recollection:
    """The latest states saved here, at most ``limit``, and the database's time as of the last answer plus what has
    passed since on this machine's monotonic clock."""

    def __init__(self, limit: int = 2_000) -> None:
        self._limit = limit
        self._states: OrderedDict[str, State] = OrderedDict()
        self._now_us = 0
        self._at = float("-inf")

    def keep(self, state: State) -> None:
        """A state that was just saved. An ended saga is forgotten: nobody is expected to ask for it."""
        self._states.pop(state.id, None)
        if state.status.live:
            self._states[state.id] = state
            if len(self._states) > self._limit:
                self._states.popitem(last=False)

    def forget(self, saga_id: str) -> None:
        """Somebody else has moved this saga on."""
        self._states.pop(saga_id, None)

    def get(self, saga_id: str) -> State | None:
        """The state as it was saved here last."""
        return self._states.get(saga_id)

    def synchronise(self, now_us: int) -> None:
        """The database has just said what time it is.

        An answer that was long under way (a commit waits for the disk) makes the time look earlier than it is, so the
        latest time that any answer supports is kept: what a saga did must not seem to end after the saga itself.
        """
        at = time.monotonic()
        kept = self._now_us + int((at - self._at) * (1 - _DRIFT) * 1_000_000) if self._now_us else 0
        # Far ahead of what the database says: it is not the answer that was late, its clock was set back.
        self._now_us, self._at = (kept if 0 < kept - now_us < _LATE_US else now_us), at

    def now_us(self) -> int | None:
        """The database's time; None when it was last told too long ago."""
        passed_s = time.monotonic() - self._at
        return None if passed_s > _STALE_CLOCK_S else self._now_us + int(passed_s * 1_000_000)
