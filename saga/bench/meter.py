"""Reading the meters: CPU and memory of every process, records, transactions, log bytes and spans, before and after."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psutil
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from saga.bench import server
from saga.database import Schemas, Statements

if TYPE_CHECKING:
    import asyncpg

    from saga.bench.observer import Observer
    from saga.bench.stage import Stage

_POLL_S = 0.5
_QUIET_S = 2.5  # longer than an exporter waits for its batch to fill
_SETTLE_AT_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """All meters at one moment. CPU in seconds by process, memory in bytes, records by topic."""

    at: float
    cpu_s: Mapping[str, float]
    rss_bytes: Mapping[str, int]
    servers_s: Mapping[str, float]
    records: Mapping[str, int]
    writes: int
    wal_bytes: int
    own_s: float = 0.0
    machine_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What lies between two readings. ``cpu_s`` is of our Python processes, ``servers_s`` of broker and database;
    ``elsewhere`` is how many cores were busy with what has nothing to do with us."""

    cpu_s: Mapping[str, float]
    servers_s: Mapping[str, float]
    records: Mapping[str, int]
    writes: int
    wal_bytes: int
    elsewhere: float = 0.0

    @classmethod
    def between(cls, before: Reading, after: Reading) -> Spent:
        """The difference. A process that was not there before has spent all it has; one that is gone counts nothing."""
        cpu_s, servers_s = _difference(before.cpu_s, after.cpu_s), _difference(before.servers_s, after.servers_s)
        ours = sum(cpu_s.values()) + sum(servers_s.values()) + after.own_s - before.own_s
        return cls(
            cpu_s,
            servers_s,
            {topic: count - before.records.get(topic, 0) for topic, count in after.records.items()},
            after.writes - before.writes,
            after.wal_bytes - before.wal_bytes,
            max(0.0, after.machine_s - before.machine_s - ours) / ((after.at - before.at) or 1.0),
        )


@dataclass(frozen=True, slots=True)
class Arrived:
    """The spans that reached the collector: each once, by name; ``commits`` the transactions that stored them."""

    spans: int
    by_name: Mapping[str, int]
    commits: int


class Meter:
    """Reads the meters of a stage. ``processes`` gives, by name, those that are not services of the stage."""

    def __init__(
        self,
        stage: Stage,
        pool: asyncpg.Pool[asyncpg.Record],
        observer: Observer,
        topics: tuple[str, ...],
        processes: Callable[[], Mapping[str, int]],
    ) -> None:
        self._stage = stage
        self._pool = pool
        self._observer = observer
        self._topics = topics
        self._processes = processes
        self._sql = Statements.load("saga.bench", "sql/measures.sql", Schemas(stage.settings.schema_prefix))

    async def read(self) -> Reading:
        """Now."""
        position = await self._pool.fetchrow(self._sql["position"])
        assert position is not None
        used = self._stage.services.usage()
        cpu = {name: usage.cpu_s for name, usage in used.items()}
        rss = {name: usage.rss_bytes for name, usage in used.items()}
        for name, pid in self._processes().items():
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu[name], rss[name] = times.user + times.system, process.memory_info().rss
        return Reading(
            time.monotonic(),
            cpu,
            rss,
            {name: _tree_cpu_s(pid) for name, pid in self._stage.stack.pids().items()},
            await self._observer.end_offsets(self._topics),
            position["writes"],
            position["wal_bytes"],
            time.process_time(),
            _machine_s(),
        )

    async def settle(self) -> Reading:
        """Wait until nothing is written any more and every span has arrived; the reading is of when that was so."""
        begun = time.monotonic()
        final = await self.read()
        seen = await self._chunks()
        while time.monotonic() - begun < _SETTLE_AT_MOST_S:
            await asyncio.sleep(_POLL_S)
            reading, chunks = await self.read(), await self._chunks()
            if chunks != seen or reading.records != final.records:
                final, seen = reading, chunks
            elif reading.at - final.at >= _QUIET_S:
                break
        return final

    async def clock(self) -> datetime:
        """The database's time."""
        now: datetime = await self._pool.fetchval(self._sql["clock"])
        return now

    async def arrived(self, since: datetime) -> Arrived:
        """The spans that were stored after ``since``."""
        ids: set[bytes] = set()
        names: Counter[str] = Counter()
        times: set[datetime] = set()
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for chunk in connection.cursor(self._sql["chunks"], since, prefetch=2_000):
                times.add(chunk["received_at"])
                for span in ScopeSpans.FromString(chunk["spans"]).spans:
                    if span.span_id not in ids:
                        ids.add(span.span_id)
                        names[span.name] += 1
        return Arrived(len(ids), dict(sorted(names.items())), len(times))

    async def _chunks(self) -> int:
        count: int = await self._pool.fetchval(self._sql["arrived"])
        return count


def _difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: used - before.get(name, 0.0) for name, used in after.items()}


def _machine_s() -> float:
    """CPU seconds that all cores have been busy so far, by a hypervisor's other guests included.

    0 where the cores counted are not those we may use, as in a container: then nobody can say.
    """
    if psutil.cpu_count() != server.cores():
        return 0.0
    times = psutil.cpu_times()
    return sum(times) - sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))


def _tree_cpu_s(pid: int) -> float:
    """CPU seconds of a server and all its processes, those that have ended included."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if process.pid == pid:
                total += times.children_user + times.children_system
    except psutil.NoSuchProcess:
        return 0.0
    return total
