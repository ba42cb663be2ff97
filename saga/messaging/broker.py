"""The broker seam: what the saga needs of Kafka, and no more. ``kafka`` and ``memory`` implement it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from saga.telemetry.messaging import Origin
from saga.telemetry.spans import SpanContext

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read. ``timestamp_ms`` is the record's own."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def partition(self) -> Partition:
        """Where it stands."""
        return Partition(self.origin.topic, self.origin.partition)


@dataclass(frozen=True, slots=True)
class Outbound:
    """One record to be written. ``headers`` hold ``context`` as their only ``traceparent``."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    message_id: str
    attempt: int = 1
    context: SpanContext | None = None
    parent: SpanContext | None = None


class Publisher(Protocol):
    """Writes records; keeps the order in which it was called."""

    async def publish(self, records: Sequence[Outbound]) -> None:
        """Write all of ``records`` and return when the broker has acknowledged each.

        Records their ``send T`` spans. Raises :class:`saga.errors.BrokerUnreachable`; then any of them may or may not
        have been written, and calling again with the same records is right.
        """
        ...


OnRevoked = Callable[[Collection[Partition]], Awaitable[None]]


class Subscription(Protocol):
    """Reads records as a member of a consumer group."""

    @property
    def group(self) -> str:
        """The consumer group's name."""
        ...

    def on_revoked(self, callback: OnRevoked) -> None:
        """Have ``callback`` awaited before partitions are given to somebody else."""
        ...

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """The next records, or none after ``timeout_ms``."""
        ...

    def hold(self, topics: Collection[str], *, held: bool) -> None:
        """Stop (or start again) reading ``topics``, full names; asked before each poll, so it must be cheap."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Remember ``offsets`` for the group. A commit refused because the group has moved on is not an error."""
        ...

    async def lag(self) -> Mapping[Partition, int]:
        """How many records behind the end each assigned partition is."""
        ...

    async def close(self) -> None:
        """Leave the group."""
        ...
