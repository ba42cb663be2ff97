"""The orchestrator's idea of the database's time between two answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from saga.orchestrator import memory
from saga.orchestrator.memory import Recollection

NOON_US = 1_800_000_000_000_000


class Clock:
    """This machine's monotonic clock, which the test moves."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def monotonic(self) -> float:
        return self.s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def told(clock: Clock, recollection: Recollection, at_us: int, late_s: float = 0.0) -> int:
    """The database says that it is ``at_us``, which is heard ``late_s`` later; what time it is thought to be then."""
    clock.s += late_s
    recollection.synchronise(at_us)
    now_us = recollection.now_us()
    assert now_us is not None
    return now_us


def test_the_time_goes_on_between_two_answers(clock: Clock) -> None:
    recollection = Recollection()
    assert recollection.now_us() is None
    recollection.synchronise(NOON_US)
    clock.s += 1.5
    assert recollection.now_us() == NOON_US + 1_500_000


def test_an_answer_that_was_long_under_way_does_not_set_the_time_back(clock: Clock) -> None:
    recollection = Recollection()
    recollection.synchronise(NOON_US)
    assert told(clock, recollection, NOON_US, late_s=0.2) == pytest.approx(NOON_US + 200_000, abs=200)
    clock.s += 0.1
    assert recollection.now_us() == pytest.approx(NOON_US + 300_000, abs=200)


def test_an_answer_that_comes_sooner_corrects_one_that_came_late(clock: Clock) -> None:
    recollection = Recollection()
    assert told(clock, recollection, NOON_US, late_s=0.2) == NOON_US
    assert told(clock, recollection, NOON_US + 200_000) == NOON_US + 200_000


def test_a_database_whose_clock_was_set_back_is_believed(clock: Clock) -> None:
    recollection = Recollection()
    recollection.synchronise(NOON_US)
    assert told(clock, recollection, NOON_US - 5_000_000) == NOON_US - 5_000_000


def test_a_time_that_was_told_long_ago_is_not_relied_on(clock: Clock) -> None:
    recollection = Recollection()
    recollection.synchronise(NOON_US)
    clock.s += 5.1
    assert recollection.now_us() is None
