"""The orchestrator's store: states in, states out, each write a compare-and-set on the saga's epoch.

One statement writes a whole batch, so a write is one round trip and one transaction that no suspended process can hold
open: a zombie's write finds a newer epoch and changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from saga.database import Connection, Schemas, Statements
from saga.database.rows import as_rows
from saga.engine.definition import Definition
from saga.engine.state import State
from saga.errors import SagaError
from saga.telemetry.codec import spans_to_json
from saga.telemetry.messaging import Origin
from saga.telemetry.spans import SpanRecord
from schemas.base import Message

Definitions = Mapping[tuple[str, int], Definition[Any]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A saga as stored. ``state`` None: there is none yet."""

    saga_id: str
    definition: Definition[Any]
    state: State | None
    now_us: int


@dataclass(frozen=True, slots=True)
class Applied:
    """One input that was applied to a saga: a row of its history. ``origin`` None: the passing of time."""

    saga_id: str
    epoch: int
    message_id: str | None
    message_type: str
    origin: Origin | None
    decided_us: int
    status: str
    spans: Sequence[SpanRecord]


@dataclass(frozen=True, slots=True)
class Alarm:
    """When the sweeper must look at a saga again, if it is still in this epoch then."""

    saga_id: str
    epoch: int
    wake_us: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a write: the sagas that were saved, and the database's time if any was."""

    saga_ids: frozenset[str]
    now_us: int | None


@dataclass(frozen=True, slots=True)
class Move:
    """One saga's change: from epoch ``expected`` (0: it is new) to ``state``. ``wake_us`` is the sweeper's alarm."""

    expected: int
    state: State
    updated_us: int
    wake_us: int | None


class Store:
    """Loads and saves sagas in the schema ``saga``. ``current`` is the definition on which new sagas start."""

    def __init__(self, schema_prefix: str, definitions: Definitions, current: Definition[Any]) -> None:
        self.sql = Statements.load("saga.store", "sql/sagas.sql", Schemas(schema_prefix))
        self._definitions = definitions
        self._current = current

    @property
    def starts_on(self) -> type[Message]:
        """The request that begins a saga."""
        return self._current.starts_on

    async def load(self, connection: Connection, saga_ids: Collection[str]) -> dict[str, Loaded]:
        """The sagas of ``saga_ids``, each with the database's time."""
        rows = await connection.fetch(self.sql["load"], list(saga_ids))
        return {row["id"]: self._loaded(row) for row in rows}

    async def due(self, connection: Connection, limit: int) -> list[Loaded]:
        """Sagas whose alarm has gone off, locked until the open transaction ends."""
        return [self._loaded(row) for row in await connection.fetch(self.sql["due"], limit)]

    async def save(
        self, connection: Connection, moves: Sequence[Move], applied: Sequence[Applied], *, writer: str, batch: int
    ) -> Saved:
        """Write ``moves`` and the history of those that were saved.

        A saga that is missing from the answer had moved on: what was decided about it must be forgotten.
        """
        rows = await connection.fetch(
            self.sql["save"], as_rows(map(_saga_row, moves)), writer, batch, as_rows(map(_history_row, applied))
        )
        return Saved(frozenset(row["id"] for row in rows), rows[0]["now_us"] if rows else None)

    async def snooze(self, connection: Connection, alarms: Sequence[Alarm]) -> None:
        """The sweeper has looked at these sagas; it hears of them again at these times."""
        columns = _columns([(alarm.saga_id, alarm.epoch, alarm.wake_us) for alarm in alarms], 3)
        await connection.execute(self.sql["snooze"], *columns)

    async def settle(self, connection: Connection, saga_ids: Collection[str]) -> None:
        """The last words of these sagas are out."""
        await connection.execute(self.sql["settle"], list(saga_ids))

    async def applied(self, connection: Connection, records: Sequence[tuple[str, Origin]]) -> set[Origin]:
        """Which of ``records`` (each with the id of its saga) have been applied."""
        rows = await connection.fetch(
            self.sql["applied"],
            [saga_id for saga_id, _ in records],
            [origin.topic for _, origin in records],
            [origin.partition for _, origin in records],
            [origin.offset for _, origin in records],
        )
        return {Origin(*row) for row in rows}

    async def counts(self, connection: Connection) -> dict[str, int]:
        """How many sagas wait for somebody, by status."""
        return {row["status"]: row["count"] for row in await connection.fetch(self.sql["counts"])}

    def presumed(self, saga_id: str, state: State | None, now_us: int) -> Loaded:
        """A saga as it is remembered (None: it is presumed to be new), without asking the database."""
        if state is None:
            return Loaded(saga_id, self._current, None, now_us)
        return Loaded(saga_id, self._definitions[state.definition, state.version], state, now_us)

    def _loaded(self, row: asyncpg.Record) -> Loaded:
        if row["state"] is None:
            return Loaded(row["id"], self._current, None, row["now_us"])
        definition = self._definitions.get((row["definition"], row["version"]))
        if definition is None:
            raise SagaError(
                f"saga {row['id']} runs on {row['definition']} v{row['version']}, which this build does not have; "
                "deploy a build that still lists that version in DEFINITIONS"
            )
        return Loaded(row["id"], definition, definition.load(row["state"]), row["now_us"])


def _saga_row(move: Move) -> dict[str, object]:
    state = move.state
    return {
        "id": state.id,
        "expected": move.expected,
        "definition": state.definition,
        "version": state.version,
        "status": state.status.value,
        "step": pending.step if (pending := state.pending) else "",
        "epoch": state.epoch,
        "error_type": state.error_type,
        "trace_id": state.trace.trace_id,
        "started_us": state.started_us,
        "updated_us": move.updated_us,
        "ended_us": state.ended_us,
        "wake_us": move.wake_us,
        "state": state.model_dump_json(),
    }


def _history_row(one: Applied) -> dict[str, object]:
    origin = one.origin
    return {
        "saga_id": one.saga_id,
        "epoch": one.epoch,
        "message_id": one.message_id,
        "message_type": one.message_type,
        "origin_topic": origin.topic if origin else None,
        "origin_partition": origin.partition if origin else None,
        "origin_offset": origin.offset if origin else None,
        "decided_us": one.decided_us,
        "status": one.status,
        "spans": spans_to_json(one.spans),
    }


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows turned into the arrays that ``unnest`` takes."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
