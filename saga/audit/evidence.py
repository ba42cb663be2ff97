"""What the database has to say, read in one snapshot: every owner's records as they were at one moment.

In a snapshot causes come with their effects: a saga that has seen a reply is never seen without the worker's record of
it, so a running system can be judged as strictly as one that stands still.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from saga.audit.invariants import INVARIANTS
from saga.audit.options import AuditOptions
from saga.audit.report import Findings
from saga.booking import DEFINITIONS
from saga.database import Connection, Schemas, Statements
from saga.engine.state import State
from saga.errors import SagaError
from saga.settings import Settings
from saga.stacks.base import Progress

_NEEDED = ("saga", "inventory", "locking", "payment", "notification")
_OPTIONAL = {
    "provider": "the provider keeps no ledger in this database: charges are judged by our own record alone",
    "traces": "no traces are kept in this database",
}


@dataclass(frozen=True, slots=True)
class StoredSaga:
    """One saga's row. ``state`` is decoded; None where this build does not have the saga's definition."""

    id: str
    definition: str
    version: int
    status: str
    trace_id: str
    started_us: int
    updated_us: int
    state: State | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One input that was applied, and from which record it came (topic None: it was the passing of time)."""

    epoch: int
    message_id: str | None
    message_type: str
    topic: str | None
    partition: int
    offset: int
    decided_us: int
    status: str


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends a saga has come to, each of which is announced once."""

    statuses: tuple[str, ...]
    latest_us: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One snapshot. ``sagas`` and what hangs on them are the latest ones, as many as were asked for."""

    now_us: int
    statuses: Mapping[str, int]
    compensated: int
    owners: frozenset[str]
    sagas: Sequence[StoredSaga]
    histories: Mapping[str, Sequence[HistoryRow]]
    announced: Mapping[str, Ends]


