"""The rates: read into memory by the engine, written by the loader. Nobody else touches the ``pricing`` schema."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import asyncpg
import structlog
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.database import Schemas, Statements
from workers.pricing.tariff import ExchangeRate, RoomRate, Season, Tariff

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

_log = structlog.get_logger(__name__)


def _statements(schemas: Schemas) -> Statements:
    return Statements.load("workers.pricing", "sql/rates.sql", schemas)


class RateBook:
    """Every tariff, in memory, so that a quote costs no database round trip.

    :meth:`keep_fresh` compares the revision every ``interval_s`` seconds and reads everything again when it has gone
    up; a property that is not known triggers the same comparison at once, so that new rates are usable right after
    they were loaded.
    """

    def __init__(self, pool: Pool, schemas: Schemas, *, interval_s: float = 2.0) -> None:
        self._pool = pool
        self._sql = _statements(schemas)
        self._interval_s = interval_s
        self._revision = -1
        self._compared_at = float("-inf")
        self._lock = asyncio.Lock()
        self._tariffs: Mapping[str, Tariff] = {}
        self._exchange: Mapping[str, ExchangeRate] = {}

    def tariff(self, property_id: str) -> Tariff | None:
        """The tariff in memory, or None."""
        return self._tariffs.get(property_id)

    def exchange_rate(self, currency: str) -> ExchangeRate | None:
        """What a euro buys in ``currency``, or None where it is not sold in."""
        return self._exchange.get(currency)

    async def refresh(self, *, unless_within_s: float = 0.0) -> None:
        """Read the rates again if their revision has changed; does nothing within that time of the last comparison.

        Raises ``asyncpg.PostgresError`` or ``OSError`` when the database does not answer.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() - self._compared_at < unless_within_s:
                return
            with suppress_instrumentation():
                async with self._pool.acquire() as connection:
                    revision = await connection.fetchval(self._sql["revision"])
                    if revision != self._revision:
                        async with connection.transaction(isolation="repeatable_read", readonly=True):
                            await self._read(connection)
                        self._revision = revision
            self._compared_at = loop.time()

    async def keep_fresh(self) -> None:
        """Refresh for ever; a database that is away is reported once and asked again."""
        away = False
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.refresh()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if not away:
                    _log.warning("rates cannot be refreshed; quoting from memory", error_type=type(error).__name__)
                away = True
            else:
                away = False

    async def _read(self, connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
        seasons: defaultdict[str, list[Season]] = defaultdict(list)
        for row in await connection.fetch(self._sql["seasons"]):
            seasons[row[0]].append(Season(*row[1:]))
        rooms: defaultdict[str, dict[str, RoomRate]] = defaultdict(dict)
        for property_id, room_id, room_type, amount in await connection.fetch(self._sql["room_rates"]):
            rooms[property_id][room_id] = RoomRate(room_type, amount)
        exchange = [ExchangeRate(*row) for row in await connection.fetch(self._sql["exchange_rates"])]
        self._exchange = {rate.currency: rate for rate in exchange}
        self._tariffs = {
            property_id: Tariff(property_id, currency, weekend, tuple(seasons[property_id]), rooms[property_id])
            for property_id, currency, weekend in await connection.fetch(self._sql["tariffs"])
        }


async def load_rates(pool: Pool, schemas: Schemas, tariffs: Sequence[Tariff]) -> int:
    """Insert or update ``tariffs`` in one transaction and tell running engines; returns the number of room rates.

    Loading the same rates again changes nothing but the revision. Properties and rooms that are not mentioned stay.
    """
    sql = _statements(schemas)
    rates = [(t.property_id, room_id, rate) for t in tariffs for room_id, rate in t.rooms.items()]
    seasons = [(t.property_id, season) for t in tariffs for season in t.seasons]
    with suppress_instrumentation():
        async with pool.acquire() as connection, connection.transaction():
            ids = [t.property_id for t in tariffs]
            await connection.execute(
                sql["put_tariffs"], ids, [t.currency for t in tariffs], [t.weekend_bp for t in tariffs]
            )
            await connection.execute(sql["clear_seasons"], ids)
            await connection.execute(
                sql["put_seasons"],
                [property_id for property_id, _ in seasons],
                [season.name for _, season in seasons],
                [season.first_day for _, season in seasons],
                [season.last_day for _, season in seasons],
                [season.weight_bp for _, season in seasons],
            )
            await connection.execute(
                sql["put_room_rates"],
                [property_id for property_id, _, _ in rates],
                [room_id for _, room_id, _ in rates],
                [rate.room_type for _, _, rate in rates],
                [rate.nightly_amount for _, _, rate in rates],
            )
            await connection.execute(sql["next_revision"])
    return len(rates)
