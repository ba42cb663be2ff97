"""Topics read from outside: by a plain consumer without a group, from one offset to another, disturbing nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from saga.errors import BrokerUnreachable
from saga.messaging.broker import Record
from saga.messaging.kafka import client_options, unreachable
from saga.telemetry.messaging import Origin

if TYPE_CHECKING:
    from saga.settings import Settings

_CLIENT = "booking-saga-audit"
_POLL_MS = 500
_POLL_RECORDS = 2_000
_IDLE_POLLS = 40


async def existing_topics(settings: Settings) -> frozenset[str]:
    """The names of all topics, with prefixes. Raises :class:`BrokerUnreachable`."""
    options = client_options(settings, _CLIENT)
    admin = AIOKafkaAdminClient(**{k: v for k, v in options.items() if k != "metadata_max_age_ms"})
    try:
        await admin.start()
        return frozenset(await admin.list_topics())
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


async def committed_offsets(settings: Settings, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Up to where ``group`` has committed in ``topic``, by partition; those where it never has are left out.

    Names are with prefix. The group is asked, not joined. Raises :class:`BrokerUnreachable`.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings, _CLIENT), group_id=group, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        await consumer.start()
        known = {number: await consumer.committed(TopicPartition(topic, number)) for number in partitions}
        return {number: offset for number, offset in known.items() if offset is not None}
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from error
    finally:
        await consumer.stop()


class TopicReader:
    """Reads one topic. ``begin`` and ``end`` are offsets by partition: the oldest retained, one past the last."""

    def __init__(self, settings: Settings, topic: str, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer
        self._partitions = [TopicPartition(topic, p.partition) for p in consumer.assignment()]
        # The instrumentation, where it is on, would make a span of every record.
        self._getmany: Any = getattr(consumer.getmany, "__wrapped__", consumer.getmany)
        self.topic = topic
        self.begin: Mapping[int, int] = {}
        self.end: Mapping[int, int] = {}

    async def look(self) -> None:
        """Find out how far the topic reaches now."""
        begin = await self._consumer.beginning_offsets(self._partitions)
        end = await self._consumer.end_offsets(self._partitions)
        if self._settings.broker_kind == "tansu":
            end = await self._correct(end)
        self.begin = {p.partition: offset for p, offset in begin.items()}
        self.end = {p.partition: offset for p, offset in end.items()}

    async def _correct(self, end: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Tansu's answer about a partition's end may leave out its last record; what a fetch says is right."""
        for partition, offset in end.items():
            self._consumer.seek(partition, offset)
        await self._getmany(*self._partitions, timeout_ms=2 * self._settings.fetch_max_wait_ms)
        return {p: max(offset, self._consumer.highwater(p) or 0) for p, offset in end.items()}

    async def read(self, start: Mapping[int, int] | None = None) -> AsyncIterator[Record]:
        """Every retained record up to ``end``, from the beginning, or from ``start`` in the partitions that it names.

        Partitions come in turns; within one the order is that of its offsets. Raises :class:`BrokerUnreachable`.
        """
        wanted = self.begin if start is None else start
        open_ = []
        for partition in self._partitions:
            number = partition.partition
            if number not in wanted or max(wanted[number], self.begin[number]) >= self.end[number]:
                continue
            self._consumer.seek(partition, max(wanted[number], self.begin[number]))
            open_.append(partition)
        idle = 0
        while open_:
            try:
                batches = await self._getmany(*open_, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            except (KafkaError, OSError) as error:
                raise unreachable(self._settings, error) from error
            idle = 0 if batches else idle + 1
            if idle > _IDLE_POLLS:
                raise BrokerUnreachable(f"{self.topic} ends before offset {self.end}; is the broker still there?")
            for partition, batch in batches.items():
                last = self.end[partition.partition]
                for raw in batch:
                    if raw.offset < last:
                        origin = Origin(partition.topic, partition.partition, raw.offset)
                        yield Record(origin, raw.key, raw.value, tuple(raw.headers), raw.timestamp)
            for partition in list(open_):
                # The position also passes what is never delivered, such as the marks that end transactions.
                if await self._consumer.position(partition) >= self.end[partition.partition]:
                    open_.remove(partition)


@asynccontextmanager
async def reading(settings: Settings, topic: str) -> AsyncIterator[TopicReader]:
    """Open ``topic`` (with its prefix), which must exist. Raises :class:`BrokerUnreachable`."""
    consumer = AIOKafkaConsumer(
        topic,
        **client_options(settings, _CLIENT),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        max_partition_fetch_bytes=4 * 1_048_576,
    )
    try:
        await consumer.start()
        reader = TopicReader(settings, topic, consumer)
        await reader.look()
    except (KafkaError, OSError) as error:
        await consumer.stop()
        raise unreachable(settings, error) from error
    try:
        yield reader
    finally:
        await consumer.stop()