class Records:
    """The auditor's statements in one environment."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], settings: Settings) -> None:
        self._pool = pool
        self._schemas = Schemas(settings.schema_prefix)
        self._sql = self._load("evidence.sql")

    async def unsettled(self, since_us: int) -> int:
        """How many sagas are on their way."""
        count: int = await self._pool.fetchval(self._sql["live"], since_us)
        return count

    async def gather(self, options: AuditOptions, findings: Findings, progress: Progress) -> Evidence:
        """Run every statement in one snapshot; what is written is temporary.

        Raises :class:`SagaError` when tables are missing.
        """
        owners = await self._owners(findings)
        try:
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read"),
            ):
                progress("taking the stored states apart")
                await self._take_apart(connection, options)
                await self._check(connection, options, findings, owners, progress)
                return await self._read(connection, options, owners, progress)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise SagaError(f"the tables are not those of this version ({error}); start its services once") from error

    async def announced(self, saga_ids: Collection[str] | None, since_us: int = 0) -> dict[str, Ends]:
        """The ends that these sagas (None: all) have come to by now."""
        rows = await self._pool.fetch(self._sql["announced"], since_us, None if saga_ids is None else list(saga_ids))
        return _ends(rows)

    async def unknown(self, saga_ids: Collection[str]) -> set[str]:
        """Those ids that no saga has."""
        return {row["id"] for row in await self._pool.fetch(self._sql["unknown"], list(saga_ids))}

    async def states(self, saga_ids: Collection[str]) -> list[StoredSaga]:
        """These sagas as they are now."""
        return [_stored(row) for row in await self._pool.fetch(self._sql["states"], list(saga_ids))]

    async def spans_kept(self, saga_ids: Collection[str]) -> list[asyncpg.Record]:
        """(saga_id, whether it is a command's, spans) of every row that keeps spans of these sagas."""
        return list(await self._pool.fetch(self._sql["spans_kept"], list(saga_ids)))

    async def same_traces(self, trace_ids: Collection[str]) -> list[asyncpg.Record]:
        """(trace_id, status, root, publisher, rollback) of every saga in these traces."""
        return list(await self._pool.fetch(self._sql["same_traces"], list(trace_ids)))

    async def traces_kept_since(self) -> int | None:
        """When the oldest kept trace was received, in microseconds; None where none is kept."""
        since: int | None = await self._pool.fetchval(self._sql["traces_kept_since"])
        return since

    async def silent(self) -> int:
        """How many processes have died whose spans may still have to be emitted by a successor."""
        count: int = await self._pool.fetchval(self._sql["silent"])
        return count

    async def _owners(self, findings: Findings) -> frozenset[str]:
        names = {self._schemas.name(owner): owner for owner in (*_NEEDED, *_OPTIONAL)}
        rows = await self._pool.fetch(self._sql["schemas"], list(names))
        owners = frozenset(names[row["nspname"]] for row in rows)
        if missing := [owner for owner in _NEEDED if owner not in owners]:
            raise SagaError(
                f"there is nothing to audit: the tables of {', '.join(missing)} are missing; run `saga up` first"
            )
        for owner, consequence in _OPTIONAL.items():
            if owner not in owners:
                findings.note(consequence)
        return owners

    async def _take_apart(self, connection: Connection, options: AuditOptions) -> None:
        """What each saga says of itself and of its commands, as tables that the checks join with the workers' own."""
        sql = self._load("told.sql")
        await connection.execute("SET LOCAL work_mem = '64MB'")
        await connection.execute(sql["make_told"])
        await connection.execute(sql["make_ran"])
        await connection.execute(sql["fill"], options.since_us)
        await connection.execute(sql["measure_told"])
        await connection.execute(sql["measure_ran"])

    async def _check(
        self,
        connection: Connection,
        options: AuditOptions,
        findings: Findings,
        owners: frozenset[str],
        progress: Progress,
    ) -> None:
        absent = [f"{self._schemas[owner]}." for owner in _OPTIONAL if owner not in owners]
        for invariant in INVARIANTS:
            if not invariant.sql:
                continue
            progress(f"checking: {invariant.description}")
            second = undoable_steps() if invariant.name == "undo_order" else options.grace_us
            for name, sql in self._load(invariant.sql).items():
                if any(schema in sql for schema in absent):
                    continue
                statement = await connection.prepare(sql)
                given = (options.since_us, second)[: len(statement.get_parameters())]
                if name.startswith("count_"):
                    findings.examined[invariant.name] += await statement.fetchval(*given)
                    continue
                for saga_id, detail in await statement.fetch(*given):
                    findings.violated(invariant.name, saga_id or "", detail)

    async def _read(
        self, connection: Connection, options: AuditOptions, owners: frozenset[str], progress: Progress
    ) -> Evidence:
        progress("reading states and histories")
        statuses = await connection.fetch(self._sql["statuses"])
        rows: list[asyncpg.Record] = []
        histories: dict[str, list[HistoryRow]] = {}
        announced: dict[str, Ends] = {}
        if options.topics or options.traces:
            limit = options.deep_sample or 2**62
            rows = await connection.fetch(self._sql["sagas"], options.since_us, limit)
        if options.topics:
            for saga_id, *row in await connection.fetch(self._sql["histories"], [row["id"] for row in rows]):
                epoch, message_id, message_type, topic, partition, offset, decided_us, status = row
                histories.setdefault(saga_id, []).append(
                    HistoryRow(epoch, message_id, message_type, topic, partition or 0, offset or 0, decided_us, status)
                )
            announced = _ends(await connection.fetch(self._sql["announced"], options.since_us, None))
        return Evidence(
            now_us=await connection.fetchval(self._sql["now"]),
            statuses={row["status"]: row["count"] for row in statuses},
            compensated=sum(row["compensated"] for row in statuses),
            owners=owners,
            sagas=[_stored(row) for row in rows],
            histories=histories,
            announced=announced,
        )

    def _load(self, filename: str) -> Statements:
        return Statements.load("saga.audit", f"sql/{filename}", self._schemas)


def undoable_steps() -> list[str]:
    """Every step that has an undo, as ``definition/version/step``."""
    return [
        f"{definition.name}/{definition.version}/{step.name}"
        for definition in DEFINITIONS.values()
        for step in definition.steps
        if step.undo is not None
    ]


def _stored(row: asyncpg.Record) -> StoredSaga:
    definition = DEFINITIONS.get((row["definition"], row["version"]))
    return StoredSaga(
        row["id"],
        row["definition"],
        row["version"],
        row["status"],
        row["trace_id"],
        row["started_us"],
        row["updated_us"],
        None if definition is None else definition.load(row["state"]),
    )


def _ends(rows: Sequence[asyncpg.Record]) -> dict[str, Ends]:
    return {row["saga_id"]: Ends(tuple(sorted(row["statuses"])), row["latest_us"]) for row in rows}
