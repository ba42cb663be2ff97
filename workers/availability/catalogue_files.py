"""Catalogues as files: CSV with one line per room, or JSON with one object per property.

CSV repeats the property on each of its rooms' lines::

    property_id,name,city,country,stars,currency,weekend_percent,seasons,room_id,room_type,capacity,nightly_minor
    htl-001,Hotel Lumière,Paris,FR,4,EUR,115,summer 06-15..08-31 130%; yule 12-20..01-02 150%,101,double,2,16500

JSON is ``{"properties": [{... , "rooms": [{...}]}]}`` with the same names. Entries that are not valid are left out and
reported; the rest of the file is used.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from saga.errors import UsageError
from saga.seeding import BadRow
from workers.availability.catalogue import Listing, Property, Room, SeasonalRate

_PROPERTY = ("property_id", "name", "city", "country", "stars", "currency", "weekend_percent", "seasons")
_ROOM = ("room_id", "room_type", "capacity", "nightly_minor")
_SEASON = re.compile(r"(?P<name>.+?)\s+(?P<first>\d\d-\d\d)\.\.(?P<last>\d\d-\d\d)\s+(?P<percent>\d+)%")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What could be read of a file, and what could not."""

    listings: tuple[Listing, ...]
    bad_rows: tuple[BadRow, ...] = ()


def read_catalogue(path: Path) -> Catalogue:
    """Read ``.csv`` or ``.json``. Raises :class:`UsageError` for a file that is neither or cannot be read at all."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; give a UTF-8 file that exists") from error
    if path.suffix.lower() == ".csv":
        return _from_csv(path, text)
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    raise UsageError(f"{path}: a catalogue is a .csv or .json file; `saga seed --export sample.csv` writes an example")


def write_catalogue(path: Path, listings: Sequence[Listing]) -> None:
    """Write ``.csv`` or ``.json``, such that :func:`read_catalogue` reads the same. Raises :class:`UsageError`."""
    if path.suffix.lower() not in {".csv", ".json"}:
        raise UsageError(f"{path}: export to a file whose name ends in .csv or .json")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".json":
                properties = [listing.model_dump(mode="json") for listing in listings]
                json.dump({"properties": properties}, file, ensure_ascii=False, indent=1)
                file.write("\n")
                return
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_PROPERTY + _ROOM)
            for listing in listings:
                about = [getattr(listing, name) for name in _PROPERTY[:-1]]
                seasons = "; ".join(f"{s.name} {s.first}..{s.last} {s.percent}%" for s in listing.seasons)
                writer.writerows([*about, seasons, *(getattr(room, name) for name in _ROOM)] for room in listing.rooms)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose a folder that exists and is writable"
        ) from error


def _from_csv(path: Path, text: str) -> Catalogue:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="_extra")
    missing = [name for name in (*_PROPERTY, *_ROOM) if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"{path}: the header lacks {', '.join(missing)}; `saga seed --export sample.csv` shows it")
    shelf = _Shelf()
    bad: list[BadRow] = []
    try:
        for row in reader:
            try:
                shelf.put_room(reader.line_num, *_csv_row(row))
            except ValueError as error:
                bad.append(BadRow(f"line {reader.line_num}", _reason(error)))
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num} is not CSV ({error}); save the file as plain CSV") from error
    return Catalogue(shelf.listings(), tuple(bad))


class _Shelf:
    """Properties as their rooms turn up, each described once and holding every room once."""

    def __init__(self) -> None:
        self._properties: dict[str, tuple[int, Property]] = {}
        self._rooms: dict[str, dict[str, Room]] = {}

    def put_room(self, line: int, about: Property, room: Room) -> None:
        first_line, known = self._properties.setdefault(about.property_id, (line, about))
        if about != known:
            raise ValueError(f"property {about.property_id} is described differently on line {first_line}")
        rooms = self._rooms.setdefault(about.property_id, {})
        if room.room_id in rooms:
            raise ValueError(f"room {room.room_id} of {about.property_id} is in the file twice")
        rooms[room.room_id] = room

    def put_listing(self, number: int, listing: Listing) -> None:
        if listing.property_id in self._properties:
            raise ValueError(f"property {listing.property_id} is in the file twice")
        if len({room.room_id for room in listing.rooms}) < len(listing.rooms):
            raise ValueError(f"property {listing.property_id} has two rooms with the same room_id")
        about = Property.model_construct(**{name: getattr(listing, name) for name in Property.model_fields})
        for room in listing.rooms:
            self.put_room(number, about, room)

    def listings(self) -> tuple[Listing, ...]:
        return tuple(
            Listing.model_construct(**dict(about), rooms=tuple(self._rooms[property_id].values()))
            for property_id, (_, about) in self._properties.items()
        )


def _csv_row(row: dict[str, str]) -> tuple[Property, Room]:
    if "_extra" in row or None in row.values():
        raise ValueError("the line has not as many fields as the header")
    seasons = tuple(_season(part) for part in row["seasons"].split(";") if part.strip())
    about = {name: row[name].strip() for name in _PROPERTY[:-1]}
    about["weekend_percent"] = about["weekend_percent"] or "100"
    return (
        Property.model_validate({**about, "seasons": seasons}),
        Room.model_validate({name: row[name].strip() for name in _ROOM}),
    )


def _season(text: str) -> SeasonalRate:
    match = _SEASON.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"season {text.strip()!r} is not like 'summer 06-15..08-31 130%'")
    return SeasonalRate.model_validate(match.groupdict())


def _from_json(path: Path, text: str) -> Catalogue:
    try:
        properties = json.loads(text)["properties"]
        entries = list(enumerate(properties))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f'{path}: not JSON with a list "properties" ({error}); `saga seed --export sample.json` shows it'
        ) from error
    shelf = _Shelf()
    bad: list[BadRow] = []
    for number, entry in entries:
        try:
            shelf.put_listing(number, Listing.model_validate(entry))
        except ValueError as error:
            bad.append(BadRow(f"properties[{number}]", _reason(error)))
    return Catalogue(shelf.listings(), tuple(bad))


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    details = error.errors(include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in d['loc'])}: {d['msg']} (got {d['input']!r:.60})" for d in details
    )
