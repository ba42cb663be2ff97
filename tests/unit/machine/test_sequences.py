"""Arbitrary sequences of inputs to a saga with steps after its pivot, each input checked against the invariants.

Simpler than :mod:`tests.unit.machine.test_world` (there are no workers, just answers), so it goes further: every answer
that the definition language knows, in every step.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from saga.booking import DEFINITION
from saga.engine.definition import Definition
from saga.engine.envelope import Envelope, SagaHeaders
from saga.engine.machine import Tick
from saga.engine.state import State, Status
from schemas.base import Message
from tests.support import parcels
from tests.support.bookings import a_booking
from tests.support.parcels import LABEL, PACK, PARCELS, SHIP, WEIGH, Labelled, NoLongerWanted, Wanted, a_saga
from tests.support.sentences import asked_for
from tests.support.world import DONE, REFUSED, UNKNOWN_DONE, UNKNOWN_NOT_DONE, World
from tests.unit.machine.invariants import Watched

ANSWERS = ("done", "done", "done", "done", "refused", "again", "unknown")
MOODY = LABEL.replies[Labelled]
ANSWERABLE: tuple[Definition[parcels.Parcel], ...] = (
    PARCELS,
    a_saga(WEIGH.on(Labelled, MOODY), PACK),
    a_saga(WEIGH, PACK.on(Labelled, MOODY).within(20.0, runs=2), SHIP),
    a_saga(PACK, SHIP.on(Labelled, MOODY), parcels.ANNOUNCE),
    a_saga(WEIGH),
)
MOVES = st.one_of(
    st.tuples(st.just("answer"), st.sampled_from(ANSWERS)),
    st.tuples(st.just("answer"), st.just("done")),
    st.tuples(st.just("received again"), st.integers(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 2)),
    st.tuples(st.just("later"), st.sampled_from([0.001, 1.0, 6.0, 30.0, 1000.0, -50.0])),
    st.tuples(st.just("due"), st.just(0)),
)


def _answer(state: State, definition: Definition[parcels.Parcel], answer: str) -> Message | None:
    run = state.pending
    if run is None:
        return None
    step = definition.step(run.step)
    understood = step.replies if run.undoes is None or step.undo is None else step.undo.replies
    if Labelled in understood:
        return Labelled(answer=answer)
    return next(iter(understood))()


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@for_all(st.sampled_from(ANSWERABLE), st.lists(MOVES, min_size=3, max_size=25))
def test_whatever_happens_the_invariants_hold_and_the_saga_ends(
    definition: Definition[parcels.Parcel], moves: list[tuple[str, object]]
) -> None:
    watched = Watched(definition)
    watched.feed(asked_for(Wanted()))
    for number, (move, how) in enumerate(moves):
        assert watched.state is not None
        match move, how:
            case "answer", str():
                _reply(watched, how, number)
            case "received again", int():
                watched.feed(watched.received[how % len(watched.received)])
            case "cancel", 0:
                watched.feed(asked_for(NoLongerWanted(), message_id=f"cancel-{number}"))
            case "later", float():
                watched.now_us += int(how * 1_000_000)
                watched.feed(Tick())
            case "due", _:
                watched.now_us = max(watched.now_us, watched.state.wake_us or 0)
                watched.feed(Tick())
    for number in range(100, 150):
        assert watched.state is not None
        if not watched.state.status.live and watched.state.status is not Status.NEEDS_ATTENTION:
            break
        watched.now_us = max(watched.now_us, watched.state.wake_us or 0)
        _reply(watched, "done", number)
    assert watched.state is not None
    assert watched.state.status in {Status.CONFIRMED, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED}
    watched.folds()


def _reply(watched: Watched, answer: str, number: int) -> None:
    state = watched.state
    assert state is not None
    run = state.pending
    body = _answer(state, watched.definition, answer)
    if run is None or body is None:
        return
    if run.attempt == 0:
        watched.feed(Tick())
        return
    headers = SagaHeaders(run.epoch, run.step, run.attempt, run.command_id)
    watched.feed(Envelope(f"reply-{number}", state.id, body, watched.now_us, saga=headers))


# --- left in peace, the world must be able to give every outcome, or chaos could pass by preventing them all ----------


@pytest.mark.parametrize(
    ("fates", "status", "charged", "undone"),
    [
        ((DONE,), Status.CONFIRMED, 1, []),
        ((REFUSED,), Status.FAILED, 0, []),
        ((DONE, REFUSED, REFUSED, REFUSED), Status.FAILED, 0, []),
        ((UNKNOWN_DONE, REFUSED, DONE, DONE), Status.CONFIRMED, 1, []),
        ((DONE, DONE, REFUSED), Status.FAILED, 0, ["acquire_lock.1"]),
        ((DONE, DONE, UNKNOWN_DONE), Status.FAILED, 1, ["process_payment.1", "acquire_lock.1"]),
        ((DONE, DONE, UNKNOWN_NOT_DONE), Status.FAILED, 0, ["process_payment.1", "acquire_lock.1"]),
        ((DONE, DONE, DONE, REFUSED), Status.FAILED, 1, ["process_payment.1", "acquire_lock.1"]),
    ],
)
def test_workers_left_in_peace_bring_a_booking_to_its_end(
    fates: tuple[int, ...], status: Status, charged: int, undone: list[str]
) -> None:
    world, watched = World.of(*fates), Watched(DEFINITION)
    decision = watched.feed(asked_for(a_booking()))
    while decision.state is not None and decision.state.status.live:
        watched.now_us += 1_000
        decision = watched.feed(world.carry_out(decision.emits[0]))
    assert watched.state is not None
    assert watched.state.status is status
    assert len(world.ever_charged) == charged
    assert world.undone == [f"bk-1.{command}" for command in undone]
    assert len(world.charges) == len(world.locks) == len(world.sold) == (status is Status.CONFIRMED)
    watched.folds()
