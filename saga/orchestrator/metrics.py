"""Turn what the machine says has happened into metrics."""

from __future__ import annotations

from collections.abc import Iterable

from saga.engine.decision import Dropped, Fact, Parked, Retried, SagaEnded, StepEnded
from saga.telemetry import names
from saga.telemetry.meters import Meters

_OUTCOMES = {"CONFIRMED": "success", "FAILED": "failed", "TIMED_OUT": "timeout", "CANCELLED": "cancelled"}


def count(meters: Meters, name: str, facts: Iterable[Fact]) -> None:
    """Record ``facts`` about a saga of the definition called ``name``."""
    for fact in facts:
        match fact:
            case SagaEnded(status=status, source=source, after_end=after_end) if status in _OUTCOMES:
                outcome = {f"{name}.status": _OUTCOMES[status]}
                meters.attempts.add(1, {**outcome, f"{name}.source": source})
                if not after_end:  # how long it took to confirm has been told; how long it stayed so is no latency
                    meters.duration.record(fact.duration_us / 1000, outcome)
            case StepEnded(step=step, outcome=outcome_, duration_us=duration_us, compensation=compensation):
                attributes = {names.SAGA_STEP: step, "saga.step.outcome": outcome_}
                meters.step_duration.record(duration_us / 1e6, attributes)
                if compensation:
                    meters.compensations.add(1, {names.SAGA_STEP: step})
            case Retried(step=step):
                meters.retries.add(1, {names.SAGA_STEP: step})
            case Dropped(reason=reason):
                meters.stale.add(1, {"reason": reason})
            case Parked() | _:
                pass  # seen as the gauge saga.needs_attention, which also falls again
