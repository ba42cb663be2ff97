"""What ``saga publish`` is to send: one booking from flags, generated ones, or the lines of a file."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from saga.cli.request_lines import BadLine, Line, bounded_lines, explain, read_requests
from saga.cli.sending import Planned
from saga.errors import UsageError
from saga.generate import Kind, Mix, generate
from saga.publishing import Request, new_booking_id
from saga.store.reading import Lodging
from saga.telemetry.spans import SpanContext, parse_traceparent
from schemas.requests import BookingRequested

if TYPE_CHECKING:
    from saga.store.reading import Reader


def tomorrow() -> date:
    """The first day that can be booked without a look at the clock on the wall."""
    return datetime.now(UTC).date() + timedelta(days=1)


def any_seed() -> int:
    """A seed for those who did not choose one."""
    return random.randrange(1, 1_000_000)


async def lodgings_of(reader: Reader, property_ids: Collection[str]) -> Sequence[Lodging]:
    """What there is to book. Raises :class:`UsageError` for an empty catalogue and for properties it does not have."""
    lodgings = await reader.lodgings(property_ids)
    if missing := set(property_ids) - {lodging.property_id for lodging in lodgings}:
        raise UsageError(f"the catalogue has no property {', '.join(sorted(missing))}; load it with `saga seed`")
    if not lodgings:
        raise UsageError("the catalogue is empty; load one with `saga seed`, or name a --property")
    return lodgings


def one_booking(
    chosen: Mapping[str, Any], nights: int | None, lodgings: Sequence[Lodging], parent: SpanContext | None
) -> Planned:
    """A booking made of what was ``chosen``, and for the rest of something plausible.

    Raises :class:`UsageError` for values that make no booking.
    """
    if nights is not None and "check_out" in chosen:
        raise UsageError("--check-out and --nights say the same thing; give one of them")
    places = lodgings or [Lodging("to-be-replaced", "any", 2, 1)]
    plausible = next(generate(1, any_seed(), places, first_day=tomorrow())).request
    values = {**plausible.model_dump(exclude_none=True), **chosen}
    if "payment_token" in chosen:
        values.pop("card_last_four", None)
    if "room_type" not in chosen and chosen.keys() & {"property_id", "guests"}:
        values.pop("room_type", None)
    stay = timedelta(days=nights) if nights is not None else plausible.check_out - plausible.check_in
    if "check_out" not in chosen:
        values["check_out"] = values["check_in"] + stay
    elif "check_in" not in chosen:
        values["check_in"] = values["check_out"] - stay
    try:
        request = BookingRequested.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"that is no booking: {explain(error)}") from None
    return Planned(Request(request.booking_id or new_booking_id(), request, parent))


def caller(traceparent: str | None, tracestate: str) -> SpanContext | None:
    """The caller's span. Raises :class:`UsageError` for a ``traceparent`` that is none."""
    if traceparent is None:
        return None
    context = parse_traceparent(traceparent, tracestate)
    if context is None or len(tracestate) > 512 or not (tracestate.isascii() and tracestate.isprintable()):
        raise UsageError(
            "that is no trace context; a traceparent looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        )
    return context


@dataclass(slots=True)
class GeneratedPlan:
    """Generated bookings; ``kinds`` tells, by id, what each of those sent so far was meant to come to."""

    count: int
    seed: int
    lodgings: Sequence[Lodging]
    mix: Mix
    first_day: date
    source: str | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Planned]:
        for booking in generate(self.count, self.seed, self.lodgings, self.mix, first_day=self.first_day):
            request = booking.request
            if self.source is not None:
                request = request.model_copy(update={"source": self.source})
            self.kinds[booking.key] = booking.kind
            yield Planned(Request(booking.key, request), booking.cancel_after_s)


@dataclass(slots=True)
class FilePlan:
    """The lines of a file, or of standard input; ``refused`` grows as bad ones are met."""

    path: Path
    source: str | None = None
    refused: list[BadLine] = field(default_factory=list)

    def __iter__(self) -> Iterator[Planned]:
        for found in self._found():
            if isinstance(found, Line):
                yield Planned(Request(found.key, found.request))
            else:
                self.refused.append(found)

    def _found(self) -> Iterator[Line | BadLine]:
        for lines in _opened(self.path):
            yield from read_requests(lines, new_booking_id, source=self.source)


def _opened(path: Path) -> Iterator[Iterable[str]]:
    # Bytes that are no UTF-8 become lone surrogates: the line that holds them is refused, the others are read.
    try:
        with click.open_file(str(path), encoding="utf-8", errors="surrogateescape") as stream:
            yield bounded_lines(stream)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a file, or - for standard input") from error
