"""``saga bench`` itself: small runs, on the stack of the session, from the command line as anybody would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from saga.stacks.services import ROLES
from tests.support.stacks import choose_session

SAGAS, WARM, RATE, SECONDS, STORED = 60, 20, 10, 2, 400
FLOORS = os.environ.get("SAGA_BENCH_FLOORS") == "1"


class Marked:
    """Commands whose processes, and theirs, can be found again by a mark in their environment."""

    def __init__(self, home: Path) -> None:
        self._mark = uuid4().hex
        self._home = home

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        session = choose_session()
        if session.choice is None:
            pytest.skip(session.problem)
        environment = {**os.environ, "SAGA_BENCH_MARK": self._mark, "SAGA_HOME": str(self._home)}
        return subprocess.Popen(
            [sys.executable, "-m", "saga.cli.main", "bench", "--stack", session.choice.stack.name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def left(self) -> list[psutil.Process]:
        """What still runs."""
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SAGA_BENCH_MARK") == self._mark:
                    left.append(process)
            except psutil.Error:
                continue
        return left

    def all_gone(self, within_s: float = 10.0) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.left():
                return True
            time.sleep(0.2)
        return False


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    marked = Marked(tmp_path)
    yield marked
    for process in marked.left():
        process.kill()


def total(parts: dict[str, float]) -> float:
    return sum(parts.values())


def check_whole(told: dict[str, Any], sagas: int) -> None:
    """Every saga ended well and every figure is the sum of its parts."""
    assert told["sagas"] == sagas
    assert told["outcomes"] == {"CONFIRMED": sagas}
    assert told["unfinished"] == 0
    assert told["audit"]["violations"] == 0, told["audit"]["first"]
    assert told["audit"]["traces"]["incomplete"] == 0
    cpu = dict(told["cpu_ms_per_saga"])
    assert cpu.pop("total") == pytest.approx(total(cpu), rel=0.02)
    assert cpu.keys() == {*ROLES, "publisher"}
    assert told["rss_mb"].keys() == cpu.keys()
    assert told["messages_per_saga"] == pytest.approx(total(told["messages_by_topic"]), rel=0.02)
    assert told["spans_per_saga"] == pytest.approx(total(told["spans_by_name"]), rel=0.02)
    assert told["rows_per_saga"] == pytest.approx(total(told["rows_by_table"]), rel=0.02)
    assert told["messages_per_saga"] >= 10, "a request, four commands, four replies and an event"
    assert told["spans_by_name"]["booking.create"] == 1
    assert 0 < told["saturation"]["p50_ms"] <= told["saturation"]["p99_ms"] <= told["saturation"]["max_ms"]
    assert told["sagas_per_s"] == pytest.approx(sagas / told["saturation"]["seconds"], rel=0.02)


@pytest.mark.timeout(900)
def test_a_run_tells_what_every_saga_took_and_leaves_nothing_running(marked: Marked) -> None:
    options = ["--sagas", SAGAS, "--warm", WARM, "--light-rate", RATE, "--light-seconds", SECONDS, "--stored", STORED]
    process = marked.start(*map(str, options), "--json")
    out, progress = process.communicate()
    assert process.returncode == 0, progress[-3_000:]
    told = json.loads(out)

    check_whole(told, SAGAS)
    assert told["light"]["sagas"] == RATE * SECONDS
    assert (told["p50_ms"], told["p99_ms"]) == (told["light"]["p50_ms"], told["light"]["p99_ms"])
    assert told["durability"]["fsync"] == "on"
    assert told["durability"]["synchronous_commit"] == "on"
    assert told["durability"]["acks"] == "all"

    limit = told["limit"]
    assert told["ratio_to_limit"] == pytest.approx(told["sagas_per_s"] / limit["sagas_per_s"], rel=0.02)
    assert limit["sagas_per_s"] == max(limit["sagas_per_s_by_processes"].values())
    assert limit["messages_per_saga"] == pytest.approx(told["messages_per_saga"], rel=0.1), "the same work"
    assert limit["spans_per_saga"] == pytest.approx(told["spans_per_saga"], rel=0.1)

    growth = told["growth"]
    assert growth["stored"] == [WARM + SAGAS // 2, STORED]
    assert growth["rows_added"] > 15 * (STORED - 2 * (WARM + SAGAS) - RATE * SECONDS), "all that is kept of a booking"
    assert growth["cpu"] == pytest.approx(growth["cpu_ms_per_saga"][1] / growth["cpu_ms_per_saga"][0], rel=0.02)
    assert f"with {STORED} sagas stored" in progress

    assert marked.all_gone()


@pytest.mark.timeout(300)
def test_a_run_that_is_interrupted_leaves_nothing_running(marked: Marked) -> None:
    process = marked.start("--sagas", "100000", "--warm", "10")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("warming up"):
            break
    assert len(marked.left()) > len(ROLES)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert marked.all_gone()


@pytest.mark.skipif(not FLOORS, reason="floors are for a quiet machine: SAGA_BENCH_FLOORS=1")
@pytest.mark.needs("kafka")
@pytest.mark.timeout(1_800)
def test_the_floors_hold(marked: Marked) -> None:
    process = marked.start("--sagas", "3000", "--stored", "100000", "--json")
    out, progress = process.communicate()
    assert process.returncode == 0, progress[-3_000:]
    told = json.loads(out)
    check_whole(told, 3_000)
    assert told["sagas_per_s"] >= 200
    assert told["cpu_ms_per_saga"]["total"] <= 8
    assert told["p50_ms"] <= 40
    assert max(told["rss_mb"].values()) < 200
    assert told["growth"]["cpu"] <= 1.1
    assert told["growth"]["database_cpu"] <= 1.1
