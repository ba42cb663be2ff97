"""How many sagas this orchestrator lets begin: what has begun goes before what has not.

Without a bound a burst of requests queues up between the steps, where every command behind it looks unanswered and is
sent again. With one it queues up in ``booking.requests``, where waiting costs nothing.
"""

from __future__ import annotations

import time

_FORGET_AFTER_S = 60.0


class Admission:
    """The sagas under way here, as far as this process has seen; one that ends elsewhere is forgotten after a while."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._live: dict[str, float] = {}

    def note(self, saga_id: str, *, live: bool) -> None:
        """A saga was decided on: it is still under way, or it is not."""
        if live:
            self._live[saga_id] = time.monotonic()
        else:
            self._live.pop(saga_id, None)

    def open(self) -> bool:
        """Whether another saga may begin."""
        if len(self._live) < self._limit:
            return True
        oldest = time.monotonic() - _FORGET_AFTER_S
        self._live = {saga_id: seen for saga_id, seen in self._live.items() if seen > oldest}
        return len(self._live) < self._limit
