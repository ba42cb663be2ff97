"""A whole trace is recognised, and whatever keeps one from being whole is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from saga.audit.wholeness import Expected, Family, problems
from saga.engine.narration import closing_spans, step_span_id
from saga.engine.state import Run, State
from saga.telemetry.scope import call_series, call_span_id
from saga.telemetry.spans import SpanContext, SpanRecord
from saga.traces.model import Trace, TraceLink, TraceSpan
from tests.support.bookings import UNDO_REPLIES, a_booking, cancellation, forward
from tests.support.sentences import Story, asked_for, given

PUBLISHER = SpanContext(0xABC, 0xDEF)


def confirmed() -> Story:
    """A booking that was confirmed, asked for by a publisher with a trace of its own."""
    return given(asked_for(a_booking(), context=PUBLISHER)).when(*forward(4))


def cancelled() -> Story:
    """A confirmed booking that was cancelled: three undos."""
    return confirmed().when(cancellation(), *UNDO_REPLIES.values())


def _step(state: State, run: Run) -> SpanRecord:
    parent = state.trace.root() if run.undoes is None else state.rollback_context
    assert parent is not None
    links: tuple[SpanContext, ...] = ()
    if run.undoes is not None:
        undone = next(done for done in state.runs if done.command_id == run.undoes)
        links = (parent.child(step_span_id(undone.command_id, undone.attempt)),)
    name = f"booking.{'undo_' if run.undoes else ''}{run.step}"
    context = parent.child(step_span_id(run.command_id, run.attempt))
    return SpanRecord(name, "internal", context, parent, 1, 2, {"booking.id": state.id}, links=links)


def records(story: Story) -> list[tuple[bool, SpanRecord]]:
    """What the rows of a saga keep: the orchestrator's spans, and one for each command."""
    state = story.saga
    own = {span.context.span_id: (False, span) for span in (*story.recorded, *closing_spans(story.definition, state))}
    return [*own.values(), *((True, _step(state, run)) for run in (*state.runs, *state.undos))]


def received(span: SpanRecord) -> TraceSpan:
    """The span as the receiver got it."""
    return TraceSpan(
        span.context.trace_id,
        span.context.span_id,
        span.parent.span_id if span.parent else 0,
        span.name,
        span.kind,
        "test",
        span.start_ns,
        span.end_ns,
        span.attributes,
        links=tuple(TraceLink(link.trace_id, link.span_id) for link in span.links),
        status="unset" if span.error is None else "error",
    )


Change = Callable[[TraceSpan], TraceSpan | None]


def judge(story: Story, change: Change = lambda span: span, *more: TraceSpan) -> list[str]:
    """What is wrong with the trace of ``story`` after ``change`` to each of its spans, and with ``more`` of them."""
    kept = records(story)
    spans = [changed for _, span in kept if (changed := change(received(span))) is not None]
    trace = Trace.of(PUBLISHER.trace_id, [*spans, *more])
    expected = Expected.of(PUBLISHER.trace_id, kept)
    return problems("booking", story.saga, trace, expected, Family(frozenset({PUBLISHER.span_id})))


def named(name: str, then: Change) -> Change:
    """``then`` to the spans of that name alone."""
    return lambda span: then(span) if span.name == name else span


def gone(_: TraceSpan) -> None:
    """The span never arrived."""


@pytest.mark.parametrize("story", [confirmed, cancelled])
def test_a_whole_trace_has_nothing_wrong_though_the_publishers_span_is_elsewhere(story: Callable[[], Story]) -> None:
    assert judge(story()) == []


def test_a_span_received_twice_is_one_span() -> None:
    story = cancelled()
    again = [received(span) for _, span in records(story)]
    assert judge(story, lambda span: span, *again) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (named("booking.create", gone), "0 spans called booking.create"),
        (named("booking.create", lambda s: replace(s, parent_id=0)), "not under the publisher's span"),
        (named("booking.create", lambda s: replace(s, start_ns=s.start_ns + 5_000_000)), "true start and end"),
        (named("booking.create", lambda s: replace(s, end_ns=s.end_ns + 5_000_000)), "true start and end"),
        (named("booking.confirm", gone), "lacks 1 of"),
        (named("booking.confirm", lambda s: replace(s, name="booking.other")), "is called booking.other"),
        (named("booking.confirm", lambda s: replace(s, parent_id=0)), "booking.confirm is not under the saga's root"),
        (named("booking.confirm", lambda s: replace(s, parent_id=99)), "1 spans have a parent that is missing"),
        (named("booking.rollback", gone), "there is no booking.rollback"),
        (named("booking.rollback", lambda s: replace(s, parent_id=99)), "booking.rollback is not under booking.create"),
        (named("booking.undo_process_payment", lambda s: replace(s, links=())), "has no link to the span"),
        (
            named("booking.undo_process_payment", lambda s: replace(s, links=(TraceLink(s.trace_id, 99),))),
            "has no link to the span of the process_payment",
        ),
        (named("booking.process_payment", gone), "has no link to the span of the process_payment"),
    ],
)
def test_what_is_missing_or_wrong_is_named(change: Change, said: str) -> None:
    found = judge(cancelled(), change)
    assert any(said in problem for problem in found), found


