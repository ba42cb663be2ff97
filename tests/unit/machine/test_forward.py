"""A booking's way forward: what is asked, in which order, and what a refusal does at each step."""

from __future__ import annotations

import pytest

from saga.engine.decision import SagaEnded, SagaStarted, StepEnded
from saga.engine.state import Status
from schemas import events, limits, topics
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
from tests.support.bookings import (
    a_booking,
    confirmed,
    contended,
    declined,
    forward,
    locked,
    no_rooms,
    offers,
    paid,
    payment_unknown,
    refunded,
    released,
    restored,
    unconfirmed,
)
from tests.support.sentences import REPLY_US, Notes, Stands, command, event, given, span


def test_a_booking_goes_from_request_to_confirmation_one_command_at_a_time() -> None:
    (
        given(a_booking())
        .then(
            command(CheckAvailability, property_id="hotel-1", guests=2, currency="EUR"),
            span("booking.accepted"),
            Stands(Status.RUNNING),
            Notes(SagaStarted("web")),
        )
        .when(offers("101", "102"))
        .then(command(AcquireLock, room_id="101"), Stands(Status.RUNNING))
        .when(locked())
        .then(command(ProcessPayment, amount_minor=bookings.PRICE_MINOR, payment_token="tok_visa"))
        .when(paid())
        .then(command(ConfirmBooking, room_id="101"), Stands(Status.RUNNING))
        .when(confirmed("CODE42"))
        .then(
            event(events.BookingConfirmed, confirmation_code="CODE42", room_id="101", total_minor=bookings.PRICE_MINOR),
            span("booking.create", {"booking.status": "CONFIRMED", "saga.compensated": False}),
            Stands(Status.CONFIRMED),
            Notes(SagaEnded("CONFIRMED", "web", "", 4 * REPLY_US)),
        )
    )


def test_every_message_goes_to_its_own_topic_under_the_booking_id() -> None:
    story = given(a_booking()).when(*forward(4), bookings.cancellation())
    story.when(restored(), refunded(), released())
    said = [(o.topic, type(o.envelope.body).__name__) for o in story.said]
    assert said == [
        (topics.AVAILABILITY, "CheckAvailability"),
        (topics.LOCKING, "AcquireLock"),
        (topics.PAYMENT, "ProcessPayment"),
        (topics.CONFIRMATION, "ConfirmBooking"),
        (topics.EVENTS, "BookingConfirmed"),
        (topics.CONFIRMATION, "RestoreInventory"),
        (topics.PAYMENT, "RefundPayment"),
        (topics.LOCKING, "ReleaseLock"),
        (topics.EVENTS, "BookingCancelled"),
    ]
    assert {o.envelope.key for o in story.said} == {"bk-1"}
    assert {o.envelope.source for o in story.said} == {"/booking/orchestrator"}


def test_command_ids_are_derived_from_booking_step_and_run() -> None:
    story = given(a_booking()).when(offers("101", "102"), contended(), locked(), paid(), unconfirmed())
    story.when(refunded(), released())
    assert [o.envelope.id for o in story.said] == [
        "bk-1.check_availability.1",
        "bk-1.acquire_lock.1",
        "bk-1.acquire_lock.2",
        "bk-1.process_payment.1",
        "bk-1.confirm.1",
        "bk-1.process_payment.1.undo",
        "bk-1.acquire_lock.2.undo",
        "bk-1.failed",
    ]


@pytest.mark.parametrize("reason", ["no_availability", "unknown_property", "invalid_stay"])
def test_without_a_room_the_booking_fails_and_nothing_is_undone(reason: str) -> None:
    (
        given(a_booking())
        .when(no_rooms(reason))
        .then(
            event(events.BookingFailed, status="FAILED", error_type=reason, compensated=False),
            span("booking.create", {"error.type": reason, "saga.compensated": False}, error=reason.replace("_", " ")),
            Stands(Status.FAILED),
        )
    )


def test_a_declined_card_releases_the_lock_and_nothing_else() -> None:
    (
        given(a_booking())
        .when(*forward(2))
        .when(declined("insufficient_funds"))
        .then(command(ReleaseLock, undoes="bk-1.acquire_lock.1"), Stands(Status.COMPENSATING))
        .when(released())
        .then(
            event(events.BookingFailed, error_type="payment_declined", compensated=True),
            span("booking.rollback", {"saga.rollback_reason": "payment_declined"}),
            span("booking.create", {"error.type": "payment_declined"}, error="payment declined: insufficient_funds"),
            Stands(Status.FAILED),
        )
    )


