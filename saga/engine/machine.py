"""The saga as a pure function: ``advance(definition, state, input, now) -> Decision``.

No I/O, no clock, no randomness: the same inputs in the same order give the same states, messages and spans, which is
what redelivery, audit and replay rely on. Invariants, proved by the property tests:

* at most one command is awaited at any time;
* a reply counts only if it names the awaited command and the epoch in which that was issued;
* undos run one at a time, in the strict reverse of the steps that were done or whose outcome is unknown;
* a retriable step is never given up: no deadline and no refusal undoes a saga whose pivot has committed;
* every applied input adds one to ``epoch``; nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saga.engine.decision import (
    Decision,
    Dropped,
    Fact,
    Parked,
    Resumed,
    Retried,
    SagaEnded,
    SagaStarted,
    StepEnded,
    Verdict,
)
from saga.engine.definition import Again, Definition, Done, Refused, Retry, StepKind
from saga.engine.definition import Unknown as UnknownAnswer
from saga.engine.envelope import Envelope
from saga.engine.narration import accepted_span, closing_spans, outputs
from saga.engine.state import Outcome, Rollback, Run, State, Status, Timer, Trace
from saga.telemetry.spans import SAMPLED, SpanContext, derive_span_id, derive_trace_id

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; nothing else happened."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a new saga is told about its environment and keeps for life: ``pace`` scales every deadline and delay,
    ``realm`` (the topic prefix) keeps derived trace ids of two environments apart."""

    pace: float = 1.0
    realm: str = ""


def advance(
    definition: Definition[Any], state: State | None, message: Envelope | Tick, now_us: int, birth: Birth | None = None
) -> Decision:
    """Decide. ``definition`` is the one the saga started with; ``now_us`` is the database's time."""
    if isinstance(message, Tick):
        return _tick(definition, state, now_us) if state else Decision(Verdict.UNKNOWN_SAGA, None)
    if isinstance(message.body, definition.starts_on):
        if state is None:
            return _start(definition, message, now_us, birth or Birth())
        return _not_applied(definition, state, message, "duplicate_request")
    if state is None:
        return Decision(Verdict.UNKNOWN_SAGA, None, facts=(Dropped("unknown_saga"),))
    if isinstance(message.body, definition.cancels_on):
        return _cancel(definition, state, message, now_us)
    return _reply(definition, state, message, now_us)


def _start(definition: Definition[Any], message: Envelope, now_us: int, birth: Birth) -> Decision:
    trace = _reserve_trace(message, birth.realm)
    data = definition.begin(message.key, message.body)
    state = State(
        id=message.key,
        definition=definition.name,
        version=definition.version,
        status=Status.RUNNING,
        epoch=1,
        pace=birth.pace,
        data=data,
        trace=trace,
        started_us=now_us,
        deadline_us=now_us + int(definition.deadline_s * birth.pace * _SECOND_US),
        last_message_id=message.id,
    )
    state = _run(definition, state, definition.steps[0].name, now_us)
    facts = (SagaStarted(definition.source(data)),)
    return _applied(definition, state, facts, accepted=True)


def _reserve_trace(message: Envelope, realm: str) -> Trace:
    publisher = message.context
    if publisher is None:
        publisher_id = None
        root = SpanContext(derive_trace_id(realm, message.key, message.id), 0, SAMPLED)
    else:
        publisher_id, root = f"{publisher.span_id:016x}", publisher
    span_id = derive_span_id(realm, message.key, message.id, "root")
    return Trace(
        trace_id=f"{root.trace_id:032x}",
        root_span_id=f"{span_id:016x}",
        flags=root.flags,
        tracestate=root.tracestate,
        publisher_span_id=publisher_id,
        baggage=message.baggage,
    )


