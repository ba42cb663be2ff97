"""What a stack is: a broker and a database that somebody started, and the addresses at which they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[str], None]
"""Told what is being done, one short line at a time."""


def silent(message: str) -> None:
    """A :data:`Progress` for those who do not want to know."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a started stack answers, and what its broker can do.

    ``database_url`` may hold a password: it belongs in an environment or a file of mode 0600, never in output.
    """

    brokers: str
    database_url: str
    broker_kind: str  # "kafka", or "tansu": no idempotent producers there
    fetch_max_wait_ms: int
    replication: int
    description: str

    def environment(self) -> dict[str, str]:
        """The ``SAGA_*`` variables that lead a process to this stack."""
        return {
            "SAGA_BROKERS": self.brokers,
            "SAGA_DATABASE_URL": self.database_url,
            "SAGA_BROKER_KIND": self.broker_kind,
            "SAGA_FETCH_MAX_WAIT_MS": str(self.fetch_max_wait_ms),
            "SAGA_REPLICATION": str(self.replication),
        }


class Stack(Protocol):
    """A broker and a database that can be started and stopped together. Calls block, and are not for
    two threads at once.

    ``parts`` names what is the real thing here (``kafka``, ``postgres``, ``java``, ``docker``): tests that need a part
    ask for it by that name.
    """

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> frozenset[str]: ...

    def availability(self) -> str | None:
        """Why this stack cannot run on this machine, and what to do about it; ``None`` when it can."""

    def start(self, progress: Progress = silent) -> Endpoints:
        """Start both and return once both answer. Raises :class:`saga.errors.StackError`, leaving nothing behind."""

    def stop(self) -> None:
        """Stop both and remove what they stored; harmless when nothing runs."""

    def restart_broker(self) -> None:
        """Stop the broker cleanly and start it again at the same address; Kafka keeps its data, Tansu loses it."""

    def restart_database(self) -> None:
        """Stop PostgreSQL cleanly and start it again at the same address, with its data."""

    def pids(self) -> Mapping[str, int]:
        """The processes that run now, by what they are; empty for a stack that is not ours to run."""
