"""Every consumer is killed with SIGKILL at every fault point while bookings run, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import signal
from itertools import islice
from pathlib import Path

import pytest

from saga.faults import POINTS
from tests.support.chaos import CONSUMERS, MIXED, House

_LAST = 32
"""Bookings that come when all is well again; what they come to is known."""


@pytest.mark.timeout(900)
async def test_every_consumer_killed_at_every_fault_point_resumes(house: House, tmp_path: Path) -> None:
    """All six walk through their fault points beside each other, so deaths of one meet recoveries of the others."""
    since_us = await house.reader.now_us()
    guests = house.guests(MIXED)
    async with house.flow(guests, at_once=4, every_s=2.0) as keys:
        deaths = dict(
            zip(CONSUMERS, await asyncio.gather(*(_walk(house, r, tmp_path) for r in CONSUMERS)), strict=True)
        )
    assert deaths == {role: dict.fromkeys(POINTS, -signal.SIGKILL) for role in CONSUMERS}
    await house.ended(keys)
    last = list(islice(guests, _LAST))
    outcomes = await house.as_meant(last)
    keys += [booking.key for booking in last]
    report = await house.audited(keys, since_us, confirmed=outcomes["confirmed"], compensated=10)
    print(f"{sum(map(len, deaths.values()))} kills, {len(keys)} bookings: {report.sagas}, {report.compensated} undone")


async def _walk(house: House, role: str, tmp_path: Path) -> dict[str, int]:
    """Have ``role`` killed at each fault point, at the first to third time that it gets there; the exit codes."""
    codes: dict[str, int] = {}
    for number, point in enumerate(POINTS):
        fired = tmp_path / f"{role}-{point}"
        fault = {"SAGA_FAULT": f"{role}.{point}:{number % 3 + 1},once={fired}"}
        if number == 0:
            await house.stop(role)
        house.services.launch(role, fault)
        codes[point] = await house.death(role)
        assert fired.exists(), f"{role} ended before it came to {point}: {house.services.child(role).last_lines()}"
    await house.start(role)
    return codes
