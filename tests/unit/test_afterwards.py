"""What is put off is done in order, soon, and whatever becomes of the rest of it."""

from __future__ import annotations

import asyncio

import pytest

from saga.telemetry.afterwards import Afterwards


async def test_nothing_is_done_at_once_and_everything_in_order_a_moment_later() -> None:
    afterwards, done = Afterwards(), list[int]()
    for number in range(5):
        afterwards(lambda number=number: done.append(number))  # type: ignore[misc]  # binds each number
    assert done == []
    await asyncio.sleep(0.05)
    assert done == [0, 1, 2, 3, 4]


async def test_what_fails_is_logged_and_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    afterwards, done = Afterwards(), list[str]()

    def fail() -> None:
        raise ValueError("no")

    afterwards(fail)
    afterwards(lambda: done.append("after"))
    await asyncio.sleep(0.05)
    assert done == ["after"]
    assert "telling failed" in caplog.text


async def test_catching_up_leaves_nothing_for_later() -> None:
    afterwards, done = Afterwards(delay_s=60), list[str]()
    afterwards(lambda: done.append("told"))
    afterwards.catch_up()
    assert done == ["told"]