def test_an_unknown_payment_is_undone_like_a_done_one() -> None:
    (
        given(a_booking())
        .when(*forward(2))
        .when(payment_unknown())
        .then(
            command(RefundPayment, undoes="bk-1.process_payment.1", amount_minor=bookings.PRICE_MINOR),
            Notes(StepEnded("process_payment", "unknown", REPLY_US)),
        )
        .when(refunded(0))
        .then(command(ReleaseLock))
        .when(released())
        .then(
            event(events.BookingFailed, error_type="payment_unknown"),
            span("booking.rollback", {"saga.rollback_steps": ("refund_payment", "release_lock")}),
            span("booking.create", error="payment outcome unknown: provider_timeout"),
            Stands(Status.FAILED),
        )
    )


def test_a_refused_confirmation_refunds_and_releases_but_restores_nothing() -> None:
    (
        given(a_booking())
        .when(*forward(3))
        .when(unconfirmed("sold"))
        .then(command(RefundPayment, undoes="bk-1.process_payment.1"))
        .when(refunded())
        .then(command(ReleaseLock))
        .when(released())
        .then(
            event(events.BookingFailed, error_type="confirmation_refused", compensated=True),
            span("booking.rollback"),
            span("booking.create", error="confirmation refused: sold"),
        )
    )


def test_the_longest_reason_a_worker_may_give_still_fits_the_event() -> None:
    story = given(a_booking()).when(*forward(2)).when(declined("x" * limits.MAX_REASON)).when(released())
    body = story.latest(events.BookingFailed).envelope.body
    assert isinstance(body, events.BookingFailed)
    assert body.reason.startswith("payment declined: xxx")
    assert len(body.reason) == limits.MAX_REASON


def test_contention_tries_the_next_offer_under_a_new_reservation() -> None:
    story = (
        given(a_booking())
        .when(offers("101", "102", "103", "104"))
        .then(command(AcquireLock, room_id="101"))
        .when(contended())
        .then(command(AcquireLock, room_id="102"), Notes(StepEnded("acquire_lock", "refused", REPLY_US)))
        .when(contended())
        .then(command(AcquireLock, room_id="103"))
        .when(locked())
        .then(command(ProcessPayment, amount_minor=bookings.PRICE_MINOR + 2))
        .when(paid())
        .then(command(ConfirmBooking, room_id="103"))
        .when(confirmed())
        .then(event(events.BookingConfirmed, room_id="103"), span("booking.create"))
    )
    asked = [o.envelope.body for o in story.said if isinstance(o.envelope.body, AcquireLock)]
    assert len({body.reservation_id for body in asked}) == 3


def test_contention_on_three_offers_fails_the_booking_although_a_fourth_is_left() -> None:
    (
        given(a_booking())
        .when(offers("101", "102", "103", "104"), contended(), contended())
        .when(contended())
        .then(
            event(events.BookingFailed, error_type="lock_contention", reason="Lock contention", compensated=False),
            span("booking.create", {"error.type": "lock_contention"}, error="Lock contention"),
            Stands(Status.FAILED),
        )
    )


def test_contention_on_the_only_offer_fails_the_booking_at_once() -> None:
    given(a_booking()).when(offers("101")).when(contended()).then(
        event(events.BookingFailed, error_type="lock_contention"),
        span("booking.create", error="Lock contention"),
        Stands(Status.FAILED),
    )


def test_refused_locks_are_not_released_and_only_the_held_one_is() -> None:
    story = given(a_booking()).when(offers("101", "102"), contended(), locked(), declined()).when(released())
    undone = [o.envelope.body for o in story.said if isinstance(o.envelope.body, ReleaseLock)]
    held = story.latest(AcquireLock).envelope.body
    assert isinstance(held, AcquireLock)
    assert [(body.undoes, body.reservation_id) for body in undone] == [("bk-1.acquire_lock.2", held.reservation_id)]


def test_an_undo_names_the_reservation_although_no_reply_to_the_lock_ever_came() -> None:
    story = given(a_booking()).when(offers("101"), bookings.cancellation())
    asked, undo = story.latest(AcquireLock).envelope.body, story.latest(ReleaseLock).envelope.body
    assert isinstance(asked, AcquireLock)
    assert isinstance(undo, ReleaseLock)
    assert undo.reservation_id == asked.reservation_id


def test_no_undo_is_sent_before_the_one_before_it_is_done() -> None:
    (
        given(a_booking())
        .when(*forward(4))
        .when(bookings.cancellation())
        .then(command(RestoreInventory))
        .when(restored())
        .then(command(RefundPayment))
        .when(refunded())
        .then(command(ReleaseLock))
    )
