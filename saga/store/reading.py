"""The store as people and programs read it: one saga, many outcomes, a page of a list. Writes nothing.

Times are microseconds since the epoch, by the database's clock. Every method raises :class:`DatabaseUnreachable` when
PostgreSQL goes away, and :class:`SagaError` when the tables are not there (yet).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from saga.booking import DEFINITIONS
from saga.database import Schemas, Statements, connect_pool
from saga.engine.definition import Definition
from saga.engine.state import State, Status
from saga.errors import DatabaseUnreachable, SagaError
from saga.telemetry.messaging import Origin

if TYPE_CHECKING:
    from saga.settings import Settings

_FOREVER_US = 2**62
_LIVE = frozenset({Status.RUNNING, Status.COMPENSATING})
_UNSETTLED = _LIVE | {Status.NEEDS_ATTENTION}
_TROUBLED = frozenset(Status) - {Status.RUNNING, Status.CONFIRMED}


@dataclass(frozen=True, slots=True)
class Summary:
    """How one saga stands. ``step``: what it waits for, empty when for nothing; ``ended_us`` 0: it has not ended."""

    id: str
    status: Status
    step: str
    error_type: str
    trace_id: str
    started_us: int
    updated_us: int
    ended_us: int

    @property
    def duration_us(self) -> int | None:
        """From its start to its end; None while it is under way."""
        return self.ended_us - self.started_us if self.ended_us else None


@dataclass(frozen=True, slots=True)
class Stored:
    """One saga, whole. ``state.data`` is decoded by ``definition``, which is the one it started with."""

    summary: Summary
    definition: Definition[Any]
    state: State
    now_us: int


@dataclass(frozen=True, slots=True)
class Input:
    """One input that was applied: a message, or (``origin`` and ``message_id`` None) the passing of time."""

    epoch: int
    message_id: str | None
    message_type: str
    origin: Origin | None
    decided_us: int
    status: Status
    writer: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sagas a list is of. An empty collection means any; the period is of starts, both ends included."""

    statuses: Collection[Status] = ()
    error_types: Collection[str] = ()
    since_us: int = 0
    until_us: int = _FOREVER_US

    @classmethod
    def live(cls) -> Filter:
        """Those that wait for somebody."""
        return cls(statuses=_LIVE)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list, newest first: the page after it begins with the next older saga."""

    started_us: int
    saga_id: str

    def __str__(self) -> str:
        return f"{self.started_us}.{self.saga_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """What :meth:`__str__` gave. Raises ``ValueError``."""
        started, dot, saga_id = text.partition(".")
        if not dot or not saga_id or not (started.isascii() and started.isdecimal()) or len(started) > 18:
            raise ValueError(f"{text!r} is no cursor")
        return cls(int(started), saga_id)


@dataclass(frozen=True, slots=True)
class Page:
    """Some sagas, newest first; ``after`` leads to the next page, None: this was the last."""

    sagas: tuple[Summary, ...]
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Lodging:
    """The rooms of one type at one property. ``capacity`` is that of the smallest."""

    property_id: str
    room_type: str
    capacity: int
    rooms: int


class Reader:
    """Reads the schema ``saga`` of one environment, and of ``inventory`` what there is to book."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schema_prefix: str) -> None:
        self._pool = pool
        self._sql = Statements.load("saga.store", "sql/reading.sql", Schemas(schema_prefix))

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The connections it reads through."""
        return self._pool

    async def find(self, saga_id: str) -> Stored | None:
        """One saga, or None. Raises :class:`SagaError` for one whose definition this build does not have."""
        rows = await self._fetch("find", saga_id)
        if not rows:
            return None
        row = rows[0]
        definition = DEFINITIONS.get((row["definition"], row["version"]))
        if definition is None:
            raise SagaError(
                f"saga {saga_id} runs on {row['definition']} v{row['version']}, which this build does not have; "
                "use a build that still lists that version in DEFINITIONS"
            )
        return Stored(_summary(row), definition, definition.load(row["state"]), row["now_us"])

    async def outcomes(self, saga_ids: Collection[str]) -> Mapping[str, Summary]:
        """How these sagas stand, by id; those that do not exist (yet) are left out. One query: thousands at most."""
        return {row["id"]: _summary(row) for row in await self._fetch("outcomes", list(saga_ids))}

    async def page(self, wanted: Filter, *, limit: int = 50, after: Cursor | None = None) -> Page:
        """Up to ``limit`` sagas of ``wanted``, newest first, beginning behind ``after``."""
        name, *chosen = _statement(wanted)
        until = (wanted.until_us + 1, "")
        place = until if after is None else min(until, (after.started_us, after.saga_id))
        rows = await self._fetch(name, wanted.since_us, *place, limit + 1, *chosen)
        sagas = tuple(_summary(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(sagas, Cursor(sagas[-1].started_us, sagas[-1].id) if more and sagas else None)

    async def history(self, saga_id: str) -> tuple[Input, ...]:
        """Everything that was applied to a saga, in order."""
        return tuple(
            Input(
                row["epoch"],
                row["message_id"],
                row["message_type"],
                None
                if row["origin_topic"] is None
                else Origin(row["origin_topic"], row["origin_partition"], row["origin_offset"]),
                row["decided_us"],
                Status(row["status"]),
                row["writer"],
            )
            for row in await self._fetch("history", saga_id)
        )

    async def now_us(self) -> int:
        """The database's time."""
        now: int = (await self._fetch("clock"))[0]["now_us"]
        return now

    async def lodgings(self, property_ids: Collection[str] = ()) -> tuple[Lodging, ...]:
        """What there is to book, at every property or at these."""
        return tuple(Lodging(*row) for row in await self._fetch("lodgings", list(property_ids) or None))

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        try:
            return await self._pool.fetch(self._sql[name], *arguments)
        except asyncpg.UndefinedTableError as error:
            raise SagaError(f"{error}: the tables are not there yet; start the services, or run `saga up`") from error
        except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise DatabaseUnreachable(
                f"PostgreSQL went away ({type(error).__name__}: {error}); try again, or see `saga doctor`"
            ) from error


@asynccontextmanager
async def open_reader(settings: Settings, *, role: str = "reader") -> AsyncIterator[Reader]:
    """A reader with connections of its own. Raises :class:`DatabaseUnreachable`."""
    pool = await connect_pool(settings, role=role, min_size=1, max_size=2, reads_widely=True)
    try:
        yield Reader(pool, settings.schema_prefix)
    finally:
        await pool.close()


def _statement(wanted: Filter) -> tuple[str, *tuple[list[str], ...]]:
    """The statement whose conditions some index answers, and what it takes.

    One for each case, because a plan that serves every case is a plan that reads the whole table.
    """
    statuses = set(wanted.statuses)
    values = [status.value for status in statuses]
    if wanted.error_types:
        troubled = [status.value for status in _TROUBLED if not statuses or status in statuses]
        return "page_of_error", troubled, list(wanted.error_types)
    if not statuses:
        return ("page",)
    if statuses <= _UNSETTLED:
        return "page_unsettled", values
    return "page_troubled" if statuses <= _TROUBLED else "page_of_status", values


def _summary(row: asyncpg.Record) -> Summary:
    return Summary(
        row["id"],
        Status(row["status"]),
        row["step"],
        row["error_type"],
        row["trace_id"],
        row["started_us"],
        row["updated_us"],
        row["ended_us"],
    )
