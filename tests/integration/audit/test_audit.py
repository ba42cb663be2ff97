"""A clean run has no violations; every violation that can be planted is found, and named with its saga."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import SecretStr

from saga.audit import AuditOptions, AuditReport, audit
from saga.audit.invariants import INVARIANTS
from saga.cli.main import invoke
from saga.errors import BrokerUnreachable, DatabaseUnreachable, SagaError
from saga.settings import Settings
from saga.stacks.environment import variables_of
from tests.integration.audit.conftest import Finished, Plant

RECORDS = AuditOptions(traces=False, topics=False)
TOPICS = AuditOptions(traces=False)
TRACES = AuditOptions(topics=False)

# plant: (invariant, whose saga, what is said of it)
IN_RECORDS = {
    "night_sold_twice": ("no_double_booking", "confirmed", "is sold 2 times for the night"),
    "locks_overlap": ("no_double_booking", None, "at once"),
    "lock_on_sold_night": ("no_double_booking", "other", "is sold to booking bk-confirmed"),
    "confirmed_twice": ("no_double_booking", "other", "but also to booking bk-confirmed"),
    "captured_twice": ("one_charge", "confirmed", "the provider captured 2 charges"),
    "recorded_twice": ("one_charge", "confirmed", "2 payments were captured"),
    "charge_without_saga": ("charges_settled", "bk-nobody", "charge ch_stray of 100 EUR belongs to no saga"),
    "confirmed_without_charge": ("charges_settled", "confirmed", "CONFIRMED with 0 unrefunded charges"),
    "charged_something_else": ("charges_settled", "confirmed", "but charge ch_"),
    "money_kept": ("charges_settled", "cancelled", "it is CANCELLED, but charge ch_"),
    "parked_for_days": ("charges_settled", "cancelled", "it is NEEDS_ATTENTION, but charge ch_"),
    "refund_differs": ("charges_settled", "cancelled", "gave back"),
    "lock_without_saga": ("locks_settled", "bk-nobody", "lock rsv-stray (held) belongs to no saga"),
    "hold_without_live_saga": ("locks_settled", "declined", "is still held"),
    "never_promoted": ("locks_settled", "confirmed", "is still held"),
    "confirmed_lock_of_unconfirmed_saga": ("locks_settled", "declined", "is confirmed"),
    "another_answer": ("records_agree", "confirmed", "its worker answered booking.LockRefused.v1"),
    "no_answer": ("records_agree", "confirmed", "process_payment.1 is done, but no worker remembers it"),
    "not_asked_for": ("records_agree", "confirmed", "payment carried out bk-confirmed.process_payment.1.of-its-own"),
    "a_night_short": ("records_agree", "confirmed", "for 3 nights, but 2 of them are sold to it"),
    "another_code": ("records_agree", "confirmed", "BK-00000000 of 3 nights"),
    "sold_but_not_confirmed": ("records_agree", "declined", "1 nights of room r are sold to it"),
    "issued_but_not_confirmed": ("records_agree", "cancelled", "is issued, but the saga is CANCELLED"),
    "confirmed_without_lock": ("records_agree", "confirmed", "but that lock is released"),
    "payment_differs": ("records_agree", "confirmed", "its payments are [bk-confirmed.process_payment.1 declined]"),
    "payment_kept": ("records_agree", "cancelled", "its payments are [bk-cancelled.process_payment.1 captured]"),
    "provider_differs": ("records_agree", "cancelled", "is refunded by our record, and captured by the provider's"),
    "undos_swapped": ("undo_order", "cancelled", "to undo, in this order: [bk-cancelled.confirm.1, "),
    "undo_missing": ("undo_order", "declined", "undone: []"),
    "undone_for_nothing": ("undo_order", "confirmed", "it is CONFIRMED"),
    "undos_out_of_time": ("undo_order", "cancelled", ".undo was carried out at"),
    "done_after_its_undo": ("undo_order", "cancelled", " took effect at "),
    "past_deadline": ("delivery", "declined", "s past its deadline"),
    "unanswered": ("delivery", "declined", "has had no answer"),
    "never_woken": ("delivery", "declined", "nothing will ever wake it"),
    "no_sweeper": ("delivery", "confirmed", "has been due for 3600 s"),
    "applied_twice": ("delivery", "confirmed", "was applied 2 times"),
    "told_otherwise": ("notifications", "confirmed", 'was told as "failed"'),
    "told_of_nothing": ("notifications", "confirmed", "bk-confirmed.failed was told"),
    "no_letter": ("notifications", "confirmed", "there is no record of a letter"),
    "mailed_twice": ("notifications", "confirmed", "was delivered 2 times in 1 attempts"),
    "mailed_otherwise": ("notifications", "confirmed", 'says "cancelled", but no such letter was written'),
    "history_gap": ("history", "confirmed", "rows, from 1 to"),
    "history_ends_otherwise": ("history", "declined", "its history ends in RUNNING"),
    "row_differs": ("history", "confirmed", "does not say what the state in it says"),
    "history_without_saga": ("history", "bk-nobody", "of a saga that does not exist"),
}
IN_TOPICS = {
    "never_announced": ("delivery", "confirmed", "bk-confirmed.failed never was announced"),
    "announced_for_nothing": ("delivery", "confirmed", "bk-confirmed.confirmed is announced"),
    "request_lost": ("delivery", "unknown", "became neither saga nor dead letter"),
    "state_changed_by_hand": ("fold", "confirmed", "these differ: data"),
    "time_changed_by_hand": ("fold", "confirmed", "these differ: "),
}


def found(report: AuditReport, invariant: str, saga_id: str | None, said: str) -> bool:
    """Whether the report names this violation, and counts it."""
    named = [
        violation
        for violation in report.violations
        if violation.invariant == invariant and saga_id in {None, violation.saga_id} and said in violation.detail
    ]
    return bool(named) and report.checked[invariant].violations >= len(named) and not report.clean


async def test_a_clean_run_has_no_violations_and_everything_was_examined(finished: Finished) -> None:
    report = await audit(finished.settings, AuditOptions(min_confirmed=2, min_compensated=2))
    assert report.violations == ()
    assert report.clean
    assert report.sagas == {"CANCELLED": 1, "CONFIRMED": 2, "FAILED": 2}
    assert report.compensated == 2
    assert list(report.checked) == [invariant.name for invariant in INVARIANTS]
    assert {name: checked.unavailable for name, checked in report.checked.items() if checked.unavailable} == {}
    assert [name for name, checked in report.checked.items() if checked.examined == 0] == []
    assert (report.traces_complete, report.traces_incomplete, report.traces_unavailable) == (5, 0, 0)
    assert report.checked["fold"].examined == 5
    assert report.notes == ()


@pytest.mark.parametrize("name", IN_RECORDS)
async def test_a_violation_in_the_records_is_found_and_named(name: str, plant: Plant, finished: Finished) -> None:
    invariant, whose, said = IN_RECORDS[name]
    report = await audit(await plant(name), RECORDS)
    saga_id = None if whose is None else finished.kinds.get(whose, whose)
    assert found(report, invariant, saga_id, said), report.violations


@pytest.mark.parametrize("name", IN_TOPICS)
async def test_a_violation_against_the_topics_is_found_and_named(name: str, plant: Plant, finished: Finished) -> None:
    invariant, whose, said = IN_TOPICS[name]
    report = await audit(await plant(name), replace(TOPICS, grace_s=0.0))
    assert found(report, invariant, finished.kinds[whose], said), report.violations


@pytest.mark.parametrize("name", ["parked_just_now", "on_its_way", "no_provider"])
async def test_what_is_only_late_or_somebody_elses_is_no_violation(name: str, plant: Plant) -> None:
    report = await audit(await plant(name), RECORDS)
    assert [v for v in report.violations if v.invariant in {"charges_settled", "delivery", "one_charge"}] == []


async def test_a_lost_root_span_makes_its_trace_incomplete(plant: Plant, finished: Finished) -> None:
    report = await audit(await plant("root_span_lost"), TRACES)
    assert (report.traces_complete, report.traces_incomplete, report.traces_unavailable) == (4, 1, 0)
    assert found(report, "traces", finished.confirmed, "0 spans called booking.create")
    assert found(report, "traces", finished.confirmed, "it lacks")
    assert found(report, "traces", finished.confirmed, "have a parent that is missing: ")
    assert {violation.saga_id for violation in report.violations} == {finished.confirmed}


@pytest.mark.parametrize("name", ["trace_not_kept", "trace_partly_forgotten", "no_traces"])
async def test_traces_that_are_not_kept_are_unavailable_and_no_violation(name: str, plant: Plant) -> None:
    report = await audit(await plant(name), TRACES)
    assert report.violations == ()
    assert report.traces_incomplete == 0
    assert report.traces_unavailable == (5 if name == "no_traces" else 1)
    assert report.checked["traces"].unavailable == report.traces_unavailable


async def test_too_few_confirmed_or_compensated_sagas_are_a_violation(finished: Finished) -> None:
    report = await audit(finished.settings, replace(RECORDS, min_confirmed=3, min_compensated=3))
    assert [violation.detail for violation in report.violations] == [
        "2 sagas were confirmed, fewer than 3",
        "2 sagas were compensated, fewer than 3",
    ]


async def test_sagas_from_before_since_are_left_out(plant: Plant) -> None:
    settings = await plant("money_kept")
    report = await audit(settings, replace(RECORDS, since_us=4_000_000_000_000_000))
    assert (report.violations, report.sagas) == ((), {})


async def test_records_that_the_topics_no_longer_have_make_the_fold_unavailable(plant: Plant) -> None:
    settings = (await plant("no_traces")).model_copy(update={"topic_prefix": "nobody-has-this."})
    report = await audit(settings, TOPICS)
    assert report.violations == ()
    assert report.checked["fold"].unavailable == 5
    assert any("there is no topic" in note for note in report.notes)


async def test_a_database_without_tables_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(SagaError, match="there is nothing to audit"):
        await audit(settings)


async def test_a_database_or_broker_that_is_away_is_unreachable(finished: Finished) -> None:
    nowhere = SecretStr("postgresql://postgres@127.0.0.1:1/postgres")
    with pytest.raises(DatabaseUnreachable):
        await audit(finished.settings.model_copy(update={"database_url": nowhere}), RECORDS)
    with pytest.raises(BrokerUnreachable):
        await audit(finished.settings.model_copy(update={"brokers": "127.0.0.1:1"}), TOPICS)


def _in_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables_of(settings).items():
        monkeypatch.setenv(name, value)


async def test_the_command_exits_by_verdict_and_its_json_names_what_it_found(
    plant: Plant, finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    _in_environment(finished.settings, monkeypatch)
    assert await asyncio.to_thread(invoke, ["audit", "--no-topics", "--no-traces"]) == 0
    assert "every invariant holds" in capsys.readouterr().out
    _in_environment(await plant("money_kept"), monkeypatch)
    assert await asyncio.to_thread(invoke, ["audit", "--no-topics", "--no-traces", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["checked"]["charges_settled"]["violations"] == 1
    assert {"invariant", "saga_id", "detail"} == set(told["violations"][0])
    monkeypatch.setenv("SAGA_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/postgres")
    assert await asyncio.to_thread(invoke, ["audit"]) == 3
