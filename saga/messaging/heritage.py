"""Spans survive their process: what a dead one committed but never exported is emitted again by a living one.

Every committed row keeps the spans of the work it stands for. A process counts its commits (*batches*), notes up to
which one its spans are with the collector, and beats once a second. When it stops beating, a process of the same role
reads the rows after that mark and records their spans again. Span ids derive from message ids, so a span that did
arrive before is the same span, not a second one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.database import Statements
from saga.telemetry.codec import spans_from_json

if TYPE_CHECKING:
    from saga.telemetry.setup import Telemetry

_log = logging.getLogger(__name__)

BEAT_S = 1.0
DEAD_AFTER_S = 5.0


class Heritage:
    """One process's promise that its committed spans will be seen. ``unexported`` is the statement that finds them."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        statements: Statements,
        unexported: str,
        role: str,
        telemetry: Telemetry,
    ) -> None:
        self._pool = pool
        self._sql = statements
        self._unexported = unexported
        self._role = role
        self._telemetry = telemetry
        self._batch = 0
        self._exported = 0
        # (batch, pipeline mark after its spans were handed over), oldest first
        self._handed: deque[tuple[int, int]] = deque()

    @property
    def writer(self) -> str:
        """This process's name on its rows."""
        return self._telemetry.instance

    def next_batch(self) -> int:
        """A number for the commit about to be made; commits of one process are made one at a time."""
        self._batch += 1
        return self._batch

    def handed_over(self, batch: int) -> None:
        """The spans of ``batch`` are in the pipeline. A batch whose commit failed is never handed over."""
        self._handed.append((batch, self._telemetry.spans.mark()))

    async def start(self) -> None:
        """Announce this process before its first commit."""
        await self._beat()

    async def run(self) -> None:
        """Beat, and look after the dead, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
                while await self._inherit():
                    pass
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("span heritage waits for the database: %s", error)

    async def close(self) -> None:
        """Everything is exported: leave nothing to inherit. What could not be exported stays for a successor."""
        if await self._telemetry.flush(5.0):
            with suppress_instrumentation():
                await self._pool.execute(self._sql["forget"], self.writer)

    async def _beat(self) -> None:
        exported = self._telemetry.spans.exported_mark
        while self._handed and self._handed[0][1] <= exported:
            self._exported = self._handed.popleft()[0]
        with suppress_instrumentation():
            await self._pool.execute(self._sql["beat"], self.writer, self._role, self._exported)

    async def _inherit(self) -> bool:
        with suppress_instrumentation():
            async with self._pool.acquire() as connection, connection.transaction():
                dead = await connection.fetchrow(self._sql["dead"], self._role, self.writer, DEAD_AFTER_S)
                if dead is None:
                    return False
                rows = await connection.fetch(self._unexported, dead["writer"], dead["batch"], dead["since"])
                count = 0
                for row in rows:
                    for span in spans_from_json(row["spans"]):
                        self._telemetry.spans.record(span)
                        count += 1
                if count and not await self._telemetry.flush(5.0):
                    return False  # the lock goes with the transaction; another beat tries again
                await connection.execute(self._sql["forget"], dead["writer"])
        self._telemetry.meters.spans_recovered.add(count)
        _log.info("emitted %d spans again for %s, which died", count, dead["writer"])
        return True
