"""What a saga costs in records, rows, commits and spans, measured on the run so that the pump can do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from saga.bench.meter import Arrived, Spent
from saga.messaging.kafka import client_options, unreachable
from schemas import topics as all_topics

if TYPE_CHECKING:
    from saga.settings import Settings

_NEGLIGIBLE = 0.01  # repetitions per saga
_SAMPLED = 100  # records from the end of each partition
_COMMANDS = (all_topics.AVAILABILITY, all_topics.LOCKING, all_topics.PAYMENT, all_topics.CONFIRMATION)

PUMP_TOPICS: Mapping[str, str] = {
    topic: f"bench.pump{topic.removeprefix('booking')}"
    for topic in (all_topics.REQUESTS, *_COMMANDS, all_topics.REPLIES, all_topics.EVENTS)
}
"""The pump's topics, by the saga's topics whose place they take."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One record of a chain: its topic, the sizes in bytes of value, key and each header, and in how many chains it is.

    A command and the reply after it have the same ``share``: a chain has both or neither.
    """

    topic: str
    value: int
    key: int
    headers: tuple[tuple[str, int], ...]
    share: float = 1.0

    @property
    def bytes(self) -> int:
        """Key, value and headers together."""
        return self.value + self.key + sum(len(name) + size for name, size in self.headers)


@dataclass(frozen=True, slots=True)
class Shape:
    """One saga as the pump sees it. Rows, commits and spans are per saga; rows and commits without the collector's."""

    hops: tuple[Hop, ...]
    rows: float
    row_bytes: int
    commits: float
    spans: float

    def as_json(self) -> dict[str, Any]:
        """For an order to the pump."""
        return asdict(self)

    @property
    def messages(self) -> float:
        """Records per saga."""
        return sum(hop.share for hop in self.hops)

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Shape:
        """What :meth:`as_json` gave."""
        hops = tuple(
            Hop(
                hop["topic"],
                hop["value"],
                hop["key"],
                tuple((name, size) for name, size in hop["headers"]),
                hop["share"],
            )
            for hop in words["hops"]
        )
        return cls(hops, words["rows"], words["row_bytes"], words["commits"], words["spans"])


def chain(records: Mapping[str, int], sagas: int) -> tuple[tuple[str, float], ...]:
    """The topics that a saga's records pass, in order, each with the share of sagas whose records pass it.

    A request, then commands, each with its reply, then the event. A command that was sent more often than once a saga
    (contention, repetition) is followed by as many more of it, the last of them for a part of the sagas only.
    """
    passed = [(all_topics.REQUESTS, 1.0)]
    for command in _COMMANDS:
        times = max(1.0, records.get(command, 0) / sagas)
        for number in range(ceil(times - _NEGLIGIBLE)):
            share = min(1.0, times - number)
            passed += [(command, share), (all_topics.REPLIES, share)]
    return (*passed, (all_topics.EVENTS, 1.0))


def make_shape(
    spent: Spent, arrived: Arrived, rows: Mapping[str, float], row_bytes: int, hops: Mapping[str, Hop], sagas: int
) -> Shape:
    """The shape of a run of ``sagas``; ``rows`` are per saga by table, ``hops`` by the saga's topic."""
    return Shape(
        tuple(replace(hops[topic], share=share) for topic, share in chain(spent.records, sagas)),
        sum(rows.values()),
        row_bytes,
        max(0, spent.writes - arrived.commits) / sagas,
        arrived.spans / sagas,
    )


async def sample_hops(settings: Settings) -> dict[str, Hop]:
    """The mean record of each of the saga's topics. Raises :class:`BrokerUnreachable`."""
    consumer = AIOKafkaConsumer(**client_options(settings, "bench-sampler"), group_id=None, enable_auto_commit=False)
    getmany = getattr(consumer.getmany, "__wrapped__", consumer.getmany)
    try:
        await consumer.start()
        hops = {}
        for topic, pump_topic in PUMP_TOPICS.items():
            places = [TopicPartition(settings.topic_prefix + topic, number) for number in range(settings.partitions)]
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            consumer.assign([place for place in places if ends[place] > starts[place]])
            expected = 0
            for place in consumer.assignment():
                first = max(starts[place], ends[place] - _SAMPLED)
                expected += ends[place] - first
                consumer.seek(place, first)
            records: list[Any] = []
            while len(records) < expected:
                batches = await getmany(timeout_ms=1_000)
                records += [record for batch in batches.values() for record in batch]
            hops[topic] = _mean_hop(pump_topic, records)
        return hops
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from error
    finally:
        await consumer.stop()


def _mean_hop(topic: str, records: Sequence[Any]) -> Hop:
    if not records:
        return Hop(topic, 2, 16, ())
    value = round(sum(len(record.value) for record in records) / len(records))
    key = round(sum(len(record.key) for record in records) / len(records))
    typical = sorted(records, key=lambda record: sum(len(raw) for _, raw in record.headers))[len(records) // 2]
    return Hop(topic, value, key, tuple((name, len(raw)) for name, raw in typical.headers))
