"""Booking requests from text, one per line: JSON Lines, or CSV with a header. A bad line never stops the good ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Final

from pydantic import ValidationError

from saga.errors import UsageError
from saga.publishing import CARD_REFUSED
from saga.telemetry.redaction import contains_card_number, redact_text
from schemas.limits import MAX_MESSAGE_BYTES
from schemas.requests import BookingRequested

_FIELDS: Final = frozenset(BookingRequested.model_fields)
_HINTS: Final = {
    "payment_token": "must be the payment provider's token: tok_ and letters, digits or underscores",
    "email": "must be an e-mail address",
    "currency": "must be a three-letter code, such as EUR",
    "booking_id": "must be 1 to 64 letters, digits, dots, dashes, colons or underscores",
    "card_last_four": "must be four digits",
}
_SHOWN_PROBLEMS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A request that was understood; ``number`` counts lines from 1."""

    number: int
    key: str
    request: BookingRequested


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was refused, and why; the reason quotes nothing of it that is sensitive."""

    line: int
    reason: str


def read_requests(
    lines: Iterable[str], new_id: Callable[[], str], *, source: str | None = None
) -> Iterator[Line | BadLine]:
    """Every request in ``lines``, JSON Lines when the first one begins with a brace, else CSV with a header.

    A request without a ``booking_id`` is given one by ``new_id``; one without a ``source`` is given ``source``. Raises
    :class:`UsageError` when the whole is neither.
    """
    stream = iter(lines)
    first = ""
    skipped = 0
    for line in stream:
        if line.strip("\ufeff \t\r\n"):
            first = line.lstrip("\ufeff")
            break
        skipped += 1
    if not first:
        return
    start = first.lstrip()[0]
    if start == "[":
        raise UsageError("that is one JSON array; give one object per line, as `jq -c '.[]'` makes them")
    known: dict[str, int] = {}
    rows = _json_rows if start == "{" else _csv_rows
    for number, row in rows(chain([first], stream), skipped):
        yield _request(number, row, known, new_id, source)


def bounded_lines(stream: IO[str]) -> Iterator[str]:
    """The lines of ``stream``; of one that is far too long only the beginning, which is enough to refuse it."""
    while line := stream.readline(MAX_MESSAGE_BYTES + 1):
        yield line
        while len(line) > MAX_MESSAGE_BYTES and not line.endswith("\n"):
            line = stream.readline(MAX_MESSAGE_BYTES + 1)


def explain(error: ValidationError) -> str:
    """What is wrong with a request, in one line that quotes none of its values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = []
    for problem in problems[:_SHOWN_PROBLEMS]:
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            told.append(f"{name} is missing")
        elif name:
            told.append(f"{name} {_HINTS.get(name) or _worded(problem['msg'])}")
        else:
            told.append(problem["msg"].removeprefix("Value error, "))
    if len(problems) > _SHOWN_PROBLEMS:
        told.append(f"and {len(problems) - _SHOWN_PROBLEMS} more")
    return "; ".join(told)


def _worded(message: str) -> str:
    return message.replace("Input should be", "must be").replace("String should", "should")


def _json_rows(lines: Iterable[str], skipped: int) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(lines, start=skipped + 1):
        if line.strip():
            yield number, _careful(line) or _json_row(line)


def _json_row(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"this is not JSON ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError):
        return "this is not JSON that anybody would send"
    return row if isinstance(row, dict) else "this is JSON, but no object"


def _csv_rows(lines: Iterable[str], skipped: int) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(lines, strict=True)
    columns = [name.strip() for name in next(reader, [])]
    if unknown := [name for name in columns if name not in _FIELDS]:
        raise UsageError(
            f"the header names {redact_text(', '.join(map(repr, unknown[:5])))}; "
            f"the columns there may be are {', '.join(sorted(_FIELDS))}"
        )
    while True:
        number = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"this is not CSV ({error})"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        problem = _careful(" , ".join(cells))
        if problem is None and len(cells) != len(columns):
            problem = f"there are {len(cells)} cells, but the header has {len(columns)}"
        yield (
            number,
            problem or {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()},
        )


def _careful(text: str) -> str | None:
    """Why ``text`` is not even looked into."""
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_MESSAGE_BYTES:
        return f"this is {size} bytes; a request has {MAX_MESSAGE_BYTES} at most"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "this is not UTF-8"
    return CARD_REFUSED if contains_card_number(text) else None


def _request(
    number: int,
    row: Mapping[str, Any] | str,
    known: dict[str, int],
    new_id: Callable[[], str],
    source: str | None,
) -> Line | BadLine:
    if isinstance(row, str):
        return BadLine(number, row)
    if unknown := [name for name in row if name not in _FIELDS]:
        return BadLine(number, f"there is no field {redact_text(repr(unknown[0][:40]))}; see `saga schema`")
    try:
        request = BookingRequested.model_validate({"source": source, **row} if source else row)
    except ValidationError as error:
        return BadLine(number, explain(error))
    key = request.booking_id or new_id()
    if contains_card_number(key):
        return BadLine(number, CARD_REFUSED)
    if key in known:
        return BadLine(number, f"booking {key} is on line {known[key]} already")
    known[key] = number
    return Line(number, key, request)
