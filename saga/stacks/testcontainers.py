"""Apache Kafka and PostgreSQL in containers, where a Docker engine answers; they are removed with this process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from saga.errors import StackError, StackUnavailable
from saga.stacks.base import Endpoints, Progress, silent
from saga.stacks.ports import free_port
from saga.stacks.probe import broker_answers, database_answers

KAFKA_IMAGE = "apache/kafka:4.1.1"
POSTGRES_IMAGE = "postgres:18.1"
_START_S = 120.0
_STOP_S = 20
_POSTGRES_OPTIONS = "-c max_connections=200 -c shared_buffers=256MB"
_KAFKA_PORT = 9092
_POSTGRES_PORT = 5432


class TestcontainersStack:
    """Two containers; testcontainers' own reaper removes them should this process be killed."""

    __test__ = False  # its name looks like a test class to pytest

    name = "testcontainers"
    parts = frozenset({"kafka", "postgres", "docker"})

    def __init__(self) -> None:
        self._kafka: Any = None
        self._postgres: Any = None
        self._brokers = ""
        self._url = ""

    def availability(self) -> str | None:
        if importlib.util.find_spec("testcontainers") is None:
            return "the testcontainers library is not installed: run `pip install 'booking-saga[dev]'`"
        return engine_unavailable()

    def start(self, progress: Progress = silent) -> Endpoints:
        reason = self.availability()
        if reason is not None:
            raise StackUnavailable(f"the testcontainers stack cannot run here: {reason}")
        if self._kafka is not None:
            raise StackError("the testcontainers stack runs already; stop it first")
        try:
            progress(f"starting {POSTGRES_IMAGE} in a container (the first time it is downloaded)")
            self._start_postgres()
            progress(f"starting {KAFKA_IMAGE} in a container (the first time it is downloaded)")
            self._start_kafka()
            self._wait()
        except BaseException:
            self.stop()
            raise
        return Endpoints(
            brokers=self._brokers,
            database_url=self._url,
            broker_kind="kafka",
            fetch_max_wait_ms=500,
            replication=1,
            description=f"{KAFKA_IMAGE} and {POSTGRES_IMAGE} in containers",
        )

    def stop(self) -> None:
        with _docker_errors("stop the containers"):
            for container in (self._kafka, self._postgres):
                if container is not None:
                    container.stop()
        self._kafka = self._postgres = None

    def restart_broker(self) -> None:
        self._restart(self._kafka)

    def restart_database(self) -> None:
        self._restart(self._postgres)

    def pids(self) -> Mapping[str, int]:
        return {}

    def _start_postgres(self) -> None:
        from testcontainers.core.container import DockerContainer

        port, password = free_port(), secrets.token_urlsafe(18)
        with _docker_errors(f"start {POSTGRES_IMAGE}"):
            container = DockerContainer(POSTGRES_IMAGE, command=f"postgres {_POSTGRES_OPTIONS}")
            self._postgres = container.with_env("POSTGRES_PASSWORD", password).with_bind_ports(_POSTGRES_PORT, port)
            container.start()
            self._url = f"postgresql://postgres:{password}@{container.get_container_host_ip()}:{port}/postgres"

    def _start_kafka(self) -> None:
        from testcontainers.core.container import DockerContainer

        port = free_port()
        with _docker_errors(f"start {KAFKA_IMAGE}"):
            container = DockerContainer(KAFKA_IMAGE).with_bind_ports(_KAFKA_PORT, port)
            self._kafka = container
            self._brokers = f"{_engine_host(container)}:{port}"
            for name, value in _kafka_environment(self._brokers).items():
                container.with_env(name, value)
            container.start()

    def _restart(self, container: Any) -> None:
        if container is None:
            raise StackError("the testcontainers stack does not run; start it first")
        with _docker_errors("restart a container"):
            container.get_wrapped_container().restart(timeout=_STOP_S)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while not (database_answers(self._url) and broker_answers(self._brokers)):
            if time.monotonic() > deadline:
                words = self._kafka.get_logs()[0].decode("utf-8", "replace")[-2000:]
                raise StackError(f"the containers did not answer within {_START_S:.0f} s; Kafka's last words:\n{words}")
            time.sleep(0.2)


def engine_unavailable() -> str | None:
    """Why no Docker engine can be used here; ``None`` when one answers."""
    if importlib.util.find_spec("docker") is None:
        return "the docker library is not installed: run `pip install 'booking-saga[dev]'`"
    import docker  # type: ignore[import-untyped]  # it publishes no types

    host = os.environ.get("DOCKER_HOST") or docker.constants.DEFAULT_UNIX_SOCKET.replace("http+unix", "unix")
    try:
        if host.startswith("unix://"):
            # Asked first, because docker's client leaves its socket open when nobody answers there.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(host.removeprefix("unix://"))
        client = docker.from_env(timeout=5)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError):
        return "no Docker engine answers: start one (`docker info` must work), or use --stack kafka or embedded"
    return None


def _engine_host(container: Any) -> str:
    """Where published ports are reached: known before the container runs, as Kafka must be told its own address."""
    return str(container.get_docker_client().host())


def _kafka_environment(address: str) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{_KAFKA_PORT},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{address}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }


@contextlib.contextmanager
def _docker_errors(doing: str) -> Iterator[None]:
    import docker

    try:
        yield
    except (docker.errors.DockerException, OSError) as error:
        raise StackError(f"Docker could not {doing}: {error}") from error
