"""Where received traces go: gathered for a moment, then appended to PostgreSQL in one statement.

A request is acknowledged after its spans are stored, not when they are merely in memory: whoever exports waits for that
acknowledgement before it forgets a span. The price, some 50 ms of the exporter's background thread, is paid by nobody
else. Whatever is pending is bounded; beyond that senders are told to come back.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import asyncpg
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from saga.database import Schemas, Statements
from saga.errors import TransientFailure
from saga.traces.points import Point, points

if TYPE_CHECKING:
    from collections.abc import Iterable

from saga.traces.scan import scan

_log = logging.getLogger(__name__)

_GATHER_S = 0.05
_MOST_PENDING = 64 * 2**20  # bytes
_TURN_EVERY_S = 30.0
_EMPTY = ("empty_first", "empty_second", "empty_third", "empty_fourth")  # the statement for each slot
_SLOT_AGE_S = 30 * 60  # four partitions of half an hour: the last one and a half to two hours are kept
_SLOT_BYTES = 256 * 2**20  # ... or the last gigabyte


class TraceStore:
    """Writes what the receiver gets. ``run`` must be running for ``put_traces`` to return."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> None:
        self._pool = pool
        self._sql = Statements.load("saga.traces", "sql/traces.sql", schemas)
        self._pending: dict[tuple[bytes, int], list[bytes]] = {}
        self._pending_bytes = 0
        self._sources: dict[tuple[bytes, bytes], int] = {}
        self._new_sources: dict[int, tuple[str, bytes, bytes]] = {}
        self._arrived = asyncio.Event()
        self._stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def put_traces(self, body: bytes) -> None:
        """Store the spans of an ``ExportTraceServiceRequest``; returns when they are stored.

        Raises :class:`~saga.traces.scan.MalformedRequest`, or :class:`TransientFailure` when it should be sent again.
        """
        if self._pending_bytes > _MOST_PENDING:
            raise TransientFailure("overloaded", "spans arrive faster than PostgreSQL takes them")
        parts = scan(body)
        if not any(part.traces for part in parts):
            return
        for part in parts:
            source = self._source(part.resource, part.scope)
            for trace_id, spans in part.traces.items():
                self._pending.setdefault((trace_id, source), []).extend(spans)
        self._pending_bytes += len(body)
        stored = self._stored
        self._arrived.set()
        await asyncio.shield(
            stored
        )  # shared by every request of the same round: a caller that leaves must not cancel it

    async def put_metrics(self, body: bytes) -> None:
        """Keep the latest points of an ``ExportMetricsServiceRequest``. Raises as :meth:`put_traces`."""
        latest = {point.key: point for point in points(body)}
        if not latest:
            return
        columns = list(zip(*(_row(point) for point in latest.values()), strict=True))
        try:
            await self._pool.execute(self._sql["put_metrics"], *columns)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise TransientFailure("database_away", f"metrics could not be stored: {error}") from error

    async def run(self) -> None:
        """Store what arrives, until cancelled; what is pending then is stored still."""
        turning = asyncio.create_task(self._keep_turning())
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(_GATHER_S)
                await self._flush()
        finally:
            turning.cancel()
            with suppress(asyncio.CancelledError):
                await turning
            await self._flush()

    async def turn(self, *, age_s: float = _SLOT_AGE_S, size: int = _SLOT_BYTES) -> bool:
        """Begin the next partition, forgetting what it held, when the present one is old or large enough."""
        async with self._pool.acquire() as connection, connection.transaction():
            ring = await connection.fetchrow(self._sql["ring"])
            assert ring is not None  # the migration wrote the only row
            slot, age, bytes_now = ring
            if age < age_s and bytes_now < size:
                return False
            following = (slot + 1) % len(_EMPTY)
            await connection.execute(self._sql[_EMPTY[following]])
            await connection.execute(self._sql["turn"], following)
            await connection.execute(self._sql["prune_metrics"])
            return True

    async def _keep_turning(self) -> None:
        while True:
            await asyncio.sleep(_TURN_EVERY_S)
            try:
                await self.turn()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("old traces could not be forgotten, will try again: %s", error)

    async def _flush(self) -> None:
        pending, sources, stored = self._pending, self._new_sources, self._stored
        self._pending, self._new_sources, self._pending_bytes = {}, {}, 0
        self._arrived.clear()
        self._stored = asyncio.get_running_loop().create_future()
        if not pending:
            stored.set_result(None)
            return
        traces, ids = zip(*pending, strict=True)
        chunks = [b"".join(spans) for spans in pending.values()]
        try:
            if sources:
                columns = zip(*((key, *source) for key, source in sources.items()), strict=True)
                await self._pool.execute(self._sql["put_sources"], *columns)
            await self._pool.execute(self._sql["put_chunks"], traces, ids, chunks)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._sources.clear()  # so that those not stored are sent again
            stored.set_exception(TransientFailure("database_away", f"spans could not be stored: {error}"))
            stored.exception()  # seen, even if every sender has left
        else:
            stored.set_result(None)

    def _source(self, resource: bytes, scope: bytes) -> int:
        known = self._sources.get((resource, scope))
        if known is None:
            digest = blake2b(len(resource).to_bytes(4, "big") + resource + scope, digest_size=8).digest()
            known = int.from_bytes(digest, "big", signed=True)
            self._new_sources[known] = (service_name(resource), resource, scope)
            self._sources[resource, scope] = known
        return known


def service_name(resource: bytes) -> str:
    """``service.name`` of an encoded OTLP ``Resource``; OpenTelemetry's default where there is none."""
    attributes = Resource.FromString(resource).attributes
    return next((item.value.string_value for item in attributes if item.key == "service.name"), "unknown_service")


def _row(point: Point) -> Iterable[str]:
    return (point.service, point.instance, point.name, point.attributes, point.kind, point.unit, point.point)
