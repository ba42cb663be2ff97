"""Steps after the pivot: never given up, never undone. The booking has none, so parcels stand in."""

from __future__ import annotations

import pytest

from saga.engine.decision import Verdict
from saga.engine.definition import Refused
from saga.engine.machine import Tick
from saga.engine.state import Outcome, Status
from tests.support.parcels import (
    ANNOUNCE,
    LABEL,
    PACK,
    PARCELS,
    SHIP,
    WEIGH,
    Announced,
    Asked,
    CalledBack,
    Ended,
    Labelled,
    NoLongerWanted,
    Packed,
    Shipped,
    Unpacked,
    Wanted,
    Weighed,
    a_saga,
)
from tests.support.sentences import (
    AGAIN,
    DEADLINE,
    IDLE,
    NEXT_ATTEMPT,
    Stands,
    Story,
    after,
    command,
    event,
    given,
    span,
)


def shipped() -> Story:
    """A parcel whose pivot has committed; the label is pending."""
    return given(Wanted(), definition=PARCELS).when(Weighed(), Packed(), Shipped())


def test_a_saga_may_go_on_after_its_pivot_and_ends_with_its_last_step() -> None:
    shipped().then(command(Asked, command_id="bk-1.label.1"), Stands(Status.RUNNING)).when(Labelled()).then(
        command(Asked, command_id="bk-1.announce.1"), Stands(Status.RUNNING)
    ).when(Announced()).then(event(Ended, status="CONFIRMED"), span("parcel.create"), Stands(Status.CONFIRMED))


def test_a_retriable_step_is_never_given_up_however_long_it_takes() -> None:
    story = shipped().when(after(3600.0))
    story.then(command(Asked, attempt=2, command_id="bk-1.label.1"), Stands(Status.RUNNING))
    for _ in range(1200):
        story.when(NEXT_ATTEMPT)
    assert story.saga.status is Status.RUNNING
    assert story.saga.rollback is None
    story.when(Labelled(), Announced()).then(
        event(Ended, status="CONFIRMED"), span("parcel.create"), Stands(Status.CONFIRMED)
    )


def test_the_sweeper_is_not_woken_for_a_deadline_that_does_not_apply() -> None:
    story = shipped().when(after(3600.0))
    assert story.saga.timer is not None
    assert story.saga.wake_us == story.saga.timer.next_attempt_us
    assert story.saga.wake_us > story.now_us


@pytest.mark.parametrize("answer", ["refused", "again", "unknown"])
def test_a_retriable_step_that_says_no_is_asked_anew_in_its_own_time_and_undoes_nothing(answer: str) -> None:
    story = shipped().when(Labelled(answer=answer)).then(Stands(Status.RUNNING))
    story.when(after(0.5)).then(IDLE)
    story.when(NEXT_ATTEMPT).then(command(Asked, command_id="bk-1.label.2"), Stands(Status.RUNNING))
    asked = story.latest(Asked).envelope
    assert asked.time_us == story.now_us, "it was sent when it was sent, not when it was decided"
    story.when(Labelled()).then(command(Asked, command_id="bk-1.announce.1"))


def test_pauses_between_refusals_grow() -> None:
    story = shipped()
    pauses = []
    for _ in range(6):
        story.when(Labelled(answer="again"))
        refused_at = story.now_us
        story.when(NEXT_ATTEMPT)
        pauses.append((story.now_us - refused_at) / 1_000_000)
    assert pauses[0] < 3 < pauses[1] < 5 < pauses[2] < 10 < pauses[3]
    assert max(pauses) < 20


def test_what_was_refused_is_not_said_again_before_its_time() -> None:
    story = shipped().when(Labelled(answer="again")).when(AGAIN)
    assert (story.decision.verdict, story.decision.emits) == (Verdict.REPEATED, ())


def test_cancelling_after_the_pivot_undoes_it_although_retriable_steps_are_under_way() -> None:
    story = shipped().when(Labelled()).when(NoLongerWanted(reason="lost interest"))
    story.then(command(Asked, command_id="bk-1.ship.1.undo"), Stands(Status.COMPENSATING))
    story.when(CalledBack()).then(command(Asked, command_id="bk-1.pack.1.undo"))
    story.when(Unpacked()).then(
        event(Ended, status="CANCELLED"),
        span("parcel.rollback", {"saga.rollback_steps": ("call_back", "unpack")}),
        span("parcel.create", {"saga.compensated": True}, error="lost interest"),
    )


def test_cancelling_while_a_refused_retriable_step_waits_its_turn_sends_it_no_more() -> None:
    story = shipped().when(Labelled(answer="again")).when(NoLongerWanted())
    assert story.saga.runs[-1].outcome is Outcome.UNKNOWN
    story.when(CalledBack(), Unpacked())
    assert [body.command_id for body in _asked(story)][-3:] == [
        "bk-1.label.1",
        "bk-1.ship.1.undo",
        "bk-1.pack.1.undo",
    ]


def test_before_the_pivot_the_same_saga_times_out_and_is_undone() -> None:
    story = given(Wanted(), definition=PARCELS).when(Weighed(), Packed(), DEADLINE, CalledBack(), Unpacked())
    story.then(
        event(Ended, status="TIMED_OUT"),
        span("parcel.rollback"),
        span("parcel.create", error="ship did not answer in time"),
    )


def test_a_step_that_may_run_again_and_again_fails_the_saga_when_its_runs_are_used_up() -> None:
    weigh = WEIGH.on(Labelled, LABEL.replies[Labelled]).within(10.0, runs=2)
    story = given(Wanted(), definition=a_saga(weigh, PACK, SHIP, ANNOUNCE)).when(Labelled(answer="again"))
    story.then(command(Asked, command_id="bk-1.weigh.2")).when(Labelled(answer="again")).then(
        event(Ended, status="FAILED"),
        span("parcel.create", {"error.type": "weigh_exhausted"}, error="every try was refused"),
    )


def test_a_refusal_without_words_is_still_an_error_that_says_something() -> None:
    weigh = WEIGH.on(Labelled, lambda data, _: Refused(data, "too_heavy", ""))
    given(Wanted(), definition=a_saga(weigh)).when(Labelled()).then(
        event(Ended, status="FAILED"), span("parcel.create", {"error.type": "too_heavy"}, error="too_heavy")
    )


def test_a_saga_with_nothing_to_undo_writes_its_root_once_even_if_cancelled_after_its_end() -> None:
    story = given(Wanted(), definition=a_saga(WEIGH)).when(Weighed()).when(NoLongerWanted())
    story.then(event(Ended, status="CANCELLED"), span("parcel.rollback", {"saga.rollback_steps": ()}))
    assert [root.attributes["parcel.status"] for root in story.spans("parcel.create")] == ["CONFIRMED"]


def test_a_saga_without_a_pivot_is_confirmed_by_its_last_step_and_can_be_cancelled_after() -> None:
    story = given(Wanted(), definition=a_saga(WEIGH, PACK)).when(Weighed(), Packed())
    story.then(event(Ended, status="CONFIRMED"), span("parcel.create"), Stands(Status.CONFIRMED))
    story.when(NoLongerWanted(), Unpacked())
    story.then(event(Ended, status="CANCELLED"), span("parcel.rollback"), Stands(Status.CANCELLED))


def test_a_tick_is_idle_while_a_refused_step_waits() -> None:
    story = shipped().when(Labelled(answer="again"))
    story.feed(Tick())
    story.then(IDLE)


def _asked(story: Story) -> list[Asked]:
    return [o.envelope.body for o in story.said if isinstance(o.envelope.body, Asked)]
