"""A definition that could not be carried out, or not undone, is refused where it is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saga.booking import DEFINITION, DEFINITIONS, Booking
from saga.engine.definition import Retry, Step, StepKind, compensatable, pivot, read_only, retriable
from saga.errors import InvalidDefinition
from schemas.limits import LOCK_TTL_MS
from tests.support.bookings import a_booking, forward
from tests.support.parcels import (
    ANNOUNCE,
    LABEL,
    PACK,
    PARCELS,
    SHIP,
    WEIGH,
    Announced,
    NoLongerWanted,
    Packed,
    Shipped,
    Unpacked,
    Wanted,
    Weighed,
    a_saga,
    ask,
    done,
)
from tests.support.sentences import given


def test_the_booking_is_declared_by_kind() -> None:
    assert {step.name: step.kind for step in DEFINITION.steps} == {
        "check_availability": StepKind.READ_ONLY,
        "acquire_lock": StepKind.COMPENSATABLE,
        "process_payment": StepKind.COMPENSATABLE,
        "confirm": StepKind.PIVOT,
    }
    assert {step.name: step.undo.name for step in DEFINITION.steps if step.undo} == {
        "acquire_lock": "release_lock",
        "process_payment": "refund_payment",
        "confirm": "restore_inventory",
    }


def test_every_saga_has_confirmed_or_begun_to_undo_before_its_lock_expires() -> None:
    assert DEFINITION.deadline_s * 1000 < LOCK_TTL_MS


def test_every_reply_a_definition_understands_is_listed() -> None:
    assert PARCELS.replies >= {Weighed, Packed, Unpacked, Shipped, Announced}
    assert len(DEFINITION.replies) == 12


def test_steps_follow_each_other_as_declared() -> None:
    names, step = [], DEFINITION.steps[0]
    while True:
        names.append(step.name)
        following = DEFINITION.following(step.name)
        if following is None:
            break
        step = following
    assert names == [step.name for step in DEFINITION.steps]
    assert DEFINITION.step("confirm").kind is StepKind.PIVOT


IMPATIENT = Retry(first_s=0.0)
REFUSED: dict[str, tuple[tuple[Step[Any], ...], dict[str, Any], str]] = {
    "a compensatable step without an undo": (
        (compensatable("pack").sends(ask, to="p").on(Packed, done),),
        {},
        "pack is compensatable but nothing undoes it",
    ),
    "a pivot without an undo": (
        (pivot("ship").sends(ask, to="p").on(Shipped, done),),
        {},
        "ship is pivot but nothing undoes it",
    ),
    "a read-only step with an undo": (
        (replace(PACK, kind=StepKind.READ_ONLY),),
        {},
        "unpack would never run; make it compensatable",
    ),
    "a retriable step with an undo": (
        (SHIP, replace(PACK, kind=StepKind.RETRIABLE)),
        {},
        "unpack would never run; make it compensatable",
    ),
    "a retriable step before the pivot": ((LABEL, SHIP), {}, "label is retriable but comes before the pivot"),
    "a retriable step without a pivot": ((PACK, LABEL), {}, "label is retriable but comes before the pivot"),
    "a compensatable step after the pivot": ((SHIP, PACK), {}, "pack is compensatable but comes after the pivot"),
    "a read-only step after the pivot": ((SHIP, WEIGH), {}, "weigh is read-only but comes after the pivot"),
    "two pivots": ((SHIP, replace(PACK, kind=StepKind.PIVOT)), {}, "it has two pivots"),
    "no steps": ((), {}, "it has no steps"),
    "a step that sends nothing": ((read_only("weigh").on(Weighed, done),), {}, "weigh sends no command"),
    "a step that sends nowhere": (
        (read_only("weigh").sends(ask, to="").on(Weighed, done),),
        {},
        "weigh sends no command",
    ),
    "a step that understands no reply": ((read_only("weigh").sends(ask, to="p"),), {}, "weigh understands no reply"),
    "an undo that sends nowhere": (
        (compensatable("pack").sends(ask, to="p").on(Packed, done).undone_by("unpack", ask, to="", on=Unpacked),),
        {},
        "unpack sends its command nowhere",
    ),
    "two steps of one name": ((WEIGH, replace(PACK, name="weigh")), {}, "the name 'weigh' is used twice"),
    "an undo named like a step": (
        (PACK, pivot("unpack").sends(ask, to="p").on(Shipped, done).undone_by("x", ask, to="p", on=Announced)),
        {},
        "the name 'unpack' is used twice",
    ),
    "a name that would break ids": ((replace(WEIGH, name="weigh.1"),), {}, "'weigh.1' is not a plain word"),
    "one reply to two steps": (
        (WEIGH, replace(ANNOUNCE.on(Weighed, done), kind=StepKind.READ_ONLY)),
        {},
        "_Weighed answers two steps",
    ),
    "one reply to a step and its undo": (
        (compensatable("pack").sends(ask, to="p").on(Packed, done).undone_by("unpack", ask, to="p", on=Packed),),
        {},
        "_Packed answers two steps",
    ),
    "a reply that also starts the saga": (
        (read_only("weigh").sends(ask, to="p").on(Wanted, done),),
        {},
        "_Wanted starts or cancels the saga, so it cannot answer a step",
    ),
    "a reply that also cancels the saga": (
        (read_only("weigh").sends(ask, to="p").on(NoLongerWanted, done),),
        {},
        "_NoLongerWanted starts or cancels the saga",
    ),
    "a message that both starts and cancels": ((WEIGH,), {"cancels_on": Wanted}, "both starts and cancels it"),
    "a saga without time": ((WEIGH,), {"deadline_s": 0.0}, "its deadline must be positive"),
    "a step without time": ((WEIGH.within(0.0),), {}, "weigh needs a positive deadline and at least one run"),
    "a step without runs": ((WEIGH.within(1.0, runs=0),), {}, "weigh needs a positive deadline and at least one run"),
    "an undo without time": (
        (PACK.undone_by("unpack", ask, to="p", on=Unpacked, deadline_s=0.0),),
        {},
        "unpack needs a positive deadline",
    ),
    "a step repeated without pause": ((WEIGH.within(1.0, retry=IMPATIENT),), {}, "weigh would be repeated without"),
    "an undo repeated without pause": (
        (PACK.undone_by("unpack", ask, to="p", on=Unpacked, retry=IMPATIENT),),
        {},
        "unpack would be repeated without pause",
    ),
    "a schedule that shrinks": ((WEIGH.within(1.0, retry=Retry(factor=0.5)),), {}, "weigh would be repeated without"),
    "a jitter as large as the pause": (
        (WEIGH.within(1.0, retry=Retry(jitter=1.0)),),
        {},
        "weigh would be repeated without",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str) -> None:
    steps, changes, problem = REFUSED[fault]
    with pytest.raises(InvalidDefinition, match="saga 'parcel' v1: ") as refusal:
        a_saga(*steps, **changes)
    assert problem in str(refusal.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        a_saga(retriable("label"), deadline_s=-1.0)
    for problem in ("sends no command", "understands no reply", "before the pivot", "deadline must be positive"):
        assert problem in str(refusal.value)


def test_the_sentence_leaves_the_words_before_it_as_they_were() -> None:
    plain = compensatable("pack")
    plain.sends(ask, to="p").on(Packed, done).undone_by("unpack", ask, to="p", on=Unpacked)
    assert (plain.build, dict(plain.replies), plain.undo) == (None, {}, None)


# --- versions ---------------------------------------------------------------------------------------------------------


def test_every_version_a_running_saga_may_be_on_is_kept_under_its_own_number() -> None:
    assert {key: (found.name, found.version) for key, found in DEFINITIONS.items()} == {key: key for key in DEFINITIONS}
    assert DEFINITIONS[DEFINITION.name, DEFINITION.version] is DEFINITION


def test_a_saga_remembers_the_version_it_started_with() -> None:
    story = given(a_booking()).when(*forward(2))
    assert (story.saga.definition, story.saga.version) == ("booking", 1)


def test_a_running_saga_finishes_on_its_version_while_new_ones_take_another_way() -> None:
    first, second = a_saga(WEIGH, PACK, SHIP), a_saga(PACK, SHIP, ANNOUNCE, version=2)
    old, new = given(Wanted(), definition=first), given(Wanted(), definition=second)
    old.when(Weighed(), Packed(), Shipped())
    new.when(Packed(), Shipped(), Announced())
    assert [run.step for run in old.saga.runs] == ["weigh", "pack", "ship"]
    assert [run.step for run in new.saga.runs] == ["pack", "ship", "announce"]
    assert (old.saga.version, new.saga.version) == (1, 2)


def test_a_stored_state_is_loaded_with_the_definitions_own_data() -> None:
    state = given(a_booking()).when(*forward(3)).saga
    loaded = DEFINITION.load(state.model_dump_json())
    assert isinstance(loaded.data, Booking)
    assert loaded == state


def test_a_state_stored_by_a_later_build_with_more_fields_still_loads() -> None:
    state = given(a_booking()).when(*forward(2)).saga
    widened = state.model_dump_json().replace('{"id":', '{"added_later":1,"id":', 1)
    assert DEFINITION.load(widened) == state
