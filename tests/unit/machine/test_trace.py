"""The trace a saga tells: whose it continues, what each span says, and what hangs under what."""

from __future__ import annotations

import pytest

from saga.engine.envelope import Envelope
from saga.engine.machine import Birth
from saga.engine.narration import step_span_id
from saga.telemetry.spans import SpanContext
from schemas import events
from schemas.base import Message
from schemas.commands import (
    AcquireLock,
    CheckAvailability,
    ConfirmBooking,
    ProcessPayment,
    RefundPayment,
    ReleaseLock,
    RestoreInventory,
)
from tests.support import bookings
from tests.support.bookings import a_booking, cancellation, forward, offers, paid, refunded, released, restored
from tests.support.sentences import (
    DEADLINE,
    NEXT_ATTEMPT,
    START_US,
    Story,
    To,
    asked_for,
    given,
)

PUBLISHER = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 1, "vendor=x")
UNDONE: dict[type[Message], type[Message]] = {
    RestoreInventory: ConfirmBooking,
    RefundPayment: ProcessPayment,
    ReleaseLock: AcquireLock,
}


def traced(context: SpanContext = PUBLISHER) -> Story:
    return given(asked_for(a_booking(), context=context))


def rolled_back(context: SpanContext = PUBLISHER) -> Story:
    return traced(context).when(*forward(4), cancellation(), restored(), refunded(), released())


def test_the_publishers_trace_is_continued_and_its_span_is_the_roots_parent() -> None:
    (root,) = traced().when(*forward(4)).spans("booking.create")
    assert root.parent == PUBLISHER
    assert root.context.trace_id == PUBLISHER.trace_id
    assert root.context.span_id != PUBLISHER.span_id


def test_without_a_publishers_trace_one_is_started_whose_root_has_no_parent() -> None:
    story = given(a_booking()).when(*forward(4))
    (root,) = story.spans("booking.create")
    assert root.parent is None
    assert root.context.sampled
    assert {recorded.context.trace_id for recorded in story.recorded} == {root.context.trace_id}


def test_started_traces_differ_by_booking_request_and_environment() -> None:
    stories = [
        given(asked_for(a_booking(), "bk-1")),
        given(asked_for(a_booking(), "bk-2")),
        given(asked_for(a_booking(), "bk-1", message_id="other")),
        given(asked_for(a_booking(), "bk-1"), birth=Birth(realm="drill.")),
    ]
    assert len({story.saga.trace.trace_id for story in stories}) == 4
    assert len({story.saga.trace.root_span_id for story in stories}) == 4


def test_two_sagas_in_one_publishers_trace_have_their_own_roots() -> None:
    one, two = (given(asked_for(a_booking(), key, context=PUBLISHER)) for key in ("bk-1", "bk-2"))
    assert one.saga.trace.trace_id == two.saga.trace.trace_id
    assert one.saga.trace.root_span_id != two.saga.trace.root_span_id


@pytest.mark.parametrize("flags", [0, 1], ids=["not sampled", "sampled"])
def test_the_publishers_sampling_decision_and_tracestate_travel_with_every_message_and_span(flags: int) -> None:
    story = rolled_back(SpanContext(PUBLISHER.trace_id, PUBLISHER.span_id, flags, "vendor=x"))
    contexts = [recorded.context for recorded in story.recorded]
    contexts += [o.envelope.context for o in story.said if o.envelope.context]
    contexts += [o.envelope.saga.parent for o in story.said if o.envelope.saga and o.envelope.saga.parent]
    assert len(contexts) == 3 + 9 + 9
    assert {(context.flags, context.tracestate) for context in contexts} == {(flags, "vendor=x")}
    assert {context.trace_id for context in contexts} == {PUBLISHER.trace_id}


def test_baggage_travels_with_every_message() -> None:
    story = given(Envelope("m", "bk-1", a_booking(), START_US, baggage="tenant=a")).when(*forward(4))
    assert {o.envelope.baggage for o in story.said} == {"tenant=a"}


def test_an_accepted_saga_is_visible_at_once_under_a_root_that_is_not_out_yet() -> None:
    story = traced()
    (accepted,) = story.recorded
    assert (accepted.name, accepted.kind) == ("booking.accepted", "internal")
    assert accepted.parent == story.saga.trace.root()
    assert accepted.start_ns == START_US * 1000
    assert accepted.attributes == {"booking.id": "bk-1", "booking.source": "web"}


def test_the_root_spans_the_whole_saga_and_says_what_became_of_it() -> None:
    story = traced().when(*forward(4))
    (root,) = story.spans("booking.create")
    assert (root.kind, root.start_ns, root.end_ns) == ("internal", START_US * 1000, story.now_us * 1000)
    assert (root.error, root.links, root.events) == (None, (), ())
    assert root.attributes == {
        "booking.id": "bk-1",
        "booking.user_id": "u-7",
        "booking.source": "web",
        "booking.confirmation_code": "CODE42",
        "booking.status": "CONFIRMED",
        "saga.compensated": False,
    }


