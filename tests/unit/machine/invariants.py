"""What must hold of a saga after every single input, whatever was fed to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from saga.engine.decision import Decision, SagaEnded, StepEnded, Verdict
from saga.engine.definition import Definition
from saga.engine.envelope import Envelope, Outgoing
from saga.engine.fold import fold
from saga.engine.machine import Tick, advance
from saga.engine.narration import root_span
from saga.engine.state import Outcome, Run, State, Status
from saga.telemetry.spans import SpanRecord

SETTLED = {Status.FAILED, Status.TIMED_OUT, Status.CANCELLED}


@dataclass
class Watched:
    """A saga under watch: every input goes through :meth:`feed`, which checks all of this module's rules."""

    definition: Definition[Any]
    state: State | None = None
    now_us: int = 1_790_000_000_000_000
    applied: list[tuple[Envelope | Tick, int]] = field(default_factory=list)
    received: list[Envelope] = field(default_factory=list)
    messages: dict[str, Outgoing] = field(default_factory=dict)
    """Everything ever said, by message id, as it was first said."""
    sends: dict[tuple[str, int], Outgoing] = field(default_factory=dict)
    spans: dict[int, SpanRecord] = field(default_factory=dict)
    """Every span ever recorded, by span id."""

    def feed(self, message: Envelope | Tick) -> Decision:
        """Decide on ``message``, twice; check; go on from what JSON makes of the new state."""
        before = self.state
        decision = advance(self.definition, before, message, self.now_us)
        assert decision == advance(self.definition, before, message, self.now_us), "the machine is a function"
        if isinstance(message, Envelope):
            self.received.append(message)
        if decision.verdict is Verdict.APPLIED:
            assert decision.state is not None
            assert decision.state.epoch == (before.epoch if before else 0) + 1, "an applied input adds one to the epoch"
            self.applied.append((message, self.now_us))
            self._first_said(decision)
            if isinstance(message, Envelope):
                again = advance(self.definition, decision.state, message, self.now_us + 1)
                repeated = Decision(Verdict.REPEATED, decision.state, decision.emits, decision.spans)
                assert again == repeated, "redelivery says the same again, and changes nothing"
            self._issued(before, decision.state)
        else:
            assert decision.state == before, "only an applied input changes anything"
        self._said(decision)
        if before is not None and before.status in SETTLED:
            assert decision.verdict is not Verdict.APPLIED, "what has ended stays as it is"
        if before is not None and before.status is Status.CONFIRMED and decision.verdict is Verdict.APPLIED:
            assert isinstance(message, Envelope)
            assert isinstance(message.body, self.definition.cancels_on), "only a cancellation leaves CONFIRMED"
        if decision.state is not None:
            self._stands(decision.state, decision)
            self.state = self.definition.load(decision.state.model_dump_json())
            assert self.state == decision.state, "a stored state is the same state"
        return decision

    def folds(self) -> None:
        """Folding the applied inputs gives the present state."""
        assert fold(self.definition, self.applied) == self.state

    # --- what is said -------------------------------------------------------------------------------------------------

    def _first_said(self, decision: Decision) -> None:
        for outgoing in decision.emits:
            headers = outgoing.envelope.saga
            assert headers is not None
            assert (outgoing.envelope.id, headers.attempt) not in self.sends, "an applied input says something new"
        for span in decision.spans:
            assert span.context.span_id not in self.spans, "an applied input records new spans only"
        for fact in decision.facts:
            assert not isinstance(fact, SagaEnded | StepEnded) or fact.duration_us >= 0, "no time is negative"

    @staticmethod
    def _issued(before: State | None, state: State) -> None:
        run = state.pending
        if run is not None and run not in (*(before.runs if before else ()), *(before.undos if before else ())):
            known = {earlier.command_id for earlier in (*before.runs, *before.undos)} if before else set()
            assert run.command_id in known or run.epoch == state.epoch, "a command carries the epoch that issued it"

    def _said(self, decision: Decision) -> None:
        assert len(decision.emits) <= 1, "one thing at a time"
        for outgoing in decision.emits:
            headers = outgoing.envelope.saga
            assert headers is not None
            known = self.messages.setdefault(outgoing.envelope.id, outgoing)
            assert _but_for_attempt(known) == _but_for_attempt(outgoing), "one id, one message"
            assert self.sends.setdefault((outgoing.envelope.id, headers.attempt), outgoing) == outgoing
        for span in decision.spans:
            assert self.spans.setdefault(span.context.span_id, span) == span, "one id, one span"

    # --- where it stands ----------------------------------------------------------------------------------------------

    def _stands(self, state: State, decision: Decision) -> None:
        pending = [run for run in (*state.runs, *state.undos) if run.outcome is Outcome.PENDING]
        waiting = state.status.live or state.status is Status.NEEDS_ATTENTION
        assert pending == ([state.pending] if waiting else []), "exactly one command is awaited, none after the end"
        assert (state.rollback is not None) >= bool(state.undos), "nothing is undone without a rollback"
        self._undoes_in_reverse(state)
        roots = [span for span in self.spans.values() if span.name == f"{self.definition.name}.create"]
        assert len(roots) == (not state.status.live or bool(state.rollback and state.rollback.after_end)), "one root"
        assert roots in ([], [root_span(self.definition, state)]), "and it can be told again from what is stored"
        for span in self.spans.values():
            assert span.end_ns > span.start_ns
        if state.status.live:
            self._wakes(state)
            if decision.verdict is Verdict.APPLIED and pending[0].attempt:
                assert [outgoing.envelope.id for outgoing in decision.emits] == [pending[0].command_id]
        else:
            assert state.wake_us is None
            announced = [said for said in self.messages if said == f"{state.id}.{state.status.value.lower()}"]
            assert len(announced) == (state.status is not Status.NEEDS_ATTENTION), "every end is told, once"

    def _undoes_in_reverse(self, state: State) -> None:
        if state.rollback is None:
            return
        owed = [run.command_id for run in reversed(state.runs) if self._owed(run)]
        begun = [undo.undoes for undo in state.undos]
        assert begun == owed[: len(begun)], "undos are the strict reverse of what was attempted"
        done = [undo.undoes for undo in state.undos if undo.outcome is Outcome.DONE]
        assert [*done, *state.rollback.todo] == owed, "what is not undone yet is still to do"
        assert len(state.rollback.done) == len(done)
        if state.status in SETTLED:
            assert done == owed, "a rollback that has ended has undone everything"

    def _owed(self, run: Run) -> bool:
        attempted = run.outcome in {Outcome.DONE, Outcome.UNKNOWN}
        return attempted and self.definition.step(run.step).undo is not None

    def _wakes(self, state: State) -> None:
        wake_us = state.wake_us
        assert wake_us is not None, "a live saga wakes up"
        assert advance(self.definition, state, Tick(), wake_us).verdict is Verdict.APPLIED, "and then something is due"
        if self.now_us < wake_us:
            assert advance(self.definition, state, Tick(), wake_us - 1).verdict is Verdict.IDLE, "but not before"


def _but_for_attempt(outgoing: Outgoing) -> Outgoing:
    assert outgoing.envelope.saga is not None
    headers = replace(outgoing.envelope.saga, attempt=0)
    return replace(outgoing, envelope=replace(outgoing.envelope, saga=headers, context=None))