def _reply(definition: Definition[Any], state: State, message: Envelope, now_us: int) -> Decision:
    run = state.pending
    headers = message.saga
    if run is None or headers is None or headers.command_id != run.command_id or headers.epoch != run.epoch:
        return _not_applied(definition, state, message, "stale_reply")
    step = definition.step(run.step)
    answer_to = step.replies.get(type(message.body))
    expected = answer_to is not None if run.undoes is None else step.undo and type(message.body) in step.undo.replies
    if not expected:
        return Decision(Verdict.STALE, state, facts=(Dropped("unexpected_reply"),))
    state = state.but(last_message_id=message.id, epoch=state.epoch + 1)
    # The reply says which attempt did the work: its span is the one an undo links to.
    run = run.but(attempt=headers.attempt, answered=headers.attempt, ended_us=now_us)
    if run.undoes is not None:
        return _undone(definition, state, run, now_us)
    assert answer_to is not None
    answer = answer_to(definition.decode(state), message.body)
    state = state.but(data=answer.data)
    outcome = {Done: Outcome.DONE, UnknownAnswer: Outcome.UNKNOWN}.get(type(answer), Outcome.REFUSED)
    state = _replace_last(state, run.but(outcome=outcome))
    facts: tuple[Fact, ...] = (StepEnded(step.name, outcome.value, _since(run, now_us)),)
    if isinstance(answer, Done):
        following = definition.following(step.name)
        if following is None:
            return _end(definition, state, Status.CONFIRMED, now_us, facts)
        return _applied(definition, _run(definition, state, following.name, now_us), facts)
    tried = sum(1 for earlier in state.runs if earlier.step == step.name)
    if step.kind is StepKind.RETRIABLE:
        # Asked anew, but in its own time: at once would be as fast as the worker can refuse.
        pause_us = int(step.retry.delay_us(run.command_id, tried) * state.pace)
        return _applied(definition, _run(definition, state, step.name, now_us, pause_us), facts)
    if isinstance(answer, Again) and tried < step.max_runs:
        return _applied(definition, _run(definition, state, step.name, now_us), facts)
    if isinstance(answer, Refused | UnknownAnswer):
        return _roll_back(definition, state, Status.FAILED, answer.error_type, answer.reason, now_us, facts)
    return _roll_back(
        definition, state, Status.FAILED, f"{step.name}_exhausted", "every try was refused", now_us, facts
    )


def _undone(definition: Definition[Any], state: State, run: Run, now_us: int) -> Decision:
    assert state.rollback is not None
    undo = definition.step(run.step).undo
    assert undo is not None
    state = _replace_last(state, run.but(outcome=Outcome.DONE))
    rollback = state.rollback
    assert rollback is not None
    rollback = rollback.but(todo=rollback.todo[1:], done=(*rollback.done, undo.name))
    facts: tuple[Fact, ...] = (StepEnded(undo.name, Outcome.DONE.value, _since(run, now_us), compensation=True),)
    if state.status is Status.NEEDS_ATTENTION:
        facts = (*facts, Resumed(undo.name))
        # The spans of the end are out. What is left to undo belongs under a second rollback span.
        rollback = rollback.but(
            ended_as=rollback.ended_as or state.status,
            span_id=_rollback_span_id(state, run.command_id),
            started_us=now_us,
            ended_us=0,
        )
    state = state.but(rollback=rollback, status=Status.COMPENSATING)
    return _next_undo(definition, state, now_us, facts)


def _cancel(definition: Definition[Any], state: State, message: Envelope, now_us: int) -> Decision:
    if state.status not in {Status.RUNNING, Status.CONFIRMED}:
        return _not_applied(definition, state, message, "late_cancellation")
    state = state.but(last_message_id=message.id, epoch=state.epoch + 1)
    reason = str(getattr(message.body, "reason", "") or "cancelled")
    return _roll_back(definition, state, Status.CANCELLED, "cancelled", reason, now_us, ())


