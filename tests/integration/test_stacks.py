"""Every stack that this machine can run: it serves, comes back after a restart, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from saga.errors import StackError
from saga.stacks.base import Endpoints
from saga.stacks.local import EMBEDDED, KAFKA, Kind, LocalStack
from saga.stacks.processes import Child
from saga.stacks.testcontainers import TestcontainersStack

_TOPIC = "there-and-back"


@pytest.fixture
def start() -> Iterator[Callable[[Kind], tuple[LocalStack, Endpoints]]]:
    started: list[LocalStack] = []

    def start_one(kind: Kind) -> tuple[LocalStack, Endpoints]:
        stack = LocalStack(kind)
        reason = stack.availability()
        if reason is not None:
            pytest.skip(reason)
        started.append(stack)
        return stack, stack.start()

    yield start_one
    for stack in started:
        stack.stop()


_KINDS = [
    pytest.param(EMBEDDED, id="embedded"),
    pytest.param(KAFKA, id="kafka", marks=pytest.mark.needs("java")),
]


@pytest.mark.parametrize("kind", _KINDS)
async def test_a_stack_serves_survives_a_restart_of_either_part_and_leaves_nothing_behind(
    kind: Kind, start: Callable[[Kind], tuple[LocalStack, Endpoints]]
) -> None:
    stack, endpoints = start(kind)
    processes = [psutil.Process(pid) for pid in stack.pids().values()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    directory = _data_directory(endpoints)

    await _create_topic(endpoints)
    await _produce(endpoints, b"before")
    assert await _consume(endpoints, 1) == [b"before"]
    with psycopg.connect(endpoints.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'before' AS word")

    stack.restart_database()
    with psycopg.connect(endpoints.database_url) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("before",)]
    stack.restart_broker()
    if kind is EMBEDDED:  # in memory: it comes back empty
        await _create_topic(endpoints)
    await _produce(endpoints, b"after")
    expected = [b"after"] if kind is EMBEDDED else [b"before", b"after"]
    assert await _consume(endpoints, len(expected)) == expected

    processes += [psutil.Process(pid) for pid in stack.pids().values()]
    stack.stop()
    assert [process for process in processes if process.is_running()] == []
    assert not directory.exists()
    assert stack.pids() == {}


async def test_postgres_recovers_what_was_committed_when_it_is_killed(
    start: Callable[[Kind], tuple[LocalStack, Endpoints]],
) -> None:
    stack, endpoints = start(EMBEDDED)
    with psycopg.connect(endpoints.database_url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}".encode()).fetchone() == ("on",)
        connection.execute("CREATE EXTENSION btree_gist")
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    stack.kill_database()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(endpoints.database_url, connect_timeout=2)
    stack.restart_database()
    with psycopg.connect(endpoints.database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


async def test_two_stacks_on_one_machine_do_not_meet(
    start: Callable[[Kind], tuple[LocalStack, Endpoints]],
) -> None:
    first_stack, first = start(EMBEDDED)
    _, second = start(EMBEDDED)
    await _create_topic(first)
    await _create_topic(second)
    await _produce(first, b"first")
    await _produce(second, b"second")
    first_stack.stop()
    assert await _consume(second, 1) == [b"second"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.database_url, connect_timeout=2)


def test_starting_a_running_stack_is_refused_and_harms_nothing(
    start: Callable[[Kind], tuple[LocalStack, Endpoints]],
) -> None:
    stack, endpoints = start(EMBEDDED)
    with pytest.raises(StackError, match="runs already"):
        stack.start()
    with psycopg.connect(endpoints.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_the_stack(signum: signal.Signals, tmp_path: Path) -> None:
    """Killed outright it cannot stop anything itself: the kernel does."""
    program = (
        "import json, threading, time\n"
        "from saga.stacks.local import EMBEDDED, LocalStack\n"
        "stack = LocalStack(EMBEDDED)\n"
        # Started from a thread that ends: what lives must not depend on that.
        "starter = threading.Thread(target=stack.start)\n"
        "starter.start(); starter.join()\n"
        "print(json.dumps(dict(stack.pids())), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids: dict[str, int] = json.loads(owner.stdout.readline())
        assert set(pids) == {"tansu", "postgres"}
        processes = [psutil.Process(pid) for pid in pids.values()]
        processes += psutil.Process(pids["postgres"]).children(recursive=True)
        time.sleep(0.3)
        assert all(process.is_running() for process in processes)
        owner.send_signal(signum)
        _, alive = psutil.wait_procs(processes, timeout=15)
        assert alive == []


def test_what_a_killed_owner_stored_is_removed_by_the_next_stack(
    start: Callable[[Kind], tuple[LocalStack, Endpoints]],
) -> None:
    program = "import os\nfrom saga.stacks.workspace import Workspace\nprint(Workspace().path)\nos._exit(9)"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    abandoned = Path(made.stdout.strip())
    assert abandoned.exists()
    start(EMBEDDED)
    assert not abandoned.exists()


def test_a_child_that_ignores_a_request_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = Child("stubborn", [sys.executable, "-c", stubborn], log=tmp_path / "log")
    deadline = time.monotonic() + 10
    while "deaf" not in child.last_lines() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.stop(grace_s=0.3)
    assert child.exit_code == -signal.SIGKILL


@pytest.mark.needs("docker")
async def test_containers_serve_and_come_back_after_a_restart() -> None:
    stack = TestcontainersStack()
    endpoints = stack.start()
    try:
        await _create_topic(endpoints)
        await _produce(endpoints, b"before")
        stack.restart_broker()
        stack.restart_database()
        assert await _consume(endpoints, 1) == [b"before"]
    finally:
        stack.stop()


def _data_directory(endpoints: Endpoints) -> Path:
    with psycopg.connect(endpoints.database_url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    directory = Path(row[0])
    assert directory.exists()
    return directory


async def _create_topic(endpoints: Endpoints) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
    finally:
        await admin.close()


async def _produce(endpoints: Endpoints, value: bytes) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=endpoints.brokers, enable_idempotence=endpoints.broker_kind == "kafka", acks="all"
    )
    await producer.start()
    try:
        await producer.send_and_wait(_TOPIC, value, key=b"key", headers=[("ce_id", b"1")])
    finally:
        await producer.stop()


async def _consume(endpoints: Endpoints, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(
        _TOPIC,
        bootstrap_servers=endpoints.brokers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=endpoints.fetch_max_wait_ms,
    )
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()
