"""The low-water mark: which offset may be committed while records finish in any order.

A slow call never blocks its partition: later records are handled and finished, but the committed offset only moves to
the first record that is still open, so that a crash redelivers everything that was not finished. (Confluent's Parallel
Consumer works this way.)
"""

from __future__ import annotations

from collections import deque


class LowWaterMark:
    """One partition's open records, in offset order."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._next: int | None = None
        self._committed: int | None = None

    def start(self, offset: int) -> None:
        """A record was taken up. Offsets only grow."""
        self._open.append(offset)

    def finish(self, offset: int) -> None:
        """A record was finished, in any order."""
        self._finished.add(offset)
        while self._open and self._open[0] in self._finished:
            done = self._open.popleft()
            self._finished.discard(done)
            self._next = done + 1

    @property
    def open_records(self) -> int:
        """How many records are not finished yet."""
        return len(self._open)

    def committable(self) -> int | None:
        """The offset to commit (that of the next record to read), or None when nothing new can be committed."""
        return self._next if self._next != self._committed else None

    def committed(self, offset: int) -> None:
        """``offset`` is committed."""
        self._committed = offset