def _tick(definition: Definition[Any], state: State, now_us: int) -> Decision:
    if not state.status.live:
        return _say_again(definition, state, Verdict.REPEATED)
    run, timer = state.pending, state.timer
    assert run is not None, "a live saga always awaits exactly one reply"
    assert timer is not None, "a live saga always has a timer"
    if timer.deadline_us is not None:
        forward = run.undoes is None
        if forward and now_us >= min(timer.deadline_us, state.deadline_us):
            state = state.but(epoch=state.epoch + 1)
            reason = f"{run.step} did not answer in time" if now_us >= timer.deadline_us else "the saga took too long"
            return _roll_back(definition, state, Status.TIMED_OUT, "timeout", reason, now_us, ())
        if not forward and now_us >= timer.deadline_us:
            return _park(definition, state, run, now_us)
    if now_us < timer.next_attempt_us:
        return Decision(Verdict.IDLE, state)
    run = run.but(attempt=run.attempt + 1, sent_us=run.sent_us if run.attempt else now_us)
    delay = int(_retry_of(definition, run).delay_us(run.command_id, run.attempt) * state.pace)
    timer = timer.but(next_attempt_us=now_us + delay)
    state = _replace_last(state, run).but(timer=timer, epoch=state.epoch + 1)
    return _applied(definition, state, (Retried(_name_of(definition, run), run.attempt),))


def _park(definition: Definition[Any], state: State, run: Run, now_us: int) -> Decision:
    rollback = state.rollback
    assert rollback is not None
    state = state.but(
        status=Status.NEEDS_ATTENTION,
        epoch=state.epoch + 1,
        timer=None,
        ended_us=state.ended_us or now_us,
        rollback=rollback.but(ended_us=now_us),
    )
    name = _name_of(definition, run)
    facts: tuple[Fact, ...] = (Parked(name), _ended_fact(definition, state, now_us))
    return Decision(Verdict.APPLIED, state, outputs(definition, state), closing_spans(definition, state), facts)


def _roll_back(
    definition: Definition[Any],
    state: State,
    target: Status,
    error_type: str,
    reason: str,
    now_us: int,
    facts: tuple[Fact, ...],
) -> Decision:
    ended_as = None if state.status.live else state.status
    if (run := state.pending) is not None:
        facts = (*facts, StepEnded(run.step, Outcome.UNKNOWN.value, _since(run, now_us)))
        state = _replace_last(state, run.but(outcome=Outcome.UNKNOWN, ended_us=now_us))
    state = state.but(reason=reason, error_type=error_type)
    attempted = [run for run in state.runs if run.outcome in {Outcome.DONE, Outcome.UNKNOWN}]
    todo = tuple(run.command_id for run in reversed(attempted) if definition.step(run.step).undo is not None)
    if not todo and ended_as is None:
        return _end(definition, state, target, now_us, facts)
    rollback = Rollback(
        reason=error_type,
        target=target,
        span_id=_rollback_span_id(state),
        started_us=now_us,
        todo=todo,
        ended_as=ended_as,
    )
    state = state.but(status=Status.COMPENSATING, rollback=rollback)
    return _next_undo(definition, state, now_us, facts)


def _next_undo(definition: Definition[Any], state: State, now_us: int, facts: tuple[Fact, ...]) -> Decision:
    rollback = state.rollback
    assert rollback is not None
    if not rollback.todo:
        state = state.but(rollback=rollback.but(ended_us=now_us))
        return _end(definition, state, rollback.target, now_us, facts)
    undone = next(run for run in state.runs if run.command_id == rollback.todo[0])
    undo = definition.step(undone.step).undo
    assert undo is not None
    run = Run(
        step=undone.step,
        # This id format is the dedup key of the undo: never change it.
        command_id=f"{undone.command_id}.undo",
        epoch=state.epoch,
        attempt=1,
        sent_us=now_us,
        undoes=undone.command_id,
    )
    state = state.but(undos=(*state.undos, run), timer=_timer(undo.retry, undo.deadline_s, run, state.pace))
    return _applied(definition, state, facts)


def _rollback_span_id(state: State, *resumed: str) -> str:
    return f"{derive_span_id(state.id, state.trace.root_span_id, 'rollback', *resumed):016x}"


def _run(definition: Definition[Any], state: State, step_name: str, now_us: int, pause_us: int = 0) -> State:
    step = definition.step(step_name)
    number = 1 + sum(1 for run in state.runs if run.step == step_name)
    # This id format is the dedup key of the command, and the provider's idempotency key: never change it.
    command_id = f"{state.id}.{step_name}.{number}"
    run = Run(step=step_name, command_id=command_id, epoch=state.epoch, attempt=0 if pause_us else 1, sent_us=now_us)
    deadline_s = None if step.kind is StepKind.RETRIABLE else step.deadline_s
    timer = _timer(step.retry, deadline_s, run, state.pace)
    if pause_us:
        timer = Timer(next_attempt_us=now_us + pause_us, deadline_us=None)
    return state.but(runs=(*state.runs, run), timer=timer)


