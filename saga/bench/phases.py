"""The phases of a measurement: bookings are asked for, all at once or evenly, and watched until they have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from saga.bench.meter import Arrived, Reading, Spent

if TYPE_CHECKING:
    from saga.bench.errand import Errand
    from saga.bench.meter import Meter
    from saga.bench.observer import Ended, Observer
    from saga.stacks.base import Progress


@dataclass(frozen=True, slots=True)
class Saturation:
    """What it took to carry out bookings as fast as they go."""

    ended: Ended
    spent: Spent
    arrived: Arrived
    rss_bytes: Mapping[str, int]

    def cpu_ms_per_saga(self) -> dict[str, float]:
        """By process; ``total`` is their sum."""
        by_role = {name: 1000 * used / self.ended.asked for name, used in sorted(self.spent.cpu_s.items())}
        return {"total": sum(by_role.values()), **by_role}

    def servers_ms_per_saga(self) -> dict[str, float]:
        """CPU of broker and database, where they run here."""
        return {name: 1000 * used / self.ended.asked for name, used in sorted(self.spent.servers_s.items())}


class Phases:
    """Runs phases on a stage, one after another."""

    def __init__(self, publisher: Errand, observer: Observer, meter: Meter, progress: Progress) -> None:
        self._publisher = publisher
        self._observer = observer
        self._meter = meter
        self._progress = progress

    async def warm_up(self, sagas: int) -> None:
        """Have caches filled, plans made and code compiled before anything counts."""
        if sagas:
            await self._carry_out("warming up", sagas)
        await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is under way any more."""
        await self._meter.settle()

    async def saturate(self, name: str, sagas: int) -> Saturation:
        """Ask for ``sagas`` bookings as quickly as they are taken. The meters run until the last span has arrived."""
        keys = (await self._publisher.ask("prepare", count=sagas))["keys"]
        since: datetime = await self._meter.clock()
        before = await self._meter.read()
        ended = await self._carry_out(name, sagas, keys=keys)
        after: Reading = await self._meter.settle()
        arrived = await self._meter.arrived(since)
        return Saturation(ended, Spent.between(before, after), arrived, after.rss_bytes)

    async def trickle(self, sagas: int, rate: float) -> Ended:
        """Ask for bookings evenly, whatever becomes of them."""
        return await self._carry_out(f"{rate:g} a second", sagas, rate=rate)

    async def _carry_out(
        self, name: str, sagas: int, *, keys: list[str] | None = None, rate: float | None = None
    ) -> Ended:
        wanted = keys or (await self._publisher.ask("prepare", count=sagas))["keys"]
        self._progress(f"{name}: {sagas} sagas")

        def tell(done: int, seconds: float) -> None:
            self._progress(f"{name}: {done} of {sagas} sagas ended after {seconds:.0f} s")

        await self._publisher.ask("publish", rate=rate)
        return await self._observer.wait(wanted, tell)
