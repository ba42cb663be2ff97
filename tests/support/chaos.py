"""A whole environment of real processes that a chaos test may hurt: bookings of every kind, waiting, dumps, the audit.

Nothing here sleeps for a fixed time in the hope that something has happened: everything is waited for by looking at the
database, the topics or the processes, with deadlines made for a slow machine that is shared with others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import count, islice

import asyncpg

from saga.audit import AuditOptions, AuditReport, audit
from saga.audit.topics import reading
from saga.booking import Booking
from saga.cli.waiting import follow
from saga.database import Schemas
from saga.desk import load_desk
from saga.engine.state import Status
from saga.errors import BrokerUnreachable
from saga.generate import GeneratedBooking, Kind, Mix, generate
from saga.publishing import BookingPublisher, Request
from saga.settings import Settings
from saga.stacks.services import Services
from saga.store.reading import Lodging, Reader, Summary
from saga.traces.reader import PostgresTraceReader
from schemas.requests import BookingCancellationRequested
from schemas.topics import DEAD_LETTERS

CONSUMERS = ("orchestrator", "availability", "locking", "payment", "confirmation", "notification")
"""The roles that read topics."""

MIXED: Mix = {
    Kind.CONFIRMED: 5,
    Kind.SLOW: 2,
    Kind.DECLINED: 2,
    Kind.LOST: 1,
    Kind.CONTENDED: 3,
    Kind.CANCELLED: 2,
    Kind.UNKNOWN: 1,
}
"""Everything that can become of a booking. Of those that are ``slow`` to pay the desk sells the room meanwhile, so that
they are refused at confirmation, after the payment."""

ENDED_S = 240.0
"""In which time every booking must have ended once everything runs: twice the saga's own deadline."""

_SLOWLY = "tok_slow_1500"  # under the gateway's time-out, and long enough for the desk to come first
_DESK_S = 60.0
_AUDIT_S = 90.0
_APART = timedelta(days=1_500)


async def until(reached: Callable[[], Awaitable[object]], what: str, *, seconds: float = 60.0) -> None:
    """Look until ``reached`` says something true; an :class:`AssertionError` says ``what`` did not happen."""
    deadline = time.monotonic() + seconds
    while not await reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds:.0f} s it did not come to this: {what}")
        await asyncio.sleep(0.05)


