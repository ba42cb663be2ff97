"""A saga that has nothing to do with bookings: parcels are packed, shipped, then labelled and announced.

It has what the booking lacks, steps after the pivot. Its messages begin with an underscore, so they are not registered
among those that travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic import BaseModel

from saga.engine.definition import (
    Again,
    Answer,
    CommandRef,
    Definition,
    Done,
    Refused,
    Retry,
    Step,
    Unknown,
    compensatable,
    pivot,
    read_only,
    retriable,
)
from saga.engine.state import State, Status
from saga.telemetry.spans import Attributes
from schemas.base import Message


class _Parcel(Message):
    note: str = ""


class _Wanted(_Parcel):
    pass


class _NoLongerWanted(_Parcel):
    reason: str = ""


class _Asked(_Parcel):
    command_id: str


class _Weighed(_Parcel):
    pass


class _Packed(_Parcel):
    pass


class _Unpacked(_Parcel):
    pass


class _Shipped(_Parcel):
    pass


class _CalledBack(_Parcel):
    pass


class _Labelled(_Parcel):
    answer: str = "done"


class _Announced(_Parcel):
    pass


class _Ended(_Parcel):
    status: str


class Parcel(BaseModel):
    """What the saga knows: the notes of the replies so far."""

    notes: tuple[str, ...] = ()


def ask(data: Parcel, ref: CommandRef) -> Message:
    """Every command of this saga looks the same."""
    return _Asked(command_id=ref.command_id, note=",".join(data.notes))


def done(data: Parcel, reply: _Parcel) -> Answer[Parcel]:
    """It is done."""
    return Done(data.model_copy(update={"notes": (*data.notes, reply.note)}))


def as_told(data: Parcel, reply: _Labelled) -> Answer[Parcel]:
    """The reply itself says which answer it is."""
    answers: dict[str, Callable[[], Answer[Parcel]]] = {
        "done": lambda: Done(data),
        "refused": lambda: Refused(data, "refused", "refused"),
        "again": lambda: Again(data),
        "unknown": lambda: Unknown(data, "unknown", "unknown"),
    }
    return answers[reply.answer]()


WEIGH = read_only("weigh").sends(ask, to="parcels").on(_Weighed, done)
PACK = compensatable("pack").sends(ask, to="parcels").on(_Packed, done).undone_by("unpack", ask, to="p", on=_Unpacked)
SHIP = pivot("ship").sends(ask, to="parcels").on(_Shipped, done).undone_by("call_back", ask, to="p", on=_CalledBack)
LABEL = retriable("label").sends(ask, to="parcels").on(_Labelled, as_told).within(5.0, retry=Retry(first_s=2.0))
ANNOUNCE = retriable("announce").sends(ask, to="parcels").on(_Announced, done)


def _tell(state: State, _: Parcel) -> Message | None:
    return None if state.status is Status.NEEDS_ATTENTION else _Ended(status=state.status.value)


def _nothing(_: State, __: Parcel) -> Attributes:
    return {}


def a_saga(*steps: Step[Any], **changes: Any) -> Definition[Parcel]:
    """A definition of these steps; refused where it could not be undone."""
    fields: dict[str, Any] = {
        "name": "parcel",
        "version": 1,
        "data": Parcel,
        "starts_on": _Wanted,
        "begin": lambda _, __: Parcel(),
        "cancels_on": _NoLongerWanted,
        "steps": steps,
        "deadline_s": 60.0,
        "events_topic": "parcels.events",
        "announce": _tell,
        "describe": _nothing,
        "source": lambda _: "test",
    }
    return Definition(**{**fields, **changes})


PARCELS = a_saga(WEIGH, PACK, SHIP, LABEL, ANNOUNCE)

Wanted: TypeAlias = _Wanted
NoLongerWanted: TypeAlias = _NoLongerWanted
Asked: TypeAlias = _Asked
Ended: TypeAlias = _Ended
Weighed: TypeAlias = _Weighed
Packed: TypeAlias = _Packed
Unpacked: TypeAlias = _Unpacked
Shipped: TypeAlias = _Shipped
CalledBack: TypeAlias = _CalledBack
Labelled: TypeAlias = _Labelled
Announced: TypeAlias = _Announced
