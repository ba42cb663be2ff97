"""What the machine answers: the next state, what to say, what to record, and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from saga.engine.envelope import Outgoing
from saga.engine.state import State
from saga.telemetry.spans import SpanRecord


class Verdict(StrEnum):
    """What the machine made of an input."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """The input that led to the present state came again: say again what was said, under the same ids."""
    STALE = "stale"
    """Late, duplicate or out of date: dropped and counted."""
    UNKNOWN_SAGA = "unknown_saga"
    """It concerns a saga that does not exist."""
    IDLE = "idle"
    """A tick with nothing due."""


@dataclass(frozen=True, slots=True)
class SagaStarted:
    """A saga began."""

    source: str


@dataclass(frozen=True, slots=True)
class SagaEnded:
    """A saga reached a terminal state. ``after_end``: it had ended before (confirmed and since cancelled, or parked and
    since resumed), so it is not one more saga."""

    status: str
    source: str
    error_type: str
    duration_us: int
    after_end: bool = False


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step's execution, or an undo, got its answer (or was given up: outcome ``unknown``)."""

    step: str
    outcome: str
    duration_us: int
    compensation: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """A command was sent again because no reply came."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Parked:
    """An undo kept failing; a person must look."""

    step: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """An undo that had been parked was done after all."""

    step: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """An input was dropped: ``reason`` is low-cardinality."""

    reason: str


Fact = SagaStarted | SagaEnded | StepEnded | Retried | Parked | Resumed | Dropped


@dataclass(frozen=True, slots=True)
class Decision:
    """The machine's whole answer to one input."""

    verdict: Verdict
    state: State | None
    emits: tuple[Outgoing, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    facts: tuple[Fact, ...] = ()
