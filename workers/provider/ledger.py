"""The provider's ledger: charges, refunds and voids, durable before they are answered, written in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from saga.coalescer import Coalescer
from saga.database import Schemas, Statements

if TYPE_CHECKING:
    import asyncpg

Status = Literal["captured", "declined", "voided"]


def charge_id_of(key: str) -> str:
    """The id of the charge with this idempotency key; derived, so that it is known before the charge is written."""
    return "ch_" + blake2b(key.encode(), digest_size=12).hexdigest()


def refund_id_of(charge_id: str) -> str:
    """The id of the one refund a charge can have. ``sql/ledger.sql`` derives it the same way."""
    return "re_" + charge_id.removeprefix("ch_")


@dataclass(frozen=True, slots=True)
class Order:
    """A charge to be written: already decided, not yet durable. ``amount`` is in minor units."""

    key: str
    status: Status
    booking_id: str
    fingerprint: str
    amount: int
    currency: str
    brand: str
    last_four: str
    decline_code: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger holds under an idempotency key, in the column order of ``by_key`` and ``by_charge``."""

    key: str
    charge_id: str
    status: Status
    booking_id: str | None
    fingerprint: str
    amount: int
    currency: str
    brand: str
    last_four: str
    decline_code: str
    created: float
    refund_id: str | None = None
    refunded: int = 0


@dataclass(frozen=True, slots=True)
class Charged:
    """The key's entry; ``fresh`` when this very request wrote it."""

    entry: Entry
    fresh: bool


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key was used before for a different request; nothing was written."""


@dataclass(frozen=True, slots=True)
class AlreadyCharged:
    """The booking has a captured charge under another key; nothing was written."""


ChargeResult = Charged | KeyReused | AlreadyCharged


@dataclass(frozen=True, slots=True)
class Undo:
    """A void by key, or a refund by charge id."""

    name: str
    reason: str
    booking_id: str | None = None


class Ledger:
    """Writes and reads the ``provider`` schema. Concurrent requests share statements, and so commits."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> None:
        self._pool = pool
        self._sql = Statements.load("workers.provider", "sql/ledger.sql", schemas)
        self.charge: Coalescer[Order, ChargeResult] = Coalescer(self._charge)
        self.void: Coalescer[Undo, Entry] = Coalescer(self._void)
        self.refund: Coalescer[Undo, Entry | None] = Coalescer(self._refund)
        self.by_key: Coalescer[str, Entry | None] = Coalescer(self._by_key)
        self.by_charge: Coalescer[str, Entry | None] = Coalescer(self._by_charge)

    async def settle(self) -> None:
        """Wait for what is being written; used when the service stops."""
        for coalescer in (self.charge, self.void, self.refund, self.by_key, self.by_charge):
            await coalescer.settle()

    async def _charge(self, orders: Sequence[Order]) -> list[ChargeResult]:
        rows = await self._pool.fetch(
            self._sql["capture"],
            [order.key for order in orders],
            [charge_id_of(order.key) for order in orders],
            [order.status for order in orders],
            [order.booking_id for order in orders],
            [order.fingerprint for order in orders],
            [order.amount for order in orders],
            [order.currency for order in orders],
            [order.brand for order in orders],
            [order.last_four for order in orders],
            [order.decline_code for order in orders],
        )
        # The fingerprint tells which of two requests with one key in one batch was written.
        written: dict[tuple[str, str], float] = {(row[0], row[1]): row[2] for row in rows}
        if len(written) == len(orders):
            return [Charged(_entry(order, written[order.key, order.fingerprint]), fresh=True) for order in orders]
        results: list[ChargeResult | None] = [None] * len(orders)
        for n, order in enumerate(orders):
            created = written.pop((order.key, order.fingerprint), None)
            if created is not None:
                results[n] = Charged(_entry(order, created), fresh=True)
        open_keys = [order.key for n, order in enumerate(orders) if results[n] is None]
        known = await self._entries("by_key", open_keys)
        by_key = {entry.key: entry for entry in known}
        return [result or _settled(order, by_key.get(order.key)) for order, result in zip(orders, results, strict=True)]

    async def _void(self, undos: Sequence[Undo]) -> list[Entry]:
        # Three statements, no transaction: the first decides for ever whether the key is a charge or a void, the
        # second is idempotent, and nothing is answered before the third has read what both left behind.
        keys = [undo.name for undo in undos]
        await self._pool.execute(
            self._sql["bury"], keys, [charge_id_of(key) for key in keys], [undo.booking_id for undo in undos]
        )
        await self._pool.execute(self._sql["refund_by_key"], keys, [undo.reason for undo in undos])
        by_key = {entry.key: entry for entry in await self._entries("by_key", keys)}
        return [by_key[key] for key in keys]

    async def _refund(self, undos: Sequence[Undo]) -> list[Entry | None]:
        ids = [undo.name for undo in undos]
        await self._pool.execute(self._sql["refund_by_charge"], ids, [undo.reason for undo in undos])
        return await self._by_charge(ids)

    async def _by_key(self, keys: Sequence[str]) -> list[Entry | None]:
        found = {entry.key: entry for entry in await self._entries("by_key", keys)}
        return [found.get(key) for key in keys]

    async def _by_charge(self, ids: Sequence[str]) -> list[Entry | None]:
        found = {entry.charge_id: entry for entry in await self._entries("by_charge", ids)}
        return [found.get(charge_id) for charge_id in ids]

    async def _entries(self, statement: str, values: Sequence[str]) -> list[Entry]:
        return [Entry(*row) for row in await self._pool.fetch(self._sql[statement], list(values))]


def _entry(order: Order, created: float) -> Entry:
    return Entry(
        order.key,
        charge_id_of(order.key),
        order.status,
        order.booking_id,
        order.fingerprint,
        order.amount,
        order.currency,
        order.brand,
        order.last_four,
        order.decline_code,
        created,
    )


def _settled(order: Order, entry: Entry | None) -> ChargeResult:
    """The answer to an order that was not written now."""
    if entry is None:
        return AlreadyCharged()
    if entry.status != "voided" and entry.fingerprint != order.fingerprint:
        return KeyReused()
    return Charged(entry, fresh=False)