@pytest.mark.parametrize(
    ("happenings", "status", "error_type", "compensated"),
    [
        ([bookings.no_rooms()], "FAILED", "no_availability", False),
        ([offers("101"), bookings.contended()], "FAILED", "lock_contention", False),
        ([*forward(2), bookings.declined(), released()], "FAILED", "payment_declined", True),
        ([*forward(2), bookings.payment_unknown(), refunded(), released()], "FAILED", "payment_unknown", True),
        ([*forward(3), bookings.unconfirmed(), refunded(), released()], "FAILED", "confirmation_refused", True),
        ([DEADLINE], "TIMED_OUT", "timeout", False),
        ([offers("101"), DEADLINE, released()], "TIMED_OUT", "timeout", True),
        ([offers("101"), cancellation(), released()], "CANCELLED", "cancelled", True),
        ([*forward(2), bookings.declined(), DEADLINE], "NEEDS_ATTENTION", "payment_declined", True),
    ],
)
def test_a_booking_asked_for_and_not_given_is_an_error_whose_type_says_why(
    happenings: list[object], status: str, error_type: str, compensated: bool
) -> None:
    (root,) = traced().when(*happenings).spans("booking.create")  # type: ignore[arg-type]  # mixed happenings
    assert root.error
    assert root.attributes["booking.status"] == status
    assert root.attributes["error.type"] == error_type
    assert root.attributes["saga.compensated"] is compensated
    assert "booking.confirmation_code" not in root.attributes


def test_the_rollback_hangs_under_the_root_and_spans_all_its_undos() -> None:
    story = traced().when(*forward(2), bookings.declined())
    began = story.now_us
    story.when(released())
    rollback, root = story.decision.spans
    assert (rollback.name, rollback.kind, rollback.parent) == ("booking.rollback", "internal", root.context)
    assert (rollback.start_ns, rollback.end_ns, rollback.error) == (began * 1000, story.now_us * 1000, None)
    assert rollback.attributes == {
        "booking.id": "bk-1",
        "saga.rollback_reason": "payment_declined",
        "saga.rollback_steps": ("release_lock",),
    }


def test_steps_belong_under_the_root_and_undos_under_the_rollback() -> None:
    story = rolled_back()
    (rollback,) = story.spans("booking.rollback")
    for outgoing in story.said:
        headers = outgoing.envelope.saga
        assert headers is not None
        undoing = type(outgoing.envelope.body) in {*UNDONE, events.BookingCancelled}
        assert headers.parent == (rollback.context if undoing else story.saga.trace.root())
        assert outgoing.parent == headers.parent


def test_every_undo_links_to_the_span_of_the_step_it_undoes() -> None:
    story = rolled_back()
    for undo, step in UNDONE.items():
        headers = story.latest(undo).envelope.saga
        assert headers is not None
        expected = step_span_id(story.latest(step).envelope.id, 1)
        assert headers.undoes == story.saga.trace.root().child(expected)


def test_forward_commands_link_to_nothing() -> None:
    story = traced().when(*forward(4))
    assert {o.envelope.saga.undoes for o in story.said if o.envelope.saga} == {None}


def test_an_undo_links_to_the_attempt_that_did_the_work() -> None:
    story = traced().when(*forward(2), NEXT_ATTEMPT, NEXT_ATTEMPT)
    story.when(To(ProcessPayment, paid(), attempt=2), cancellation(), restored())
    headers = story.latest(RefundPayment).envelope.saga
    assert headers is not None
    assert headers.undoes is not None
    assert headers.undoes.span_id == step_span_id("bk-1.process_payment.1", 2)


def test_an_undo_of_a_step_without_a_reply_links_to_the_first_attempt_which_later_ones_join() -> None:
    story = traced().when(offers("101"), NEXT_ATTEMPT, cancellation())
    headers = story.latest(ReleaseLock).envelope.saga
    assert headers is not None
    assert headers.undoes is not None
    assert headers.undoes.span_id == step_span_id("bk-1.acquire_lock.1", 1)


def test_every_message_has_its_own_send_span() -> None:
    story = rolled_back()
    sends = [o.envelope.context for o in story.said]
    assert None not in sends
    assert len(set(sends)) == len(sends)


def test_no_two_spans_share_an_id() -> None:
    story = rolled_back()
    ids = [recorded.context.span_id for recorded in story.recorded]
    ids += [o.envelope.context.span_id for o in story.said if o.envelope.context]
    ids += [step_span_id(o.envelope.id, 1) for o in story.said]
    ids.append(PUBLISHER.span_id)
    assert len(set(ids)) == len(ids)


def test_commands_carry_what_a_worker_needs_to_answer() -> None:
    headers = traced().latest(CheckAvailability).envelope.saga
    assert headers is not None
    assert (headers.epoch, headers.step, headers.attempt, headers.command_id) == (
        1,
        "check_availability",
        1,
        "bk-1.check_availability.1",
    )
