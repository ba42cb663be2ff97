"""Named fault points in product code: where a crash matters, the crash can be asked for.

``SAGA_FAULT=orchestrator.after_commit`` makes the process kill itself with SIGKILL the first time it gets there;
``orchestrator.after_commit:7`` the seventh time; ``once=FILE`` appended after a comma (``NAME:7,once=/path``) makes it
happen only if FILE does not exist yet, and creates it, so that a restarted process lives. (The idea is DBOS's.)
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = (
    "after_receive",
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
    "before_offsets",
    "after_offsets",
)
"""Where every consumer of the project can be killed, in the order in which a message meets them."""


class FaultPoint:
    """Counts arrivals at named points and kills the process at the one it was told to."""

    def __init__(self, instruction: str, role: str) -> None:
        name, _, rest = instruction.partition(",")
        point, _, count = name.partition(":")
        wanted, _, where = point.rpartition(".")
        self._point = where if wanted in {role, ""} else ""
        self._left = int(count or 1)
        self._once = Path(rest.removeprefix("once=")) if rest.startswith("once=") else None

    def reach(self, point: str) -> None:
        """Die here if this is the place and the time."""
        if point != self._point:
            return
        self._left -= 1
        if self._left > 0:
            return
        if self._once is not None:
            try:
                self._once.touch(exist_ok=False)
            except FileExistsError:
                self._point = ""
                return
        os.kill(os.getpid(), signal.SIGKILL)
