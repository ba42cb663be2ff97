"""Reading traces back: an interface, and the reader of what our own receiver stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

from saga.database import Schemas, Statements
from saga.traces.decode import decode_chunk
from saga.traces.model import Trace, TraceSpan

if TYPE_CHECKING:
    from saga.settings import Settings

_LATELY = timedelta(hours=24)
_AT_ONCE = 500  # traces read by one query


class TraceReader(Protocol):
    """Where traces can be looked up."""

    async def trace(self, trace_id: int, *, external_parent: int = 0) -> Trace:
        """Everything known of one trace; a trace without spans when nothing is (yet)."""
        ...

    async def traces(self, trace_ids: Iterable[int]) -> Mapping[int, Trace]:
        """Several traces at once, by id; those nothing is known of are left out."""
        ...

    async def find(
        self, *, service: str | None = None, holding: str | None = None, since: datetime | None = None, limit: int = 20
    ) -> list[int]:
        """Ids of recent traces, newest first: that ``service`` took part in, that hold the text ``holding``."""
        ...


@dataclass(frozen=True, slots=True)
class Metric:
    """The latest point of one time series; ``point`` holds ``value``, or ``count``, ``sum`` and buckets."""

    service: str
    instance: str
    name: str
    attributes: Mapping[str, Any]
    kind: str
    unit: str
    point: Mapping[str, Any]
    received_at: datetime


class PostgresTraceReader:
    """Reads what :mod:`saga.traces.role` stored. Database errors are asyncpg's."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], settings: Settings) -> None:
        self._pool = pool
        self._sql = Statements.load("saga.traces", "sql/traces.sql", Schemas(settings.schema_prefix))

    async def trace(self, trace_id: int, *, external_parent: int = 0) -> Trace:
        """Everything known of one trace; a trace without spans when nothing is (yet)."""
        rows = await self._pool.fetch(self._sql["chunks_of_trace"], trace_id.to_bytes(16, "big"))
        return Trace.of(trace_id, [span for row in rows for span in decode_chunk(*row)], external_parent)

    async def traces(self, trace_ids: Iterable[int]) -> Mapping[int, Trace]:
        """Several traces at once, by id; those nothing is known of are left out."""
        wanted = [trace_id.to_bytes(16, "big") for trace_id in dict.fromkeys(trace_ids)]
        found: dict[int, list[TraceSpan]] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            for trace_id, *chunk in await self._pool.fetch(
                self._sql["chunks_of_traces"], wanted[start : start + _AT_ONCE]
            ):
                found.setdefault(int.from_bytes(trace_id, "big"), []).extend(decode_chunk(*chunk))
        return {trace_id: Trace.of(trace_id, spans) for trace_id, spans in found.items()}

    async def find(
        self, *, service: str | None = None, holding: str | None = None, since: datetime | None = None, limit: int = 20
    ) -> list[int]:
        """Ids of recent traces, newest first: that ``service`` took part in, that hold the text ``holding``."""
        rows = await self._pool.fetch(
            self._sql["find"], since or datetime.now(UTC) - _LATELY, service, holding and holding.encode(), limit
        )
        return [int.from_bytes(row["trace_id"], "big") for row in rows]

    async def metrics(self, *, service: str | None = None, name: str | None = None) -> list[Metric]:
        """The latest points, of every service and metric or of one."""
        rows = await self._pool.fetch(self._sql["metrics"], service, name)
        return [
            Metric(**{**row, "attributes": json.loads(row["attributes"]), "point": json.loads(row["point"])})
            for row in rows
        ]
