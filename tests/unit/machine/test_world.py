"""The booking saga in a world that loses, repeats, reorders and forges messages, with crashes and jumping clocks.

Hypothesis plays the world. After every input the invariants of :mod:`tests.unit.machine.invariants` are checked; in the
end everything still under way is delivered, and no money, lock or room may be left behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from saga.booking import DEFINITION
from saga.engine.decision import Verdict
from saga.engine.envelope import Envelope, Outgoing, SagaHeaders
from saga.engine.machine import Tick
from saga.engine.state import State, Status
from schemas.base import Message
from tests.support.bookings import a_booking, cancellation, offers, paid, refunded
from tests.support.sentences import asked_for
from tests.support.world import DONE, REFUSED, UNKNOWN_DONE, UNKNOWN_NOT_DONE, World
from tests.unit.machine.invariants import Watched

SECOND_US = 1_000_000
PLACES = st.integers(0, 7)
_T = TypeVar("_T")


class Chaos(RuleBasedStateMachine):
    """One booking, its workers, and everything that can go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = Watched(DEFINITION)
        self.world = World.of(DONE)
        self.commands: list[Outgoing] = []
        self.replies: list[Envelope] = []
        self.cancellations = 0

    @initialize(
        fates=st.lists(st.sampled_from([DONE] * 6 + [REFUSED, UNKNOWN_DONE, UNKNOWN_NOT_DONE]), min_size=4, max_size=7),
        steps=st.integers(0, 5),
        cancelled=st.sampled_from([False, False, True]),
        undos=st.integers(0, 2),
    )
    def begin(self, fates: list[int], steps: int, cancelled: bool, undos: int) -> None:
        """Get somewhere first, so that trouble begins at every stage of a saga's life and not just at its start."""
        self.world = World.of(*fates)
        self._feed(asked_for(a_booking()))
        self.all_goes_well_for_a_while(steps)
        if cancelled:
            self.somebody_cancels(0)
            self.all_goes_well_for_a_while(undos)

    # --- what goes right ----------------------------------------------------------------------------------------------

    @rule(place=PLACES, again=st.booleans())
    def a_worker_takes_a_command(self, place: int, again: bool) -> None:
        for outgoing in self._take(self.commands, place, again=again):
            self.replies.append(self.world.carry_out(outgoing))

    @rule(place=PLACES, again=st.booleans())
    def a_reply_arrives(self, place: int, again: bool) -> None:
        for reply in self._take(self.replies, place, again=again):
            self._feed(reply)

    @rule(steps=st.integers(1, 2))
    def all_goes_well_for_a_while(self, steps: int) -> None:
        for _ in range(steps):
            self.watched.now_us += 1_000
            self.replies += [self.world.carry_out(outgoing) for outgoing in self.commands[-1:]]
            for reply in self.replies[-1:]:
                self._feed(reply)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    @rule(place=PLACES)
    def a_command_is_lost_in_a_crash(self, place: int) -> None:
        self._take(self.commands, place, again=False)

    @rule(place=PLACES)
    def a_reply_is_lost_in_a_crash(self, place: int) -> None:
        self._take(self.replies, place, again=False)

    @rule(place=st.integers(0, 30))
    def something_received_before_is_delivered_again(self, place: int) -> None:
        self._feed(self.watched.received[place % len(self.watched.received)])

    @rule()
    def what_was_received_last_is_delivered_again(self) -> None:
        decision = self._feed(self.watched.received[-1])
        assert decision is not Verdict.APPLIED

    @rule(jump_s=st.sampled_from([0.01, 1.0, 4.0, 15.0, 31.0, 46.0, 121.0, 301.0, -5.0, -3600.0]))
    def the_clock_jumps(self, jump_s: float) -> None:
        self.watched.now_us += int(jump_s * SECOND_US)
        self._feed(Tick())

    @rule()
    def nobody_answers_until_the_command_is_given_up(self) -> None:
        if (timer := self.state.timer) is not None and timer.deadline_us is not None:
            self.watched.now_us = max(self.watched.now_us, timer.deadline_us)
            self.commands.clear()
            self._feed(Tick())

    @rule()
    def the_sweeper_comes_at_the_right_time(self) -> None:
        if (wake_us := self.state.wake_us) is not None:
            self.watched.now_us = max(self.watched.now_us, wake_us)
        self._feed(Tick())

    @precondition(lambda self: self.cancellations < 2)
    @rule(sure=st.integers(0, 2))
    def somebody_cancels(self, sure: int) -> None:
        if sure:
            return
        self.cancellations += 1
        self._feed(asked_for(cancellation(), message_id=f"cancel-{self.cancellations}"))

    @rule()
    def somebody_asks_for_the_same_booking_again(self) -> None:
        assert self._feed(asked_for(a_booking(guests=1), message_id="another")) is Verdict.STALE

    @rule(place=PLACES, off_by=st.sampled_from([-1, 1, 7]), another_command=st.booleans())
    def a_stale_reply_arrives(self, place: int, off_by: int, another_command: bool) -> None:
        if not self.replies:
            return
        reply = self.replies[place % len(self.replies)]
        assert reply.saga is not None
        stale = replace(reply.saga, epoch=reply.saga.epoch + off_by)
        if another_command:
            stale = replace(reply.saga, command_id="bk-2.confirm.1")
        assert self._feed(replace(reply, id="stale", saga=stale)) is Verdict.STALE

    @rule(body=st.sampled_from([offers("999"), paid(), refunded()]), headless=st.booleans())
    def a_reply_that_answers_something_else_arrives(self, body: Message, headless: bool) -> None:
        run = self.state.pending
        if run is None:
            return
        step = DEFINITION.step(run.step)
        understood = step.replies if run.undoes is None else step.undo.replies if step.undo else ()
        if type(body) in understood and not headless:
            return  # it would be the right answer
        headers = None if headless else SagaHeaders(run.epoch, run.step, run.attempt, run.command_id)
        assert self._feed(Envelope("forged", "bk-1", body, self.watched.now_us, saga=headers)) is Verdict.STALE

    # --- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if self.watched.state is None:
            return
        for _ in range(40):
            self._deliver()
            if not self.state.status.live:
                break
            self.watched.now_us = max(self.watched.now_us, self.state.wake_us or 0)
            self._feed(Tick())
        assert not self.state.status.live, "every saga ends"
        event(f"ended {self.state.status} after {min(len(self.watched.applied), 9)} inputs")
        self._deliver()
        self._nothing_is_left_behind()
        self.watched.folds()

    def _nothing_is_left_behind(self) -> None:
        state, world = self.state, self.world
        assert len(world.ever_charged) <= 1, "no booking is charged twice"
        if state.status is Status.CONFIRMED:
            kept = {run.step: run.command_id for run in state.runs if run.outcome == "done"}
            assert world.locks == {kept["acquire_lock"]}
            assert world.charges == {kept["process_payment"]}
            assert world.sold == {kept["confirm"]}
            return
        owed = set(state.rollback.todo) if state.rollback and state.status is Status.NEEDS_ATTENTION else set()
        assert world.locks <= owed, "no lock outlives a booking that was not given"
        assert world.charges <= owed, "no money is kept for a room that was not given"
        assert world.sold <= owed, "no room stays sold to nobody"
        executed = [undo.undoes for undo in state.undos]
        assert world.undone == executed[: len(world.undone)], "workers undo in the strict reverse, each once"

    # --- helpers ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        assert self.watched.state is not None
        return self.watched.state

    def _feed(self, message: Envelope | Tick) -> Verdict:
        decision = self.watched.feed(message)
        self.commands += [outgoing for outgoing in decision.emits if outgoing.topic != DEFINITION.events_topic]
        return decision.verdict

    def _deliver(self) -> None:
        while self.commands or self.replies:
            while self.commands:
                self.replies.append(self.world.carry_out(self.commands.pop(0)))
            while self.replies:
                self.watched.now_us += 1_000
                self._feed(self.replies.pop(0))

    @staticmethod
    def _take(things: list[_T], place: int, *, again: bool) -> list[_T]:
        if not things:
            return []
        return [things[place % len(things)] if again else things.pop(place % len(things))]


Chaos.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
TestChaos = Chaos.TestCase
