"""Every exception of the project, in one tree.

    SagaError
    ├── UsageError                 the caller asked for something that makes no sense   (exit code 2)
    │   ├── InvalidSettings        a setting is missing or malformed
    │   └── InvalidDefinition      a saga definition that could not be undone
    ├── Unreachable                a broker, database or service does not answer        (exit code 3)
    │   ├── BrokerUnreachable
    │   ├── DatabaseUnreachable
    │   └── ServiceUnreachable
    ├── StackError                 a local broker or database could not be started
    │   └── StackUnavailable       this machine lacks what the stack needs
    ├── PoisonMessage              a record that no amount of retrying will make readable
    └── TransientFailure           a worker could not act now; nothing was stored; try the command again later

Messages say what happened, to what, and what to do next.
"""

from __future__ import annotations


class SagaError(Exception):
    """Root of everything this project raises on purpose."""

    exit_code = 1


class UsageError(SagaError):
    """The caller asked for something that makes no sense; nothing was done."""

    exit_code = 2


class InvalidSettings(UsageError):
    """A setting is missing or malformed."""


class InvalidDefinition(UsageError):
    """A saga definition that could not be carried out or undone; raised at import."""


class Unreachable(SagaError):
    """Something this process depends on does not answer."""

    exit_code = 3


class BrokerUnreachable(Unreachable):
    """No Kafka broker answers at the configured addresses."""


class DatabaseUnreachable(Unreachable):
    """PostgreSQL does not answer, or refuses the credentials."""


class ServiceUnreachable(Unreachable):
    """An HTTP or SMTP service does not answer."""


class StackError(SagaError):
    """A local broker or database could not be started or stopped."""


class StackUnavailable(StackError):
    """This machine lacks what the asked-for stack needs (Java, Maven, Docker, a wheel)."""


class PoisonMessage(SagaError):
    """A record that no amount of retrying will make readable; it goes to the dead-letter topic.

    ``cause`` is one of the low-cardinality names in :mod:`saga.messaging.deadletter`.
    """

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


class TransientFailure(SagaError):
    """A worker could not act now and stored nothing; the orchestrator's retry schedule sends the command again."""

    def __init__(self, error_type: str, detail: str) -> None:
        super().__init__(f"{error_type}: {detail}")
        self.error_type = error_type