@dataclass
class House:
    """The environment: its services, ways to book at it, and ways to look at it."""

    services: Services
    pool: asyncpg.Pool[asyncpg.Record]
    lodgings: Sequence[Lodging]
    schemas: Schemas = field(init=False)
    reader: Reader = field(init=False)
    _seeds: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.schemas = Schemas(self.settings.schema_prefix)
        self.reader = Reader(self.pool, self.settings.schema_prefix)

    @property
    def settings(self) -> Settings:
        """Where everything of this environment is."""
        return self.services.settings

    def guests(self, mix: Mix) -> Iterator[GeneratedBooking]:
        """Bookings without end; those of two calls never want the same nights."""
        seed = next(self._seeds)
        first_day = date.today() + timedelta(days=30) + seed * _APART  # noqa: DTZ011 - a hotel's calendar day
        for booking in generate(1_000_000, seed, self.lodgings, mix, first_day=first_day):
            if booking.kind is Kind.SLOW:
                slow = booking.request.model_copy(update={"payment_token": _SLOWLY})
                yield replace(booking, request=slow)
            else:
                yield booking

    async def book(self, bookings: Sequence[GeneratedBooking]) -> list[str]:
        """Ask for ``bookings``; returns their keys once those who cancel have, and those sold at the desk are."""
        await self.publish([Request(booking.key, booking.request) for booking in bookings])
        await asyncio.gather(
            *(self.cancel(b.key, b.cancel_after_s) for b in bookings if b.cancel_after_s is not None),
            *(self.sell_room_of(b.key) for b in bookings if b.kind is Kind.SLOW),
        )
        return [booking.key for booking in bookings]

    async def publish(self, requests: Sequence[Request]) -> None:
        """Publish, again and again while the broker is away, as any careful client does."""

        async def published() -> bool:
            try:
                async with BookingPublisher(self.settings) as publisher:
                    await publisher.publish(requests)
            except BrokerUnreachable:
                return False
            return True

        await until(published, "the broker takes requests", seconds=120)

    async def cancel(self, key: str, after_s: float = 0.0) -> None:
        """Ask for a booking to be cancelled."""
        await asyncio.sleep(after_s)
        await self.publish([Request(key, BookingCancellationRequested(reason="plans changed"))])

    async def sell_room_of(self, key: str) -> None:
        """Sell the room that a booking holds to a walk-in while it is being paid; not if it ends before."""
        deadline = time.monotonic() + _DESK_S
        while time.monotonic() < deadline:
            found = await self.reader.find(key)
            if found is not None and not found.summary.status.live:
                return
            if found is not None and found.summary.step == "process_payment":
                details: Booking = found.definition.decode(found.state)
                await load_desk()(
                    self.pool,
                    self.schemas,
                    property_id=details.property_id,
                    room_id=details.chosen.room_id,
                    check_in=details.check_in,
                    check_out=details.check_out,
                )
                return
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def flow(
        self, guests: Iterator[GeneratedBooking], *, at_once: int, every_s: float
    ) -> AsyncIterator[list[str]]:
        """Bookings that keep coming, ``at_once`` every ``every_s``, until the context is left; gives their keys."""
        keys: list[str] = []
        stop = asyncio.Event()
        rounds: set[asyncio.Task[list[str]]] = set()

        async def come() -> None:
            while not stop.is_set():
                bookings = list(islice(guests, at_once))
                keys.extend(booking.key for booking in bookings)
                rounds.add(asyncio.create_task(self.book(bookings)))
                try:
                    await asyncio.wait_for(stop.wait(), every_s)
                except TimeoutError:
                    continue

        coming = asyncio.create_task(come())
        try:
            yield keys
        finally:
            stop.set()
            await coming
            await asyncio.gather(*rounds)

    async def ended(self, keys: Sequence[str], *, seconds: float = ENDED_S) -> dict[str, Summary]:
        """Wait for the end of all of them; none may be parked for a person."""
        known = await follow(self.reader, keys, timeout_s=seconds)
        hanging = [key for key in keys if key not in known or known[key].status.live]
        assert not hanging, f"{len(hanging)} of {len(keys)} have not ended: {[known.get(key) for key in hanging[:3]]}"
        parked = [summary for summary in known.values() if summary.status is Status.NEEDS_ATTENTION]
        assert not parked, f"parked: {parked}"
        return known

    async def as_meant(self, bookings: Sequence[GeneratedBooking]) -> Counter[str]:
        """Ask for ``bookings`` and wait for them; each must end as its kind says. Returns how many ended how."""
        ended = await self.ended(await self.book(bookings))
        for booking in bookings:
            # The desk refuses those that are slow to pay, unless they were quicker.
            expected = booking.kind.expected | ({Status.FAILED} if booking.kind is Kind.SLOW else set())
            assert ended[booking.key].status in expected, f"{booking.kind} came to {ended[booking.key]}"
        return Counter(summary.error_type or "confirmed" for summary in ended.values())

    async def audited(
        self, keys: Sequence[str], since_us: int, *, confirmed: int = 1, compensated: int = 1, traces: bool = True
    ) -> AuditReport:
        """The audit of everything since then finds nothing, in any of its parts, and nothing was set aside as poison.

        It is asked again for a while: the last spans of a process that died arrive when its successor has noticed.
        """
        options = AuditOptions(
            wait_s=5.0,
            since_us=since_us,
            min_confirmed=confirmed,
            min_compensated=compensated,
            traces=traces,
            deep_sample=0,
        )
        deadline = time.monotonic() + _AUDIT_S
        while True:
            report = await audit(self.settings, options)
            if (report.clean and not report.traces_incomplete) or time.monotonic() > deadline:
                break
            await asyncio.sleep(1.0)
        found = [f"{violation.invariant}: {violation.saga_id}: {violation.detail}" for violation in report.violations]
        assert not found, f"{len(found)} violations:\n" + "\n".join(found[:20])
        assert not traces or report.traces_complete == len(keys), f"of {len(keys)} traces: {report}"
        assert report.checked["fold"].examined == len(keys), report.notes
        assert not [checked for checked in report.checked.values() if checked.unavailable], report.notes
        letters = await self.dead_letters(since_us)
        assert not letters, f"nothing that was published is poison: {letters[:5]}"
        return report

    async def dead_letters(self, since_us: int) -> list[str]:
        """Key and headers of everything that was set aside since then."""
        async with reading(self.settings, self.settings.topic_prefix + DEAD_LETTERS) as reader:
            letters = [record async for record in reader.read() if record.timestamp_ms * 1000 >= since_us]
        return [f"{letter.key!r}: {dict(letter.headers)}" for letter in letters]

    async def ask(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows from the environment's tables; ``{provider}`` and the like stand for the owners' schemas."""
        owners = ("saga", "inventory", "locking", "payment", "notification", "provider")
        return await self.pool.fetch(sql.format(**{owner: self.schemas[owner] for owner in owners}), *arguments)

    async def count(self, what: str, *arguments: object) -> int:
        """How many rows there are: ``count("{provider}.charges WHERE status = 'captured'")``."""
        rows = await self.ask(f"SELECT count(*) AS rows FROM {what}", *arguments)
        return int(rows[0]["rows"])

    async def counted(self, service: str, metric: str) -> float:
        """A counter's sum over all processes of a service, as far as they have reported it."""
        points = await PostgresTraceReader(self.pool, self.settings).metrics(service=service, name=metric)
        return sum(float(point.point["value"]) for point in points)

    async def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop and start one process, and wait until it serves."""
        await asyncio.to_thread(self.services.restart, name, environment or {})

    async def start(self, *names: str, environment: Mapping[str, str] | None = None) -> None:
        """Start these processes and wait until they serve."""
        await asyncio.to_thread(self.services.start_some, names, environment)

    async def stop(self, *names: str) -> None:
        """Ask these processes to end, and wait for it."""
        await asyncio.gather(*(asyncio.to_thread(self.services.child(name).stop, 30.0) for name in names))

    async def death(self, name: str, *, seconds: float = 400.0) -> int:
        """Wait until a process has ended by itself; its exit code."""

        async def gone() -> bool:
            return name in self.services.exited()

        await until(gone, f"{name} ends", seconds=seconds)
        return self.services.exited()[name]
