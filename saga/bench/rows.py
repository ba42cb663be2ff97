"""Rows written per saga, by table, and how large they are.

Sessions report what they wrote at most once a second, and an idle one as late as ten seconds after: these numbers are
read before the roles begin and after they have ended, and are per saga over everything that ran in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saga.database import Schemas, Statements
from saga.database.migrations import owners

if TYPE_CHECKING:
    import asyncpg

    from saga.bench.stage import Stage

_TRACES = "traces"  # the collector's, which everybody exports to
_HEARTBEATS = "exporters"  # by the second, not by the saga


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """Rows inserted, updated and deleted per saga, by ``schema.table``; ``mean_bytes`` of one of them."""

    per_saga: Mapping[str, float]
    mean_bytes: int


class RowCounter:
    """Counts the rows of every service's tables."""

    def __init__(self, stage: Stage, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        schemas = Schemas(stage.settings.schema_prefix)
        self._pool = pool
        self._schemas = [schemas.name(owner) for owner in owners() if owner != _TRACES]
        self._sql = Statements.load("saga.bench", "sql/measures.sql", schemas)

    async def read(self) -> dict[tuple[str, str], int]:
        """Rows written so far, by schema and table."""
        rows = await self._pool.fetch(self._sql["rows"], self._schemas)
        return {(row["schema"], row["name"]): row["written"] for row in rows if row["name"] != _HEARTBEATS}

    async def since(self, before: Mapping[tuple[str, str], int], sagas: int) -> RowsWritten:
        """What was written since ``before``, by the ``sagas`` that ran meanwhile."""
        now = await self.read()
        written = {table: count - before.get(table, 0) for table, count in now.items()}
        written = {table: count for table, count in written.items() if count}
        size = 0.0
        async with self._pool.acquire() as connection:
            await connection.execute(self._sql["define_mean_row"])
            for table, count in written.items():
                size += count * (await connection.fetchval(self._sql["mean_row"], *table) or 0.0)
        total = sum(written.values())
        per_saga = {".".join(table): count / sagas for table, count in sorted(written.items())}
        return RowsWritten(per_saga, round(size / total) if total else 0)
