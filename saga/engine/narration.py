"""A state told to the world: the messages it implies and the spans that close it. Pure; used at every transition, and
again whenever a message or a span may have been lost. *The state is the outbox*: nothing is sent that cannot be said
again from the stored state under the same ids.
"""

from __future__ import annotations

from typing import Any

from saga.engine.definition import CommandRef, Definition
from saga.engine.envelope import Envelope, Outgoing, SagaHeaders, outgoing
from saga.engine.state import Rollback, Run, State, Status
from saga.telemetry.spans import Attribute, SpanContext, SpanRecord, derive_span_id


def step_span_id(command_id: str, attempt: int) -> int:
    """The span id that a worker gives to an attempt at a command, so that its undo can link to it unseen."""
    return derive_span_id(command_id, str(attempt), "step")


ANNOUNCEMENT = "announce"
"""Where a command names its step, an event says this: it belongs to no step, and any number of workers act on it."""


def observer_span_id(event_id: str, worker: str) -> int:
    """The span id of what ``worker`` does about an event; each of its observers has its own."""
    return derive_span_id(event_id, worker, "observer")


def outputs(definition: Definition[Any], state: State) -> tuple[Outgoing, ...]:
    """What the saga's present state has to say: the command whose reply it awaits, or the event of its end."""
    if (run := state.pending) is not None and state.status.live:
        return (_command(definition, state, run),) if run.attempt else ()
    if not state.status.live and (event := definition.announce(state, definition.decode(state))) is not None:
        said = f"{state.id}.{state.status.value.lower()}"
        ended = state.rollback.ended_us if state.rollback and state.rollback.after_end else state.ended_us
        parent = state.rollback_context if state.rollback and state.rollback.after_end else state.trace.root()
        headers = SagaHeaders(epoch=state.epoch, step=ANNOUNCEMENT, command_id=said, parent=parent)
        envelope = Envelope(said, state.id, event, ended, _source(definition), None, state.trace.baggage, headers)
        return (outgoing(definition.events_topic, envelope, parent),)
    return ()


def _source(definition: Definition[Any]) -> str:
    return f"/{definition.name}/orchestrator"


def _command(definition: Definition[Any], state: State, run: Run) -> Outgoing:
    data = definition.decode(state)
    step = definition.step(run.step)
    if run.undoes is None:
        assert step.build is not None
        parent, undoes, topic = state.trace.root(), None, step.topic
        body = step.build(data, CommandRef(state.id, run.command_id))
    else:
        assert step.undo is not None
        assert state.rollback_context is not None
        undone = next(done for done in state.runs if done.command_id == run.undoes)
        undoes = state.trace.root().child(step_span_id(undone.command_id, undone.seen_attempt))
        parent, topic = state.rollback_context, step.undo.topic
        body = step.undo.build(data, CommandRef(state.id, run.command_id, run.undoes))
    headers = SagaHeaders(run.epoch, step.name, run.attempt, run.command_id, parent, undoes)
    source = _source(definition)
    envelope = Envelope(run.command_id, state.id, body, run.sent_us, source, None, state.trace.baggage, headers)
    return outgoing(topic, envelope, parent)


def accepted_span(definition: Definition[Any], state: State) -> SpanRecord:
    """A short first child of the root, emitted at once, so that a running saga is visible before its root is."""
    root = state.trace.root()
    context = root.child(derive_span_id(state.id, state.trace.root_span_id, "accepted"))
    attributes: dict[str, Attribute] = {f"{definition.name}.id": state.id}
    attributes[f"{definition.name}.source"] = definition.source(definition.decode(state))
    start = state.started_us * 1000
    return SpanRecord(f"{definition.name}.accepted", "internal", context, root, start, start + 1000, attributes)


def closing_spans(definition: Definition[Any], state: State) -> tuple[SpanRecord, ...]:
    """The durable spans of a saga that has ended: its root with true start and end, and its rollback if there was one.

    Whoever finishes the saga emits them; after a crash they are emitted again with the same ids.
    """
    if state.status.live:
        return ()
    spans = [] if state.rollback is None else [_rollback_span(definition, state, state.rollback)]
    if state.rollback is None or not state.rollback.after_end:
        spans.append(root_span(definition, state))
    return tuple(spans)


def root_span(definition: Definition[Any], state: State) -> SpanRecord:
    """The root span as it was when the saga first ended: neither a later cancellation nor an undo that was parked and
    done after all rewrites it."""
    status = (state.rollback.ended_as if state.rollback else None) or state.status
    good = status is Status.CONFIRMED
    attributes: dict[str, Attribute] = dict(definition.describe(state, definition.decode(state)))
    attributes[f"{definition.name}.status"] = status.value
    attributes["saga.compensated"] = state.rollback is not None and not good
    if not good:
        attributes["error.type"] = state.error_type
    return SpanRecord(
        f"{definition.name}.create",
        "internal",
        state.trace.root(),
        state.trace.publisher(),
        state.started_us * 1000,
        max(state.ended_us, state.started_us + 1) * 1000,
        attributes,
        error=None if good else state.reason or state.error_type,
    )


def _rollback_span(definition: Definition[Any], state: State, rollback: Rollback) -> SpanRecord:
    context: SpanContext | None = state.rollback_context
    assert context is not None
    parked = state.status is Status.NEEDS_ATTENTION
    attributes: dict[str, Attribute] = {
        f"{definition.name}.id": state.id,
        "saga.rollback_reason": rollback.reason,
        "saga.rollback_steps": rollback.done,
    }
    if parked:
        attributes["error.type"] = "needs_attention"
    return SpanRecord(
        f"{definition.name}.rollback",
        "internal",
        context,
        state.trace.root(),
        rollback.started_us * 1000,
        max(rollback.ended_us, rollback.started_us + 1) * 1000,
        attributes,
        error="an undo keeps failing" if parked else None,
    )