def _timer(retry: Retry, deadline_s: float | None, run: Run, pace: float) -> Timer:
    return Timer(
        next_attempt_us=run.sent_us + int(retry.delay_us(run.command_id, run.attempt) * pace),
        deadline_us=None if deadline_s is None else run.sent_us + int(deadline_s * pace * _SECOND_US),
    )


def _since(run: Run, now_us: int) -> int:
    # The clock of a database that failed over may be behind; a duration is never negative.
    return max(0, now_us - run.sent_us)


def _end(definition: Definition[Any], state: State, status: Status, now_us: int, facts: tuple[Fact, ...]) -> Decision:
    after_end = state.rollback is not None and state.rollback.after_end
    ended = state.ended_us if after_end else now_us
    state = state.but(status=status, timer=None, ended_us=ended)
    facts = (*facts, _ended_fact(definition, state, now_us))
    return Decision(Verdict.APPLIED, state, outputs(definition, state), closing_spans(definition, state), facts)


def _ended_fact(definition: Definition[Any], state: State, now_us: int) -> SagaEnded:
    after_end = state.rollback is not None and state.rollback.after_end
    source = definition.source(definition.decode(state))
    return SagaEnded(state.status.value, source, state.error_type, max(0, now_us - state.started_us), after_end)


def _applied(definition: Definition[Any], state: State, facts: tuple[Fact, ...], *, accepted: bool = False) -> Decision:
    spans = (accepted_span(definition, state),) if accepted else ()
    return Decision(Verdict.APPLIED, state, outputs(definition, state), spans, facts)


def _not_applied(definition: Definition[Any], state: State, message: Envelope, reason: str) -> Decision:
    if message.id == state.last_message_id:
        return _say_again(definition, state, Verdict.REPEATED)
    if (confirmed := _as_confirmed_by(message, state)) is not None:
        return _say_again(definition, state, Verdict.REPEATED, said=confirmed)
    return Decision(Verdict.STALE, state, facts=(Dropped(reason),))


def _as_confirmed_by(message: Envelope, state: State) -> State | None:
    """The saga as ``message`` confirmed it, if it did and a cancellation has moved the saga on since.

    Whoever confirmed it may have died before it told anybody, and what the saga has to say now says nothing of that: if
    the reply comes again, the confirmation is announced again.
    """
    headers, last = message.saga, state.runs[-1]
    if state.rollback is None or state.rollback.ended_as is not Status.CONFIRMED or headers is None:
        return None
    if (headers.command_id, headers.epoch) != (last.command_id, last.epoch):
        return None
    # The cancellation came one epoch later; with nothing to undo it also was the last.
    cancelled_in = state.undos[0].epoch if state.undos else state.epoch
    return state.but(status=Status.CONFIRMED, epoch=cancelled_in - 1, undos=(), rollback=None)


def _say_again(definition: Definition[Any], state: State, verdict: Verdict, *, said: State | None = None) -> Decision:
    """What ``state`` (or ``said``, an earlier one) had to say, under the same ids."""
    said = said or state
    spans = closing_spans(definition, said)
    if len(said.runs) == 1 and said.status is Status.RUNNING:
        spans = (accepted_span(definition, said),)
    return Decision(verdict, state, outputs(definition, said), spans)


def _replace_last(state: State, run: Run) -> State:
    if state.rollback is not None:
        return state.but(undos=(*state.undos[:-1], run))
    return state.but(runs=(*state.runs[:-1], run))


def _retry_of(definition: Definition[Any], run: Run) -> Retry:
    step = definition.step(run.step)
    return step.retry if run.undoes is None or step.undo is None else step.undo.retry


def _name_of(definition: Definition[Any], run: Run) -> str:
    step = definition.step(run.step)
    return step.name if run.undoes is None or step.undo is None else step.undo.name
