"""Cancelling races the pivot, and exactly one wins; after the pivot it is a full rollback."""

from __future__ import annotations

import pytest

from saga.engine.decision import SagaEnded, Verdict
from saga.engine.state import Status
from schemas import events
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
from tests.support.bookings import a_booking, cancellation, confirmed, forward, offers, refunded, released, restored
from tests.support.sentences import (
    DEADLINE,
    NEXT_ATTEMPT,
    Notes,
    Stands,
    To,
    Verdicts,
    asked_for,
    command,
    dropped,
    event,
    given,
    span,
)
from tests.unit.machine.test_time import UNDOS, settle

STEPS = [CheckAvailability, AcquireLock, ProcessPayment, ConfirmBooking]


@pytest.mark.parametrize("done", range(4), ids=[step.__name__ for step in STEPS])
@pytest.mark.parametrize("retried", [False, True], ids=["at the first attempt", "after a retry"])
def test_cancelling_while_a_step_is_pending_undoes_it_and_all_before_it(done: int, *, retried: bool) -> None:
    story = given(a_booking()).when(*forward(done), *([NEXT_ATTEMPT] if retried else [])).when(cancellation())
    undos = settle(story).path()[done + 1 + retried :]
    assert undos == [*UNDOS[done + 1], "BookingCancelled"]
    story.then(
        event(events.BookingCancelled, reason="requested", compensated=done > 0),
        *([span("booking.rollback", {"saga.rollback_reason": "cancelled"})] if done else []),
        span("booking.create", {"booking.status": "CANCELLED", "error.type": "cancelled"}, error="requested"),
        Stands(Status.CANCELLED),
    )


def test_a_cancellation_that_comes_before_the_pivot_has_answered_wins() -> None:
    (
        given(a_booking())
        .when(*forward(3))
        .when(cancellation())
        .then(command(RestoreInventory), Stands(Status.COMPENSATING))
        .when(To(ConfirmBooking, confirmed()))
        .then(dropped("stale_reply"), Stands(Status.COMPENSATING))
    )


def test_a_pivot_that_answers_first_wins_and_the_cancellation_is_a_full_rollback() -> None:
    (
        given(a_booking())
        .when(*forward(4))
        .then(event(events.BookingConfirmed), span("booking.create"), Stands(Status.CONFIRMED))
        .when(cancellation("change of plans"))
        .then(command(RestoreInventory, undoes="bk-1.confirm.1"), Stands(Status.COMPENSATING))
        .when(restored())
        .then(command(RefundPayment))
        .when(refunded())
        .then(command(ReleaseLock))
        .when(released())
        .then(
            event(events.BookingCancelled, reason="change of plans", compensated=True),
            span("booking.rollback", {"saga.rollback_steps": ("restore_inventory", "refund_payment", "release_lock")}),
            Stands(Status.CANCELLED),
        )
    )


def test_cancelling_a_confirmed_booking_does_not_write_its_root_span_again() -> None:
    story = settle(given(a_booking()).when(*forward(4), cancellation()))
    assert [root.attributes["booking.status"] for root in story.spans("booking.create")] == ["CONFIRMED"]


def test_a_cancelled_confirmed_booking_is_counted_as_having_ended_before() -> None:
    story = given(a_booking()).when(*forward(4))
    confirmed_at = story.now_us
    settle(story.when(cancellation()))
    story_ended = [fact for fact in story.decision.facts if isinstance(fact, SagaEnded)]
    assert [(fact.status, fact.after_end, fact.error_type) for fact in story_ended] == [
        ("CANCELLED", True, "cancelled")
    ]
    assert story.saga.ended_us == confirmed_at
    assert story.latest(events.BookingCancelled).envelope.time_us == story.now_us
    assert story.saga.reason == "requested"


@pytest.mark.parametrize("answered", range(3))
def test_a_second_cancellation_changes_nothing_during_the_rollback(answered: int) -> None:
    story = given(a_booking()).when(*forward(4), cancellation(), *[restored(), refunded()][:answered])
    before = story.saga
    story.when(asked_for(cancellation("again"), message_id="another"))
    assert story.decision.verdict is Verdict.STALE
    assert story.saga == before


@pytest.mark.parametrize("ended", ["failed", "timed out", "cancelled"])
def test_a_cancellation_of_what_has_ended_without_a_room_is_dropped(ended: str) -> None:
    story = given(a_booking())
    happening = {"failed": bookings.no_rooms(), "timed out": DEADLINE, "cancelled": cancellation()}[ended]
    story.when(happening)  # type: ignore[arg-type]  # the three have no common type but that of happenings
    before = story.saga
    story.when(asked_for(cancellation(), message_id="too-late")).then(dropped("late_cancellation"))
    assert story.saga == before


def test_a_cancellation_during_a_rollback_does_not_change_why_it_failed() -> None:
    story = given(a_booking()).when(*forward(2)).when(bookings.declined()).when(cancellation())
    story.then(dropped("late_cancellation")).when(released()).then(
        event(events.BookingFailed, error_type="payment_declined"),
        span("booking.rollback"),
        span("booking.create", error="payment declined: insufficient_funds"),
    )


def test_a_cancellation_of_an_unknown_booking_is_dropped_and_counted() -> None:
    story = given().when(cancellation())
    assert story.state is None
    assert story.decision.verdict is Verdict.UNKNOWN_SAGA
    assert [type(fact).__name__ for fact in story.decision.facts] == ["Dropped"]


def test_a_cancellation_before_any_room_was_found_needs_no_rollback() -> None:
    story = given(a_booking()).when(cancellation())
    assert story.saga.rollback is None
    story.when(To(CheckAvailability, offers("101"))).then(dropped("stale_reply"), Stands(Status.CANCELLED))


def test_a_cancelled_booking_is_an_error_to_whoever_asked_for_it() -> None:
    given(a_booking()).when(cancellation("")).then(
        event(events.BookingCancelled, reason="cancelled"),
        span("booking.create", {"error.type": "cancelled"}, error="cancelled"),
        Notes(SagaEnded("CANCELLED", "web", "cancelled", 10_000)),
        Verdicts(Verdict.APPLIED),
    )
