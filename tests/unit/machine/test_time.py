"""What time does to a saga: retries, deadlines of steps, and the whole."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from saga.booking import DEFINITION
from saga.engine.decision import Retried, SagaEnded, Verdict
from saga.engine.definition import Retry
from saga.engine.machine import Birth, Tick, advance
from saga.engine.state import Status
from schemas import events
from schemas.commands import (
    AcquireLock,
    CheckAvailability,
    ConfirmBooking,
    RefundPayment,
    ReleaseLock,
    RestoreInventory,
)
from tests.support import bookings
from tests.support.bookings import a_booking, declined, forward, refunded, released, restored
from tests.support.sentences import (
    DEADLINE,
    IDLE,
    NEXT_ATTEMPT,
    SAGA_DEADLINE,
    START_US,
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

STEPS = ["check_availability", "acquire_lock", "process_payment", "confirm"]
UNDOS = [
    (),
    (),
    ("ReleaseLock",),
    ("RefundPayment", "ReleaseLock"),
    ("RestoreInventory", "RefundPayment", "ReleaseLock"),
]


def settle(story: Story) -> Story:
    """Answer every undo until there is none left."""
    while story.saga.status is Status.COMPENSATING:
        run = story.saga.pending
        assert run is not None
        asked = next(o for o in reversed(story.said) if o.envelope.id == run.command_id)
        story.when(bookings.UNDO_REPLIES[type(asked.envelope.body)])
    return story


# --- retries ----------------------------------------------------------------------------------------------------------


def test_before_its_time_nothing_is_repeated() -> None:
    given(a_booking()).when(after(1.0)).then(IDLE)


def test_a_command_without_a_reply_is_sent_again_under_the_same_id() -> None:
    story = given(a_booking()).when(NEXT_ATTEMPT)
    story.then(command(CheckAvailability, attempt=2), Notes(Retried("check_availability", 2)))
    story.when(NEXT_ATTEMPT).then(command(CheckAvailability, attempt=3))
    assert {o.envelope.id for o in story.said} == {"bk-1.check_availability.1"}
    assert len({o.envelope.body for o in story.said}) == 1
    assert len({o.envelope.saga.epoch for o in story.said if o.envelope.saga}) == 1
    assert len({o.envelope.context for o in story.said}) == 3, "every attempt is visible as its own send span"


def test_a_reply_to_an_earlier_attempt_counts() -> None:
    story = given(a_booking()).when(bookings.offers("101"), NEXT_ATTEMPT, NEXT_ATTEMPT)
    story.when(To(AcquireLock, bookings.locked(), attempt=1))
    assert story.decision.verdict is Verdict.APPLIED
    assert [run.attempt for run in story.saga.runs] == [1, 1, 1], "the attempt that did the work is the one remembered"


def test_pauses_between_retries_grow_to_the_cap_and_no_further() -> None:
    retry = Retry(first_s=1.0, factor=2.0, cap_s=10.0, jitter=0.0)
    pauses = [retry.delay_us("c", attempt) / 1_000_000 for attempt in range(1, 7)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@for_all(st.text(max_size=20), st.integers(1, 100_000), st.floats(0, 0.9), st.floats(1.0, 10.0))
def test_jitter_is_the_same_every_time_and_within_its_bounds(
    command_id: str, attempt: int, jitter: float, factor: float
) -> None:
    retry = Retry(first_s=2.0, factor=factor, cap_s=15.0, jitter=jitter)
    exact = min(15.0, 2.0 * factor ** min(attempt - 1, 63)) * 1_000_000
    delay = retry.delay_us(command_id, attempt)
    assert delay == retry.delay_us(command_id, attempt)
    assert exact * (1 - jitter) - 1 <= delay <= exact * (1 + jitter) + 1


def test_jitter_spreads_sagas_that_failed_together() -> None:
    retry = Retry(first_s=10.0, jitter=0.2)
    delays = [retry.delay_us(f"bk-{n}.process_payment.1", 1) for n in range(200)]
    assert len(set(delays)) > 190
    assert min(delays) < 8_500_000
    assert max(delays) > 11_500_000


def test_a_slower_pace_stretches_every_timer() -> None:
    normal, slow = given(a_booking()).saga, given(a_booking(), birth=Birth(pace=3.0)).saga
    assert normal.timer is not None
    assert slow.timer is not None
    assert normal.timer.deadline_us is not None
    assert slow.timer.deadline_us == START_US + 3 * (normal.timer.deadline_us - START_US)
    assert slow.deadline_us == START_US + 3 * (normal.deadline_us - START_US)
    assert abs(slow.timer.next_attempt_us - START_US - 3 * (normal.timer.next_attempt_us - START_US)) <= 3


def test_a_slower_pace_stretches_the_pauses_between_later_retries_too() -> None:
    def second_pause_us(pace: float) -> int:
        story = given(a_booking(), birth=Birth(pace=pace)).when(NEXT_ATTEMPT)
        assert story.saga.timer is not None
        return story.saga.timer.next_attempt_us - story.now_us

    assert abs(second_pause_us(3.0) - 3 * second_pause_us(1.0)) <= 3


def test_the_sweeper_is_told_the_first_moment_at_which_something_is_due() -> None:
    story = given(a_booking())
    while story.saga.status.live:
        wake_us = story.saga.wake_us
        assert wake_us is not None
        early = advance(DEFINITION, story.saga, Tick(), wake_us - 1)
        assert early.verdict is Verdict.IDLE, "nothing may be due before"
        story.now_us = wake_us
        story.feed(Tick())
        assert story.decision.verdict is Verdict.APPLIED, "something must be due then"
    assert story.saga.wake_us is None


# --- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", range(4), ids=STEPS)
def test_a_step_that_never_answers_times_out_and_is_undone_as_if_it_had_been_done(done: int) -> None:
    story = given(a_booking()).when(*forward(done)).when(DEADLINE)
    attempted = [step for step in DEFINITION.steps[: done + 1] if step.undo]
    settle(story)
    assert story.saga.rollback is None or story.saga.rollback.done == tuple(
        step.undo.name for step in reversed(attempted) if step.undo
    )
    assert story.path()[done + 1 :] == [*UNDOS[done + 1], "BookingFailed"]
    story.then(
        event(events.BookingFailed, status="TIMED_OUT", error_type="timeout", compensated=bool(attempted)),
        *([span("booking.rollback", {"saga.rollback_reason": "timeout"})] if attempted else []),
        span("booking.create", {"error.type": "timeout"}, error=f"{STEPS[done]} did not answer in time"),
        Stands(Status.TIMED_OUT),
    )


def test_an_unknown_pivot_is_restored_then_refunded_then_released() -> None:
    (
        given(a_booking())
        .when(*forward(3))
        .when(DEADLINE)
        .then(command(RestoreInventory, undoes="bk-1.confirm.1"), Stands(Status.COMPENSATING))
        .when(restored(0))
        .then(command(RefundPayment))
        .when(refunded())
        .then(command(ReleaseLock))
        .when(released())
        .then(
            event(events.BookingFailed, status="TIMED_OUT"),
            span("booking.rollback", {"saga.rollback_steps": ("restore_inventory", "refund_payment", "release_lock")}),
            span("booking.create", error="confirm did not answer in time"),
        )
    )


def test_the_saga_deadline_ends_a_saga_whose_steps_are_each_in_time() -> None:
    story = given(a_booking())
    for reply in forward(2):
        story.when(after(25.0), reply)
    story.when(after(44.0), bookings.paid(), after(20.0))
    assert story.saga.status is Status.RUNNING
    story.when(SAGA_DEADLINE).then(command(RestoreInventory), Stands(Status.COMPENSATING))
    assert story.saga.reason == "the saga took too long"


def test_the_saga_deadline_does_not_hurry_an_undo() -> None:
    story = given(a_booking()).when(*forward(2)).when(after(44.0)).when(declined()).when(after(90.0))
    assert story.now_us > story.saga.deadline_us
    story.then(command(ReleaseLock, attempt=2), Stands(Status.COMPENSATING))


def test_a_reply_that_comes_after_the_deadline_but_before_the_tick_still_counts() -> None:
    story = given(a_booking())
    story.now_us += 31_000_000
    story.when(bookings.offers("101")).then(command(AcquireLock))


def test_a_reply_after_the_tick_is_too_late() -> None:
    story = given(a_booking()).when(*forward(3)).when(DEADLINE)
    story.when(To(ConfirmBooking, bookings.confirmed())).then(dropped("stale_reply"), Stands(Status.COMPENSATING))


def test_a_clock_that_jumps_back_undoes_nothing_and_gives_no_negative_duration() -> None:
    story = given(a_booking()).when(*forward(2))
    story.now_us -= 3_600_000_000
    story.feed(Tick())
    story.then(IDLE, Stands(Status.RUNNING))
    story.when(declined(), released())
    ended = [fact for fact in story.decision.facts if isinstance(fact, SagaEnded)]
    assert [fact.duration_us for fact in ended] == [0]
    assert all(recorded.end_ns > recorded.start_ns for recorded in story.recorded)
