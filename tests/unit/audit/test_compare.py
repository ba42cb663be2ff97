"""The fold check against crafted histories: what the records give must be what is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from saga.audit.evidence import HistoryRow, StoredSaga
from saga.audit.folding import NotRetained, Place, Recorded, compare
from saga.engine.decision import Verdict
from saga.engine.envelope import Envelope, Outgoing
from saga.engine.machine import Birth
from saga.messaging.broker import Record
from saga.messaging.wire import encode
from saga.telemetry.messaging import Origin
from tests.support.bookings import (
    UNDO_REPLIES,
    a_booking,
    cancellation,
    contended,
    declined,
    forward,
    locked,
    offers,
    released,
)
from tests.support.sentences import NEXT_ATTEMPT, Story, given

REALM = "drill."


class _Telling(Story):
    """A story that also keeps its history, as the orchestrator does."""

    def __init__(self, story: Story) -> None:
        super().__init__(story.definition, birth=story.birth)
        self.history: list[HistoryRow] = []
        self.records: dict[Place, Record] = {}

    def feed(self, message: Any) -> Any:
        decision = super().feed(message)
        if decision.verdict is Verdict.APPLIED and decision.state is not None:
            offset = len(self.records)
            row = HistoryRow(decision.state.epoch, None, "tick", None, 0, 0, self.now_us, decision.state.status.value)
            if isinstance(message, Envelope):
                place = ("drill.booking.replies", 0, offset)
                self.records[place] = _record(message, place)
                row = replace(row, message_id=message.id, message_type=message.type_name, topic=place[0], offset=offset)
            self.history.append(row)
        return decision


def _record(message: Envelope, place: Place) -> Record:
    out = encode(Outgoing("booking.replies", message, None), REALM)
    return Record(Origin(*place), out.key, out.value, out.headers, message.time_us // 1000)


@dataclass(frozen=True)
class Case:
    """What the auditor is given of one saga."""

    saga: StoredSaga
    history: Sequence[HistoryRow]
    recorded: Recorded

    def problem(self) -> str | None:
        return compare(self.saga, self.history, self.recorded, REALM)


def a_case(*happenings: Any) -> Case:
    story = _Telling(given(birth=Birth(pace=0.5, realm=REALM)))
    story.when(a_booking(), *happenings)
    state = story.saga
    saga = StoredSaga(
        state.id, state.definition, state.version, state.status.value, state.trace.trace_id, state.started_us, 0, state
    )
    return Case(saga, tuple(story.history), Recorded(story.records, frozenset()))


CONFIRMED = tuple(forward(4))


@pytest.mark.parametrize(
    "happenings",
    [
        (),
        CONFIRMED,
        (NEXT_ATTEMPT, offers("101", "102"), contended(), NEXT_ATTEMPT, locked(), declined(), released()),
        (*CONFIRMED, cancellation(), *UNDO_REPLIES.values()),
    ],
)
def test_recorded_topics_give_the_stored_state(happenings: Sequence[Any]) -> None:
    assert a_case(*happenings).problem() is None


def with_row(case: Case, place: int, change: Callable[[HistoryRow], HistoryRow]) -> Case:
    rows = list(case.history)
    rows[place] = change(rows[place])
    return replace(case, history=tuple(rows))


def test_a_state_that_was_tampered_with_is_named_with_its_fields() -> None:
    case = a_case(*CONFIRMED)
    assert case.saga.state is not None
    tampered = case.saga.state.model_copy(update={"reason": "somebody's hand", "ended_us": 7})
    problem = replace(case, saga=replace(case.saga, state=tampered)).problem()
    assert problem == "replaying its records gives another state; these differ: ended_us, reason"


def test_a_row_that_names_another_record_is_named() -> None:
    problem = with_row(a_case(*CONFIRMED), 2, lambda row: replace(row, offset=3)).problem()
    assert problem is not None
    assert "was applied as booking.LockAcquired.v1, but it is not one" in problem


def test_a_row_that_names_another_message_is_named() -> None:
    problem = with_row(a_case(*CONFIRMED), 1, lambda row: replace(row, message_id="other")).problem()
    assert problem == "drill.booking.replies/0/1 was applied as other, but bk-1.check_availability.1.reply stands there"


def test_a_missing_row_is_named_by_the_first_that_no_longer_follows() -> None:
    case = a_case(*CONFIRMED)
    problem = replace(case, history=(*case.history[:2], *case.history[3:])).problem()
    assert problem == "epoch 4 is recorded as applied, but bk-1.process_payment.1.reply is stale"


def test_a_time_at_which_nothing_was_due_is_named() -> None:
    case = a_case(NEXT_ATTEMPT)
    problem = with_row(case, 1, lambda row: replace(row, decided_us=row.decided_us - 2_000_000)).problem()
    assert problem == "epoch 2 is recorded as applied, but the passing of time is idle"


def test_a_status_that_does_not_follow_is_named() -> None:
    problem = with_row(a_case(*CONFIRMED), 4, lambda row: replace(row, status="FAILED")).problem()
    assert problem is None, "the state is right; the history check names the row"
    case = a_case(*CONFIRMED)
    assert case.saga.state is not None
    other = replace(case.saga, state=case.saga.state.model_copy(update={"reason": "x"}))
    problem = with_row(replace(case, saga=other), 4, lambda row: replace(row, status="FAILED")).problem()
    assert problem == "epoch 5 is recorded as FAILED, but bk-1.confirm.1.reply leads to epoch 5 as CONFIRMED"


def test_another_realm_gives_another_trace() -> None:
    case = a_case(*CONFIRMED)
    problem = compare(case.saga, case.history, case.recorded, "other.")
    assert problem is not None
    assert problem.endswith("these differ: trace")


def test_a_record_that_is_no_longer_retained_makes_the_fold_unavailable() -> None:
    case = a_case(*CONFIRMED)
    kept = {place: record for place, record in case.recorded.records.items() if place[2] > 0}
    with pytest.raises(NotRetained):
        replace(case, recorded=Recorded(kept, frozenset())).problem()


def test_records_of_a_topic_that_was_made_anew_prove_nothing() -> None:
    case = with_row(a_case(*CONFIRMED), 1, lambda row: replace(row, message_id="other"))
    anew = Recorded(case.recorded.records, frozenset({("drill.booking.replies", 0)}))
    with pytest.raises(NotRetained):
        replace(case, recorded=anew).problem()


def test_a_definition_that_this_build_lacks_is_named() -> None:
    case = a_case()
    problem = replace(case, saga=replace(case.saga, version=99, state=None)).problem()
    assert problem == "it runs on booking v99, which this build does not have"
