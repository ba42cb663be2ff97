"""Locks under any sequence of commands, events and expiries: no two live ones overlap, and released is final."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from saga.database import Schemas
from saga.messaging.job import Job, Result
from saga.settings import Settings
from schemas.commands import AcquireLock, ReleaseLock
from schemas.replies import LockAcquired, LockRefused, LockReleased
from tests.support.jobs import CHECK_IN, Measured, acquire, cancelled, carry_out, confirmed, lock_id, release
from workers.locking.handler import LockHandler

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_BOOKINGS = st.sampled_from(("a", "b", "c", "d", "e"))
_ROOMS = ("101", "102")


@dataclass(frozen=True, slots=True)
class Expiry:
    """The hold of a booking is over."""

    booking: str


def _acquire(booking: str, number: int) -> Job[Any]:
    """What a booking's n-th lock command asks for never changes, so it derives from its id."""
    choice = sum(map(ord, booking)) * 7 + number * 3
    start = CHECK_IN + timedelta(days=choice % 4)
    room = _ROOMS[choice % 2]
    return acquire(booking, room, number, check_in=start, check_out=start + timedelta(days=1 + choice % 3))


_COMMANDS = st.one_of(
    st.builds(_acquire, _BOOKINGS, st.integers(1, 3)),
    st.builds(_acquire, _BOOKINGS, st.integers(1, 3)),
    st.builds(release, _BOOKINGS, st.integers(1, 3)),
    st.builds(confirmed, _BOOKINGS, st.integers(1, 3)),
    st.builds(cancelled, _BOOKINGS),
)
_POLLS = st.lists(_COMMANDS, min_size=1, max_size=5, unique_by=lambda job: job.id)
_STEPS = st.one_of(
    st.tuples(_POLLS),  # one worker's poll
    st.tuples(_POLLS),
    st.tuples(_POLLS, _POLLS),  # two workers' polls at once, as after a rebalance
    st.builds(Expiry, _BOOKINGS),
)


class Ledger:
    """Watches the lock table from outside."""

    def __init__(self, pool: Pool, schemas: Schemas) -> None:
        self._pool = pool
        self._table = f"{schemas['locking']}.locks"
        self.released: set[str] = set()

    async def empty(self) -> None:
        await self._pool.execute(f"TRUNCATE {self._table}")

    async def expire(self, booking: str) -> None:
        await self._pool.execute(
            f"UPDATE {self._table} SET expires_at = clock_timestamp() - interval '1 s' "
            "WHERE booking_id = $1 AND state = 'held'",
            booking,
        )

    async def check(self) -> dict[str, str]:
        overlapping = await self._pool.fetch(
            f"SELECT a.reservation_id FROM {self._table} a JOIN {self._table} b USING (property_id, room_id) "
            "WHERE a.reservation_id < b.reservation_id AND a.stay && b.stay "
            "AND a.state <> 'released' AND b.state <> 'released'"
        )
        assert overlapping == []
        rows = await self._pool.fetch(f"SELECT lock_command_id, state FROM {self._table}")
        states: dict[str, str] = {row[0]: row[1] for row in rows}
        assert self.released <= {lock for lock, state in states.items() if state == "released"}
        self.released = {lock for lock, state in states.items() if state == "released"}
        return states


def _told_the_truth(
    poll: list[Job[Any]], results: list[Result], states: dict[str, str], before: dict[str, str]
) -> None:
    """What a poll that ran alone was answered agrees with the table."""
    for position, (job, result) in enumerate(zip(poll, results, strict=True)):
        if isinstance(job.body, AcquireLock):
            undone_later = any(
                isinstance(later.body, ReleaseLock) and later.body.undoes == job.id for later in poll[position:]
            )
            if isinstance(result.reply, LockAcquired):
                assert states[job.id] in ({"released"} if undone_later else {"held", "confirmed"})
            else:
                assert isinstance(result.reply, LockRefused)
                assert states.get(job.id, "released") == "released"
        if isinstance(job.body, ReleaseLock):
            assert isinstance(result.reply, LockReleased)
            assert states[job.body.undoes] == "released"
            taken_here = any(earlier.id == job.body.undoes for earlier in poll[:position])
            if before.get(job.body.undoes) in {"held", "confirmed"} and not taken_here:
                assert result.reply.was_held


async def _play(pool: Pool, schemas: Schemas, steps: list[Any]) -> None:
    handler = LockHandler(schemas, Measured().meters.contentions)
    ledger = Ledger(pool, schemas)
    await ledger.empty()
    states: dict[str, str] = {}
    for step in steps:
        if isinstance(step, Expiry):
            await ledger.expire(step.booking)
            continue
        answers = await asyncio.gather(*(_patiently(pool, handler, poll) for poll in step))
        before, states = states, await ledger.check()
        if len(step) == 1:
            _told_the_truth(step[0], answers[0], states, before)


async def _patiently(pool: Pool, handler: LockHandler, poll: list[Job[Any]]) -> list[Result]:
    """As the runtime does: a deadlock between two polls is rolled back and repeated."""
    while True:
        try:
            return await carry_out(pool, handler, *poll)
        except asyncpg.DeadlockDetectedError:
            continue


async def test_no_sequence_leaves_two_live_locks_that_overlap_or_brings_a_released_one_back(
    database: Pool, settings: Settings, schemas: Schemas
) -> None:
    loop = asyncio.get_running_loop()

    @hypothesis_settings(
        max_examples=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(_STEPS, min_size=1, max_size=14))
    def play(steps: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(_play(database, schemas, steps), loop).result(60)

    await asyncio.to_thread(play)


async def test_a_lock_that_was_refused_is_never_found_held(database: Pool, schemas: Schemas) -> None:
    handler = LockHandler(schemas, Measured().meters.contentions)
    first, second = await carry_out(database, handler, acquire("a"), acquire("b"))
    assert isinstance(first.reply, LockAcquired)
    assert isinstance(second.reply, LockRefused)
    assert lock_id("b") not in await Ledger(database, schemas).check()
