"""Stacks made of processes on this machine: PostgreSQL from a wheel beside a broker, started together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from saga.errors import StackError, StackUnavailable
from saga.stacks import kafka_jars, postgres, tansu
from saga.stacks.base import Endpoints, Progress, silent
from saga.stacks.kafka import Kafka
from saga.stacks.postgres import Postgres
from saga.stacks.tansu import Tansu
from saga.stacks.workspace import Workspace

ServerT = TypeVar("ServerT")


class Server(Protocol):
    """What brokers and databases of ours have in common."""

    @property
    def pid(self) -> int | None: ...
    def start(self, progress: Progress = silent) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class Broker(Server, Protocol):
    @property
    def address(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What sets one local stack apart from the other."""

    name: str
    parts: frozenset[str]
    broker: Callable[[Path], Broker]
    broker_name: str
    broker_kind: str
    fetch_max_wait_ms: int
    description: str
    unavailable: Callable[[], str | None]


class LocalStack:
    """A broker and a PostgreSQL as child processes; they end with this process, whatever ends it."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._workspace: Workspace | None = None
        self._broker: Broker | None = None
        self._postgres: Postgres | None = None

    @property
    def name(self) -> str:
        return self._kind.name

    @property
    def parts(self) -> frozenset[str]:
        return self._kind.parts

    def availability(self) -> str | None:
        return self._kind.unavailable() or postgres.unavailable()

    def start(self, progress: Progress = silent) -> Endpoints:
        reason = self.availability()
        if reason is not None:
            raise StackUnavailable(f"the {self.name} stack cannot run here: {reason}")
        if self._workspace is not None:
            raise StackError(f"the {self.name} stack runs already; stop it first")
        self._workspace = Workspace()
        self._postgres = Postgres(self._workspace.path / "postgres")
        self._broker = self._kind.broker(self._workspace.path / self._kind.broker_name)
        try:
            with ThreadPoolExecutor(max_workers=2) as both:
                starting = [both.submit(server.start, progress) for server in (self._broker, self._postgres)]
            for future in starting:
                future.result()
        except BaseException:
            self.stop()
            raise
        return Endpoints(
            brokers=self._broker.address,
            database_url=self._postgres.url,
            broker_kind=self._kind.broker_kind,
            fetch_max_wait_ms=self._kind.fetch_max_wait_ms,
            replication=1,
            description=self._kind.description,
        )

    def stop(self) -> None:
        for server in (self._broker, self._postgres):
            if server is not None:
                server.stop()
        self._broker = self._postgres = None
        if self._workspace is not None:
            self._workspace.remove()
            self._workspace = None

    def restart_broker(self) -> None:
        self._started(self._broker).restart()

    def restart_database(self) -> None:
        self._started(self._postgres).restart()

    def kill_broker(self) -> None:
        """End the broker as a crash would; :meth:`restart_broker` brings it back."""
        self._started(self._broker).kill()

    def kill_database(self) -> None:
        """End PostgreSQL as a crash would; :meth:`restart_database` brings it back, recovered."""
        self._started(self._postgres).kill()

    def pids(self) -> Mapping[str, int]:
        servers: dict[str, Server | None] = {self._kind.broker_name: self._broker, "postgres": self._postgres}
        return {name: server.pid for name, server in servers.items() if server is not None and server.pid is not None}

    def _started(self, server: ServerT | None) -> ServerT:
        if server is None:
            raise StackError(f"the {self.name} stack does not run; start it first")
        return server


EMBEDDED = Kind(
    name="embedded",
    parts=frozenset({"postgres"}),
    broker=Tansu,
    broker_name="tansu",
    broker_kind="tansu",
    # A waiting fetch wakes only every half of this there, whatever arrives meanwhile.
    fetch_max_wait_ms=30,
    description="PostgreSQL and the Tansu broker (Kafka protocol, in memory), both from wheels",
    unavailable=tansu.unavailable,
)

KAFKA = Kind(
    name="kafka",
    parts=frozenset({"kafka", "postgres", "java"}),
    broker=Kafka,
    broker_name="kafka",
    broker_kind="kafka",
    fetch_max_wait_ms=500,
    description="Apache Kafka as a local process (KRaft, one node) and PostgreSQL from a wheel",
    unavailable=kafka_jars.unavailable,
)
