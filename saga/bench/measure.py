"""One measurement from beginning to end: warm up, saturate, trickle, audit, pump, and once more with full tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saga.audit import AuditOptions, AuditReport, audit
from saga.bench import server
from saga.bench.errand import Errand
from saga.bench.limit import Limit, measure_limit
from saga.bench.meter import Meter
from saga.bench.observer import Ended, Observer
from saga.bench.phases import Phases, Saturation
from saga.bench.rows import RowCounter, RowsWritten
from saga.bench.shape import Shape, make_shape, sample_hops
from saga.bench.stage import Stage, running_stage
from saga.bench.stored import store_finished
from saga.database import connect_pool
from schemas import topics

if TYPE_CHECKING:
    import asyncpg

    from saga.bench.plan import Plan
    from saga.stacks.base import Progress

_AUDIT_WAIT_S = 20.0
_MOST = 0.99  # of the bookings are confirmed: nobody is after anybody else's room, and every card is good


@dataclass(frozen=True, slots=True)
class Growth:
    """The same load with few and with many sagas stored."""

    stored: tuple[int, int]
    rows: int
    after: Saturation


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured."""

    stack: str
    description: str
    why: str
    durability: Mapping[str, str]
    versions: Mapping[str, str]
    cores: int
    plan: Plan
    saturation: Saturation
    light: Ended
    verdict: AuditReport
    rows: RowsWritten
    shape: Shape
    limit: Limit | None
    growth: Growth | None

    @property
    def good(self) -> bool:
        """Whether the figures mean anything: every booking ended, as it was meant to, and no invariant is broken."""
        ended = self._ended
        confirmed = sum(one.outcomes.get("CONFIRMED", 0) for one in ended)
        asked = sum(one.asked for one in ended)
        return not self.unfinished and confirmed >= _MOST * asked and self.verdict.clean

    @property
    def unfinished(self) -> int:
        """Bookings that had not ended when nothing ended any more."""
        return sum(one.unfinished for one in self._ended)

    @property
    def _ended(self) -> tuple[Ended, ...]:
        again = (self.growth.after.ended,) if self.growth else ()
        return (self.saturation.ended, self.light, *again)


def measure(plan: Plan, stack: str | None, progress: Progress) -> Measured:
    """Start a fresh stack, measure, and stop it. Raises :class:`SagaError`; nothing is left running either way."""
    with running_stage(stack, plan, progress) as stage:
        return asyncio.run(_measure(stage, plan, progress))


async def _measure(stage: Stage, plan: Plan, progress: Progress) -> Measured:
    async with await connect_pool(stage.settings, role="bench", min_size=1, max_size=2, reads_widely=True) as pool:
        counter = RowCounter(stage, pool)
        rows_before = await counter.read()
        async with _phases(stage, plan, pool, progress) as phases:
            await phases.warm_up(plan.warm)
            saturation = await phases.saturate("all at once", plan.sagas)
            light = await phases.trickle(plan.light_sagas, plan.light_rate)
            await phases.rest()
            verdict = await audit(stage.settings, AuditOptions(wait_s=_AUDIT_WAIT_S), progress)
            progress("stopping the roles")
            await asyncio.to_thread(stage.stop_roles)
            asked = plan.warm + plan.sagas + plan.light_sagas
            rows = await counter.since(rows_before, asked)
            hops = await sample_hops(stage.settings)
            shape = make_shape(saturation.spent, saturation.arrived, rows.per_saga, rows.mean_bytes, hops, plan.sagas)
            limit = await measure_limit(stage, pool, shape, plan.sagas, progress) if plan.pump else None
            growth = await _grow(stage, plan, phases, asked, progress) if plan.stored else None
        return Measured(
            stage.stack.name,
            stage.description,
            stage.why,
            await server.durability(stage, pool),
            await server.versions(stage, pool),
            server.cores(),
            plan,
            saturation,
            light,
            verdict,
            rows,
            shape,
            limit,
            growth,
        )


@asynccontextmanager
async def _phases(
    stage: Stage, plan: Plan, pool: asyncpg.Pool[asyncpg.Record], progress: Progress
) -> AsyncIterator[Phases]:
    async with (
        Observer(stage.settings, topics.REQUESTS, topics.EVENTS) as observer,
        Errand("saga.bench.publisher", stage.environment, stage.directory / "publisher.log") as publisher,
    ):
        await publisher.ask("generate", sagas=plan.all_sagas, seed=plan.seed)
        meter = Meter(stage, pool, observer, topics.ALL, lambda: {"publisher": publisher.pid})
        yield Phases(publisher, observer, meter, progress)


async def _grow(stage: Stage, plan: Plan, phases: Phases, stored: int, progress: Progress) -> Growth:
    """The same again, by fresh processes as the first time, but with full tables; ``stored`` is what they hold by now.

    Each measurement is of the number stored when half of its own bookings are.
    """
    few = plan.warm + plan.sagas // 2
    copies = max(1, plan.stored - stored - few)
    rows = await store_finished(stage, copies, progress)
    progress("starting the roles again")
    await asyncio.to_thread(stage.start_roles)
    await phases.warm_up(plan.warm)
    after = await phases.saturate(f"all at once, with {plan.stored} sagas stored", plan.sagas)
    return Growth((few, stored + copies + few), rows, after)
