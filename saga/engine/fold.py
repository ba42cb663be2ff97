"""Fold recorded inputs through the machine: the proof that stored states follow from recorded messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saga.engine.decision import Verdict
from saga.engine.definition import Definition
from saga.engine.envelope import Envelope
from saga.engine.machine import Birth, Tick, advance
from saga.engine.state import State


def fold(
    definition: Definition[Any], inputs: Iterable[tuple[Envelope | Tick, int]], birth: Birth | None = None
) -> State | None:
    """The state after ``inputs``, each with the time (microseconds) at which it was decided."""
    state: State | None = None
    for message, now_us in inputs:
        decision = advance(definition, state, message, now_us, birth)
        if decision.verdict is Verdict.APPLIED:
            state = decision.state
    return state
