"""The limit of this machine: how many chains of the same shape the bare pump moves in a second, in the same run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saga.bench.errand import Errand
from saga.bench.meter import Arrived, Meter, Spent
from saga.bench.observer import Ended, Observer
from saga.bench.shape import PUMP_TOPICS, Shape
from saga.database import Schemas, Statements
from saga.errors import StackError
from saga.messaging.topics import ensure_topics
from saga.stacks.processes import tail
from schemas import topics

if TYPE_CHECKING:
    import asyncpg

    from saga.bench.stage import Stage
    from saga.stacks.base import Progress

_SPLITS = (1, 2)
_ROUNDS = 2
_WARM = 1_000


@dataclass(frozen=True, slots=True)
class Pumped:
    """One measurement of the pump, over so many processes."""

    processes: int
    ended: Ended
    spent: Spent
    arrived: Arrived
    row_bytes: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The best measurement, and the rate of every split that was tried."""

    best: Pumped
    tried: Mapping[int, float]


async def measure_limit(
    stage: Stage, pool: asyncpg.Pool[asyncpg.Record], shape: Shape, sagas: int, progress: Progress
) -> Limit:
    """Pump ``sagas`` chains in one process and in two, twice each, and keep the best. Raises :class:`StackError`."""
    sql = Statements.load("saga.bench", "sql/pump.sql", Schemas(stage.settings.schema_prefix))
    await ensure_topics(stage.settings, tuple(PUMP_TOPICS.values()))
    await pool.execute(sql["schema"])
    await pool.execute(sql["table"])
    try:
        measured: list[Pumped] = []
        for processes in _SPLITS:
            async with _pumping(stage, shape, processes) as pumps:
                for number in range(_ROUNDS + 1):
                    warm = number == 0
                    count = min(_WARM, sagas) if warm else sagas
                    progress(f"pump in {processes} process{'es'[: 2 * processes - 2]}: {count} chains")
                    pumped = await _pump(stage, pool, pumps, count, f"{processes}{number}")
                    if not warm:
                        measured.append(pumped)
        row_bytes = await pool.fetchval(sql["mean_row"])
    finally:
        await pool.execute(sql["drop"])
    best = max(measured, key=lambda one: one.ended.per_second)
    tried = {split: max(one.ended.per_second for one in measured if one.processes == split) for split in _SPLITS}
    return Limit(Pumped(best.processes, best.ended, best.spent, best.arrived, row_bytes or 0.0), tried)


@asynccontextmanager
async def _pumping(stage: Stage, shape: Shape, processes: int) -> AsyncIterator[dict[str, Errand]]:
    async with contextlib.AsyncExitStack() as running:
        pumps: dict[str, Errand] = {}
        for number in range(processes):
            log = stage.directory / f"pump-{processes}-{number}.log"
            pump = await running.enter_async_context(Errand("saga.bench.pump", stage.environment, log))
            pumps[f"pump:{number + 1}"] = pump
            await pump.ask("start", shape=shape.as_json(), number=number, processes=processes)
        yield pumps


async def _pump(
    stage: Stage, pool: asyncpg.Pool[asyncpg.Record], pumps: Mapping[str, Errand], count: int, label: str
) -> Pumped:
    shares = [count * (n + 1) // len(pumps) - count * n // len(pumps) for n in range(len(pumps))]
    async with Observer(stage.settings, PUMP_TOPICS[topics.REQUESTS], PUMP_TOPICS[topics.EVENTS]) as observer:
        meter = Meter(
            stage, pool, observer, tuple(PUMP_TOPICS.values()), lambda: {name: pump.pid for name, pump in pumps.items()}
        )
        since = await meter.clock()
        before = await meter.read()
        fed = await asyncio.gather(
            *(
                pump.ask("feed", count=share, label=f"{label}{n}")
                for n, (pump, share) in enumerate(zip(pumps.values(), shares, strict=True))
            )
        )
        ended = await observer.wait([key for answer in fed for key in answer["keys"]], lambda _, __: None)
        if ended.unfinished:
            words = "\n".join(tail(log, 10) for log in sorted(stage.directory.glob("pump-*.log")))
            raise StackError(f"the pump lost {ended.unfinished} of {count} chains; its last words:\n{words}")
        after = await meter.settle()
        return Pumped(len(pumps), ended, Spent.between(before, after), await meter.arrived(since), 0.0)
