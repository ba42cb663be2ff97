"""What an audit is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How far an audit goes. The defaults check everything at once, while the system runs.

    ``wait_s`` waits so long for live sagas to end before looking. ``since_us`` (microseconds since the epoch) leaves
    out sagas that started before. ``grace_s`` is how long something may be late before that is a violation: a sweep, an
    event still on its way. ``deep_sample`` bounds how many sagas are folded and how many traces are read, newest first;
    everything else is always examined in full. 0 means no bound.
    """

    wait_s: float = 0.0
    since_us: int = 0
    grace_s: float = 30.0
    min_confirmed: int = 0
    min_compensated: int = 0
    traces: bool = True
    topics: bool = True
    deep_sample: int = 5_000

    @property
    def grace_us(self) -> int:
        """``grace_s`` in microseconds."""
        return int(self.grace_s * SECOND_US)
