"""An undo that keeps failing: parked for a person, never ended silently, and resumed when it is done after all."""

from __future__ import annotations

from saga.engine.decision import Parked, Resumed, SagaEnded
from saga.engine.state import Status
from schemas import events
from schemas.commands import RefundPayment, ReleaseLock
from tests.support import bookings
from tests.support.bookings import a_booking, declined, forward, refunded, released
from tests.support.sentences import (
    DEADLINE,
    NEXT_ATTEMPT,
    REPEATED,
    Notes,
    Stands,
    Story,
    To,
    after,
    command,
    dropped,
    event,
    given,
    span,
)


def parked() -> Story:
    """A declined booking whose lock could not be released in time."""
    return given(a_booking()).when(*forward(3)).when(bookings.unconfirmed()).when(DEADLINE)


def test_an_undo_that_keeps_failing_is_repeated_then_parked_for_a_person() -> None:
    story = given(a_booking()).when(*forward(2)).when(declined())
    for attempt in (2, 3, 4):
        story.when(NEXT_ATTEMPT).then(command(ReleaseLock, attempt=attempt), Stands(Status.COMPENSATING))
    story.when(DEADLINE).then(
        span("booking.rollback", {"error.type": "needs_attention"}, error="an undo keeps failing"),
        span("booking.create", {"booking.status": "NEEDS_ATTENTION"}, error="payment declined: insufficient_funds"),
        Stands(Status.NEEDS_ATTENTION),
        Notes(Parked("release_lock")),
    )
    assert story.saga.wake_us is None
    assert story.saga.ended_us == story.now_us


def test_a_parked_saga_tells_the_world_nothing_because_nothing_is_settled() -> None:
    assert not [name for name in parked().path() if name.startswith("Booking")]


def test_ticks_do_not_move_a_parked_saga() -> None:
    story = parked()
    before = story.saga
    story.when(after(86_400.0)).then(
        REPEATED,
        span("booking.rollback", error="an undo keeps failing"),
        span("booking.create", error="confirmation refused: sold"),
    )
    assert story.saga == before


def test_a_late_undo_reply_resumes_a_parked_saga_and_the_rest_is_undone() -> None:
    (
        parked()
        .when(To(RefundPayment, refunded()))
        .then(command(ReleaseLock), Stands(Status.COMPENSATING), Notes(Resumed("refund_payment")))
        .when(released())
        .then(
            event(events.BookingFailed, error_type="confirmation_refused", compensated=True),
            span("booking.rollback", {"saga.rollback_steps": ("refund_payment", "release_lock")}),
            Stands(Status.FAILED),
        )
    )


def test_a_resumed_saga_has_one_root_span_and_a_second_rollback_span() -> None:
    story = parked().when(To(RefundPayment, refunded()), released())
    assert len(story.spans("booking.create")) == 1
    first, second = story.spans("booking.rollback")
    assert first.context != second.context
    assert first.end_ns <= second.start_ns
    asked = story.latest(ReleaseLock).envelope.saga
    assert asked is not None
    assert asked.parent == second.context, "what is undone after the resumption belongs under the second"


def test_a_resumed_saga_is_not_counted_as_one_more_saga() -> None:
    story = parked().when(To(RefundPayment, refunded()), released())
    assert [fact.after_end for fact in story.decision.facts if isinstance(fact, SagaEnded)] == [True]
    assert story.saga.ended_us < story.now_us


def test_a_saga_may_be_parked_twice() -> None:
    story = parked().when(To(RefundPayment, refunded()), DEADLINE)
    story.then(span("booking.rollback", error="an undo keeps failing"), Stands(Status.NEEDS_ATTENTION))
    story.when(To(ReleaseLock, released())).then(
        event(events.BookingFailed), span("booking.rollback"), Stands(Status.FAILED)
    )
    assert len({recorded.context for recorded in story.spans("booking.rollback")}) == 3


def test_a_cancellation_does_not_move_a_parked_saga() -> None:
    parked().when(bookings.cancellation()).then(dropped("late_cancellation"), Stands(Status.NEEDS_ATTENTION))