def test_an_undo_under_the_root_is_named() -> None:
    story = cancelled()
    root = int(story.saga.trace.root_span_id, 16)
    found = judge(story, named("booking.undo_confirm", lambda s: replace(s, parent_id=root)))
    assert found == ["booking.undo_confirm is not under booking.rollback"]


def test_a_second_span_of_a_step_is_named_unless_it_says_that_it_failed() -> None:
    story = confirmed()
    second = replace(next(received(s) for _, s in records(story) if s.name == "booking.confirm"), span_id=77)
    assert judge(story, lambda s: s, second) == ["1 more spans called booking.confirm than committed steps"]
    assert judge(story, lambda s: s, replace(second, status="error")) == []


def test_a_retry_that_came_too_late_to_count_is_seen_and_no_second_step() -> None:
    story = confirmed()
    first = next(received(span) for _, span in records(story) if span.name == "booking.check_availability")
    run = story.saga.runs[0]
    retry = replace(first, span_id=step_span_id(run.command_id, 2), attributes={**first.attributes, "saga.attempt": 2})
    assert judge(story, lambda s: s, retry) == []
    claimed = replace(retry, span_id=step_span_id("somebody-else.1", 2))
    assert judge(story, lambda s: s, claimed) == ["1 more spans called booking.check_availability than committed steps"]


def test_the_other_side_of_a_call_that_was_cut_off_and_not_made_again_is_no_orphan() -> None:
    story = confirmed()
    step = next(received(span) for _, span in records(story) if span.name == "booking.check_availability")
    lost = call_span_id(call_series(story.saga.runs[0].command_id, 1), 2)
    server = replace(step, span_id=77, parent_id=lost, name="GET /v1/charges", kind="server", attributes={})
    assert judge(story, lambda s: s, server) == []
    for span in (replace(server, parent_id=lost ^ 1), replace(server, kind="internal")):
        assert judge(story, lambda s: s, span) == [f"1 spans have a parent that is missing: {span.name} (test)"]


def test_a_rollback_of_what_was_not_rolled_back_is_named() -> None:
    story = confirmed()
    root = next(received(s) for _, s in records(story) if s.name == "booking.create")
    rollback = replace(root, span_id=77, parent_id=root.span_id, name="booking.rollback")
    assert judge(story, lambda s: s, rollback) == ["it was not rolled back, but there is a booking.rollback"]


def test_another_saga_in_the_publishers_trace_is_none_of_its_business() -> None:
    story = confirmed()
    own = [received(span) for _, span in records(story)]
    others = [
        replace(
            s, span_id=s.span_id ^ 1, parent_id=s.parent_id ^ 1 if s.parent_id != PUBLISHER.span_id else s.parent_id
        )
        for s in own
        if s.name != "booking.create"
    ]
    others = [replace(s, attributes={**s.attributes, "booking.id": "bk-2"}) for s in others]
    assert judge(story, lambda s: s, *others) == []


def test_two_spans_under_one_id_are_named_because_only_one_of_them_can_be_seen() -> None:
    kept = records(confirmed())
    clash = replace(kept[-1][1], name="booking.something_else")
    expected = Expected.of(PUBLISHER.trace_id, [*kept, (False, clash)])
    assert expected.clashes == (
        "booking.confirm and booking.something_else have the same span id, so one of them is never seen",
    )


def test_the_handling_of_a_cancellation_belongs_to_the_canceller_s_trace() -> None:
    kept = records(confirmed())
    elsewhere = replace(kept[0][1], context=SpanContext(0x123, 0x456))
    assert 0x456 not in Expected.of(PUBLISHER.trace_id, [*kept, (False, elsewhere)]).spans
