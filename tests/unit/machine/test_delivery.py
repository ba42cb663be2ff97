"""At-least-once delivery: late, duplicate and stale messages change nothing, and what was lost is said again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saga.booking import DEFINITION
from saga.engine.decision import Decision, Verdict
from saga.engine.envelope import Envelope
from saga.engine.fold import fold
from saga.engine.machine import Tick, advance
from saga.engine.state import Status
from schemas.commands import AcquireLock, CheckAvailability, ConfirmBooking, ProcessPayment, ReleaseLock
from schemas.replies import ConfirmationIssued, LockAcquired
from tests.support import bookings
from tests.support.bookings import (
    a_booking,
    cancellation,
    confirmed,
    contended,
    declined,
    forward,
    locked,
    offers,
    paid,
    payment_unknown,
    refunded,
    released,
    restored,
)
from tests.support.sentences import (
    AGAIN,
    DEADLINE,
    NEXT_ATTEMPT,
    REPEATED,
    START_US,
    Happening,
    To,
    asked_for,
    command,
    dropped,
    given,
    span,
)

LIVES: dict[str, list[Happening]] = {
    "confirmed": [*forward(4)],
    "contended": [offers("101", "102"), contended(), locked(), paid(), confirmed()],
    "declined": [*forward(2), declined(), released()],
    "unknown payment": [*forward(2), payment_unknown(), refunded(), released()],
    "unconfirmed": [*forward(3), bookings.unconfirmed(), refunded(), released()],
    "cancelled early": [offers("101"), cancellation(), released()],
    "cancelled late": [*forward(4), cancellation(), restored(), refunded(), released()],
}


@pytest.mark.parametrize("life", LIVES)
def test_an_input_that_comes_again_at_once_repeats_the_same_messages_and_spans_and_changes_nothing(life: str) -> None:
    story = given(a_booking())
    for happening in [None, *LIVES[life]]:
        if happening is not None:
            story.when(happening)
        first, before = story.decision, story.saga
        assert first.verdict is Verdict.APPLIED
        story.when(AGAIN)
        assert story.decision == Decision(Verdict.REPEATED, before, first.emits, first.spans)


@pytest.mark.parametrize("life", LIVES)
def test_every_earlier_message_that_comes_again_is_dropped(life: str) -> None:
    story = given(a_booking()).when(*LIVES[life])
    envelopes = [message for message, _ in story.inputs if isinstance(message, Envelope)]
    for envelope in envelopes[:-1]:
        if life == "cancelled late" and isinstance(envelope.body, ConfirmationIssued):
            continue  # see the next one
        story.feed(envelope)
        assert story.decision.verdict is Verdict.STALE
        assert not story.decision.emits
        assert not story.decision.spans


def test_what_confirmed_a_booking_that_was_cancelled_since_announces_it_again_when_it_comes_again() -> None:
    """Whoever confirmed it may have died before it told anybody; the cancellation says nothing of that."""
    story = given(a_booking()).when(*forward(4))
    reply, first = story.inputs[-1][0], story.decision
    assert isinstance(reply, Envelope)
    for happening in (cancellation(), restored(), refunded(), released()):
        story.when(happening)
        before = story.saga
        story.feed(reply)
        assert story.decision == Decision(Verdict.REPEATED, before, first.emits, first.spans)


@pytest.mark.parametrize("life", LIVES)
def test_folding_what_was_received_gives_the_state_that_is_stored(life: str) -> None:
    story = given(a_booking()).when(*LIVES[life])
    assert fold(DEFINITION, story.inputs) == story.saga


@pytest.mark.parametrize("life", LIVES)
def test_folding_ignores_redeliveries_and_idle_ticks(life: str) -> None:
    story = given(a_booking())
    for happening in LIVES[life]:
        story.when(AGAIN)
        story.feed(Tick())
        story.when(happening)
    assert fold(DEFINITION, story.inputs) == story.saga


def test_folding_takes_retries_and_timeouts_into_account() -> None:
    story = given(a_booking()).when(*forward(2), NEXT_ATTEMPT, DEADLINE, NEXT_ATTEMPT, refunded(), released())
    assert story.saga.status is Status.TIMED_OUT
    assert fold(DEFINITION, story.inputs) == story.saga


def test_deciding_twice_on_the_same_input_gives_the_same_decision() -> None:
    story = given(a_booking()).when(*forward(2))
    before, reply = story.saga, story.reply_to(story.latest(ProcessPayment), paid())
    assert advance(DEFINITION, before, reply, START_US) == advance(DEFINITION, before, reply, START_US)


def test_a_lost_command_is_said_again_with_its_present_attempt_when_the_input_comes_again() -> None:
    (given(a_booking()).when(offers("101"), NEXT_ATTEMPT).when(AGAIN).then(REPEATED, command(AcquireLock, attempt=2)))


def test_a_request_that_comes_again_while_its_first_command_is_retried_repeats_that_attempt() -> None:
    given(a_booking()).when(NEXT_ATTEMPT).when(AGAIN).then(
        REPEATED, command(CheckAvailability, attempt=2), span("booking.accepted")
    )


def test_a_second_request_for_the_same_booking_is_dropped() -> None:
    story = given(a_booking()).when(*forward(1))
    story.when(asked_for(a_booking(user_id="somebody-else"), message_id="another")).then(dropped("duplicate_request"))


def test_a_reply_from_another_epoch_is_dropped() -> None:
    story = given(a_booking()).when(*forward(2))
    for off_by in (-1, 1):
        story.when(To(ProcessPayment, paid(), epoch_off_by=off_by)).then(dropped("stale_reply"))


def test_a_reply_to_another_command_is_dropped() -> None:
    story = given(a_booking()).when(*forward(2))
    story.when(To(CheckAvailability, offers("999"))).then(dropped("stale_reply"))


def test_a_reply_that_names_another_command_in_the_right_epoch_is_dropped() -> None:
    story = given(a_booking()).when(*forward(2))
    reply = story.reply_to(story.latest(ProcessPayment), paid())
    assert reply.saga is not None
    story.when(replace(reply, saga=replace(reply.saga, command_id="bk-2.process_payment.1"))).then(
        dropped("stale_reply")
    )


def test_a_late_reply_to_a_refused_run_does_not_count_for_the_next_run() -> None:
    story = given(a_booking()).when(offers("101", "102"), contended())
    first = next(o for o in story.said if isinstance(o.envelope.body, AcquireLock))
    late = story.reply_to(first, locked())
    story.when(replace(late, id="late")).then(dropped("stale_reply"))


def test_a_reply_without_saga_headers_is_dropped() -> None:
    story = given(a_booking())
    story.when(Envelope("foreign", "bk-1", offers("101"), START_US)).then(dropped("stale_reply"))


def test_a_reply_of_the_wrong_type_to_the_right_command_is_dropped() -> None:
    story = given(a_booking()).when(*forward(2))
    story.when(To(ProcessPayment, confirmed())).then(dropped("unexpected_reply"))
    story.when(To(ProcessPayment, refunded())).then(dropped("unexpected_reply"))
    story.when(declined())
    held = LockAcquired(booking_id="bk-1", reservation_id="rsv-1", expires_at_ms=1)
    story.when(To(ReleaseLock, held)).then(dropped("unexpected_reply"))


def test_a_reply_to_a_step_after_its_undo_began_is_dropped() -> None:
    story = given(a_booking()).when(*forward(3), cancellation())
    story.when(To(ConfirmBooking, confirmed())).then(dropped("stale_reply"))
    story.when(restored())
    story.when(To(ProcessPayment, paid())).then(dropped("stale_reply"))


def test_a_reply_for_a_saga_that_does_not_exist_is_dropped() -> None:
    story = given()
    story.feed(given(a_booking()).reply_to(given(a_booking()).said[0], offers("101")))
    assert story.decision.verdict is Verdict.UNKNOWN_SAGA
    assert not story.decision.emits


def test_a_tick_for_a_saga_that_does_not_exist_does_nothing() -> None:
    assert advance(DEFINITION, None, Tick(), START_US) == Decision(Verdict.UNKNOWN_SAGA, None)


def test_a_tick_after_the_end_says_the_end_again() -> None:
    story = given(a_booking()).when(*forward(4))
    end = story.decision
    story.feed(Tick())
    assert (story.decision.verdict, story.decision.emits, story.decision.spans) == (
        Verdict.REPEATED,
        end.emits,
        end.spans,
    )
