"""The broker seam in memory: topics as lists, groups as offsets. For tests of the delivery logic, not for data."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

from saga.errors import BrokerUnreachable
from saga.messaging.broker import OnRevoked, Outbound, Partition, Record
from saga.telemetry.messaging import Origin, send_span
from saga.telemetry.spans import Recorder


class MemoryBroker:
    """Topics with ``partitions`` each. ``away`` makes every publish fail, as a broker that cannot be reached does."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.away = False
        self.committed: dict[str, dict[Partition, int]] = defaultdict(dict)
        self._logs: dict[Partition, list[Record]] = defaultdict(list)
        self._arrived = asyncio.Condition()

    def records(self, topic: str) -> list[Record]:
        """Everything on ``topic``, partition by partition."""
        return [record for n in range(self.partitions) for record in self._logs[Partition(topic, n)]]

    def end(self, partition: Partition) -> int:
        """The offset that the next record of ``partition`` will have."""
        return len(self._logs[partition])

    async def append(self, outbound: Outbound) -> Record:
        """Write one record; the key decides on the partition."""
        if self.away:
            raise BrokerUnreachable("the memory broker is away; set away to False")
        partition = Partition(outbound.topic, crc32(outbound.key) % self.partitions)
        log = self._logs[partition]
        origin = Origin(partition.topic, partition.number, len(log))
        record = Record(origin, outbound.key, outbound.value, outbound.headers, time.time_ns() // 1_000_000)
        log.append(record)
        async with self._arrived:
            self._arrived.notify_all()
        return record

    async def read(self, positions: dict[Partition, int], max_records: int, timeout_ms: int) -> list[Record]:
        """The next records after ``positions``, which move on; waits up to ``timeout_ms`` for the first."""
        try:
            async with asyncio.timeout(timeout_ms / 1000), self._arrived:
                await self._arrived.wait_for(lambda: any(len(self._logs[p]) > n for p, n in positions.items()))
        except TimeoutError:
            return []
        taken: list[Record] = []
        for partition, position in positions.items():
            batch = self._logs[partition][position : position + max_records - len(taken)]
            positions[partition] = position + len(batch)
            taken += batch
        return taken


class MemoryPublisher:
    """Writes to a :class:`MemoryBroker`, with a span per record."""

    def __init__(self, broker: MemoryBroker, recorder: Recorder) -> None:
        self._broker = broker
        self._recorder = recorder

    async def publish(self, records: Sequence[Outbound]) -> None:
        """See :class:`saga.messaging.broker.Publisher`."""
        for outbound in records:
            start_ns = time.time_ns()
            record = await self._broker.append(outbound)
            if outbound.context is not None:
                self._recorder.record(
                    send_span(
                        topic=outbound.topic,
                        key=outbound.key.decode(),
                        message_id=outbound.message_id,
                        attempt=outbound.attempt,
                        context=outbound.context,
                        parent=outbound.parent,
                        start_ns=start_ns,
                        end_ns=time.time_ns(),
                        partition=record.origin.partition,
                        offset=record.origin.offset,
                    )
                )


class MemorySubscription:
    """Reads all partitions of ``topics`` from where ``group`` has committed."""

    def __init__(self, broker: MemoryBroker, group: str, topics: Collection[str]) -> None:
        self._broker = broker
        self._group = group
        committed = broker.committed[group]
        partitions = [Partition(topic, n) for topic in topics for n in range(broker.partitions)]
        self._positions = {partition: committed.get(partition, 0) for partition in partitions}
        self._revoked: OnRevoked | None = None
        self._held: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        """See :class:`saga.messaging.broker.Subscription`."""
        return self._group

    def on_revoked(self, callback: OnRevoked) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        self._revoked = callback

    def hold(self, topics: Collection[str], *, held: bool) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        self._held = frozenset(topics) if held else frozenset()

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """See :class:`saga.messaging.broker.Subscription`."""
        free = {partition: at for partition, at in self._positions.items() if partition.topic not in self._held}
        records = await self._broker.read(free, max_records, timeout_ms)
        self._positions.update(free)
        return records

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        self._broker.committed[self._group].update(offsets)

    async def lag(self) -> Mapping[Partition, int]:
        """See :class:`saga.messaging.broker.Subscription`."""
        return {partition: self._broker.end(partition) - at for partition, at in self._positions.items()}

    async def close(self) -> None:
        """Give the partitions up, as a member that leaves its group does."""
        if self._revoked is not None:
            await self._revoked(list(self._positions))
