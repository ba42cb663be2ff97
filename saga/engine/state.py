"""What is known about one saga. Immutable; times are microseconds since the epoch, by the database's clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from saga.telemetry.spans import SpanContext


class Status(StrEnum):
    """Where a saga stands. The last five are terminal; only a cancellation leaves ``CONFIRMED``."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"

    @property
    def live(self) -> bool:
        """Whether the saga is waiting for somebody."""
        return self in {Status.RUNNING, Status.COMPENSATING}


class Outcome(StrEnum):
    """What became of a command. Three outcomes, not two: *unknown* is undone like *done*."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_set = object.__setattr__


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def but(self, **changes: Any) -> Self:
        """The same, but for ``changes``: what ``model_copy(update=...)`` does, at a quarter of its cost.

        The machine does this several times per message. Nothing is validated: the machine makes no invalid values.
        """
        changed = object.__new__(type(self))
        _set(changed, "__dict__", {**self.__dict__, **changes})
        _set(changed, "__pydantic_fields_set__", self.__pydantic_fields_set__ | changes.keys())
        _set(changed, "__pydantic_extra__", None)
        _set(changed, "__pydantic_private__", None)
        return changed


class Run(_Frozen):
    """One execution of a step, forward (``undoes`` None) or of its undo (``undoes``: the command id taken back).

    ``attempt`` counts how often the command was sent; 0: not yet, it waits for its time.
    """

    step: str
    command_id: str
    epoch: int
    attempt: int
    sent_us: int
    outcome: Outcome = Outcome.PENDING
    ended_us: int = 0
    undoes: str | None = None
    answered: int = 0
    """The attempt that the reply was about; 0: no reply came."""

    @property
    def seen_attempt(self) -> int:
        """The attempt whose span tells of this run: the one answered, else the first, which any later one joins."""
        return self.answered or 1


class Timer(_Frozen):
    """When the pending command is sent again, and when it is given up (None: never, it follows the pivot)."""

    next_attempt_us: int
    deadline_us: int | None


class Trace(_Frozen):
    """The reserved identity of the saga's root span and, where there was one, its publisher's."""

    trace_id: str
    root_span_id: str
    flags: int
    tracestate: str = ""
    publisher_span_id: str | None = None
    baggage: str = ""

    def root(self) -> SpanContext:
        """The saga's root span."""
        return SpanContext(int(self.trace_id, 16), int(self.root_span_id, 16), self.flags, self.tracestate)

    def publisher(self) -> SpanContext | None:
        """The span that asked for the saga, if it was traced."""
        return None if self.publisher_span_id is None else self.root().child(int(self.publisher_span_id, 16))


class Rollback(_Frozen):
    """An undoing under way or done: what made it necessary, what is left, and where it ends."""

    reason: str
    target: Status
    span_id: str
    started_us: int
    todo: tuple[str, ...]
    """Command ids still to undo, next first."""
    done: tuple[str, ...] = ()
    """Names of the undo steps carried out, in order."""
    ended_us: int = 0
    ended_as: Status | None = None
    """How the saga had ended (``CONFIRMED``, or parked ``NEEDS_ATTENTION``) when this began, if it had."""

    @property
    def after_end(self) -> bool:
        """Whether the saga had ended before: its root span is already out, and is not rewritten."""
        return self.ended_as is not None


class State(_Frozen):
    """One saga. ``data`` is the definition's own model, as JSON-ready values, decoded by the definition."""

    id: str
    definition: str
    version: int
    status: Status
    epoch: int
    pace: float
    data: Any
    trace: Trace
    runs: tuple[Run, ...] = ()
    undos: tuple[Run, ...] = ()
    timer: Timer | None = None
    rollback: Rollback | None = None
    started_us: int
    deadline_us: int
    ended_us: int = 0
    reason: str = ""
    error_type: str = ""
    last_message_id: str = ""

    @property
    def pending(self) -> Run | None:
        """The command whose reply is awaited: there is never more than one."""
        runs = self.undos if self.rollback is not None else self.runs
        return runs[-1] if runs and runs[-1].outcome is Outcome.PENDING else None

    @property
    def wake_us(self) -> int | None:
        """When the sweeper must look at this saga, if nothing happens before; None: never."""
        if not self.status.live or self.timer is None:
            return None
        if self.timer.deadline_us is None:
            return self.timer.next_attempt_us
        soonest = min(self.timer.next_attempt_us, self.timer.deadline_us)
        return min(soonest, self.deadline_us) if self.status is Status.RUNNING else soonest

    @property
    def rollback_context(self) -> SpanContext | None:
        """The span of the rollback, if there is one."""
        return self.trace.root().child(int(self.rollback.span_id, 16)) if self.rollback else None
