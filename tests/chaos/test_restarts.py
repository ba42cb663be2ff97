"""Broker and database restart or crash while bookings run; workers come and go. Everything goes on, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

import pytest

from saga.generate import Kind, Mix
from saga.stacks.local import LocalStack
from tests.support.chaos import CONSUMERS, House, until
from tests.support.stacks import StartedStack

_UNWATCHED: Mix = {Kind.CONFIRMED: 4, Kind.DECLINED: 2, Kind.LOST: 1, Kind.CONTENDED: 2, Kind.CANCELLED: 1}
"""Without those whose rooms the desk sells: it would have to be looked into a database that is away."""


@pytest.fixture
def local(stack: StartedStack) -> LocalStack:
    """The stack, where its parts are processes of ours that can be made to crash."""
    if not isinstance(stack.stack, LocalStack):
        pytest.skip(f"the parts of the {stack.stack.name} stack cannot be made to crash from here")
    return stack.stack


def _restart_broker(stack: LocalStack) -> None:
    stack.restart_broker()


def _crash_broker(stack: LocalStack) -> None:
    stack.kill_broker()
    stack.restart_broker()


def _restart_database(stack: LocalStack) -> None:
    stack.restart_database()


def _crash_database(stack: LocalStack) -> None:
    stack.kill_database()
    stack.restart_database()


async def _survives(house: House, hurt: Callable[[], object], *, traces: bool = True) -> None:
    """Hurt the environment while bookings run; those before, meanwhile and after all end, and the audit is clean."""
    since_us = await house.reader.now_us()
    guests = house.guests(_UNWATCHED)
    async with house.flow(guests, at_once=3, every_s=0.5) as keys:

        async def some_have_ended() -> bool:
            return any(not summary.status.live for summary in (await house.reader.outcomes(keys)).values())

        await until(some_have_ended, "bookings run")
        await asyncio.to_thread(hurt)
    after = list(islice(guests, 10))
    await house.ended(keys)
    await house.as_meant(after)
    keys += [booking.key for booking in after]
    await house.audited(keys, since_us, confirmed=4, compensated=2, traces=traces)


@pytest.mark.needs("kafka")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("hurt", [_restart_broker, _crash_broker])
async def test_bookings_go_on_after_the_broker(
    house: House, local: LocalStack, hurt: Callable[[LocalStack], None]
) -> None:
    await _survives(house, lambda: hurt(local))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("hurt", [_restart_database, _crash_database])
async def test_bookings_go_on_after_the_database(
    house: House, local: LocalStack, hurt: Callable[[LocalStack], None]
) -> None:
    # Traces are not worth a write-ahead log: a crash takes those that are kept along.
    await _survives(house, lambda: hurt(local), traces=hurt is _restart_database)


@pytest.mark.timeout(400)
async def test_a_second_process_of_every_role_joins_and_leaves_while_bookings_run(house: House) -> None:
    seconds = [f"{role}:2" for role in CONSUMERS]

    def come_and_go() -> None:
        house.services.start_some(seconds)
        for name in seconds[::2]:
            house.services.child(name).stop(30.0)
        for name in seconds[1::2]:
            house.services.kill(name)

    await _survives(house, come_and_go)
