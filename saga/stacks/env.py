"""A broker and a database that somebody else runs, at the addresses of ``SAGA_BROKERS`` and ``SAGA_DATABASE_URL``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from saga.errors import StackError, StackUnavailable
from saga.settings import Settings
from saga.stacks.base import Endpoints, Progress, silent
from saga.stacks.probe import broker_answers, database_answers

_NEEDED = ("SAGA_BROKERS", "SAGA_DATABASE_URL")


class EnvStack:
    """Started by others; nothing here starts, restarts or stops it."""

    name = "env"

    @property
    def parts(self) -> frozenset[str]:
        kind = Settings().broker_kind
        return frozenset({"postgres", "kafka"} if kind == "kafka" else {"postgres"})

    def availability(self) -> str | None:
        missing = [name for name in _NEEDED if not os.environ.get(name)]
        if missing:
            return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set in the environment"
        return None

    def start(self, progress: Progress = silent) -> Endpoints:
        reason = self.availability()
        if reason is not None:
            raise StackUnavailable(f"the env stack cannot be used: {reason}")
        settings = Settings()
        progress(f"asking the broker at {settings.brokers} and the database of SAGA_DATABASE_URL")
        # A broker that wants TLS or a password cannot be asked so plainly: the first role to connect will say.
        plain = settings.kafka_security_protocol == "PLAINTEXT"
        if plain and not any(broker_answers(address.strip()) for address in settings.brokers.split(",")):
            raise StackUnavailable(
                f"no Kafka broker answers at SAGA_BROKERS={settings.brokers}; start it, or correct that"
            )
        url = settings.database_url.get_secret_value()
        if not database_answers(url):
            raise StackUnavailable("PostgreSQL does not answer at SAGA_DATABASE_URL; start it, or correct that")
        return Endpoints(
            brokers=settings.brokers,
            database_url=url,
            broker_kind=settings.broker_kind,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            replication=settings.replication,
            description="the broker and the database named in the environment",
        )

    def stop(self) -> None:
        """Nothing: whoever runs it stops it."""

    def restart_broker(self) -> None:
        raise StackError("the env stack is run by others; restart its broker where it runs")

    def restart_database(self) -> None:
        raise StackError("the env stack is run by others; restart its database where it runs")

    def pids(self) -> Mapping[str, int]:
        return {}
