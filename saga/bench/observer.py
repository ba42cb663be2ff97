"""Watching sagas end, without taking part: a consumer without a group reads requests and outcomes as they are written.

All times are the records' own timestamps, as their producers set them: when somebody asked, and when the outcome was
handed to the broker. Milliseconds since the epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from saga.messaging.kafka import client_options, unreachable
from saga.messaging.wire import CE_TYPE

if TYPE_CHECKING:
    from saga.settings import Settings

_FAILED = b"BookingFailed"  # its body says whether it timed out
_OUTCOMES = {b"BookingConfirmed": "CONFIRMED", b"BookingCancelled": "CANCELLED"}
# Seldom and much at a time: the timestamps do not depend on it, and the machine is somebody else's to use.
_GATHER_BYTES, _GATHER_MS = 65_536, 250
_STALLED_S = 60.0


@dataclass(slots=True)
class Seen:
    """What was read so far, by key. The first outcome of a booking counts; further ones are ``repeated``."""

    asked_ms: dict[str, int] = field(default_factory=dict)
    ended_ms: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a set of bookings. ``latencies_ms`` are sorted; ``seconds`` is first request to last outcome."""

    asked: int
    outcomes: dict[str, int]
    latencies_ms: tuple[int, ...]
    seconds: float

    @property
    def unfinished(self) -> int:
        """Bookings without an outcome."""
        return self.asked - len(self.latencies_ms)

    @property
    def per_second(self) -> float:
        """Bookings ended, by the time it took."""
        return len(self.latencies_ms) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float | None:
        """The latency that so many percent do not exceed (nearest rank); None where none ended."""
        if not self.latencies_ms:
            return None
        rank = -(-len(self.latencies_ms) * percent // 100)
        return float(self.latencies_ms[max(0, int(rank) - 1)])


class Observer:
    """Reads ``asked`` and ``ended`` (topics without prefix) from their ends on; an async context manager."""

    def __init__(self, settings: Settings, asked: str, ended: str) -> None:
        self._settings = settings
        self._asked = settings.topic_prefix + asked
        self._ended = settings.topic_prefix + ended
        self._consumer = AIOKafkaConsumer(
            **client_options(settings, "bench-observer"),
            group_id=None,
            enable_auto_commit=False,
            fetch_min_bytes=_GATHER_BYTES,
            fetch_max_wait_ms=_GATHER_MS if settings.broker_kind == "kafka" else settings.fetch_max_wait_ms,
        )
        self._getmany = getattr(self._consumer.getmany, "__wrapped__", self._consumer.getmany)
        # A consumer that reads knows its own topics only; this one is there to be asked about the others.
        self._clerk = AIOKafkaConsumer(
            **client_options(settings, "bench-clerk"), group_id=None, enable_auto_commit=False
        )
        self._reading: asyncio.Task[None] | None = None
        self.seen = Seen()

    async def __aenter__(self) -> Self:
        try:
            await self._clerk.start()
            await self._consumer.start()
            places = [*self._places(self._asked), *self._places(self._ended)]
            self._consumer.assign(places)
            await self._consumer.seek_to_end(*places)
        except (KafkaError, OSError) as error:
            await self._stop()
            raise unreachable(self._settings, error) from error
        except BaseException:
            await self._stop()
            raise
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError, KafkaError, OSError):
                await self._reading
        finally:
            await self._stop()

    async def _stop(self) -> None:
        await self._consumer.stop()
        await self._clerk.stop()

    async def end_offsets(self, topics: Iterable[str]) -> dict[str, int]:
        """How many records each of ``topics`` (without prefix) has ever held."""
        names = {self._settings.topic_prefix + topic: topic for topic in topics}
        total = dict.fromkeys(names.values(), 0)
        places = [place for name in names for place in self._places(name)]
        for place, offset in (await self._ends(places)).items():
            total[names[place.topic]] += offset
        return total

    async def _ends(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self._settings.broker_kind == "kafka":
            ends: dict[TopicPartition, int] = await self._clerk.end_offsets(places)
            return ends
        # Tansu names the offset at which the last batch begins as the end: the true one is found by reading up to it.
        if set(places) != self._clerk.assignment():
            self._clerk.assign(places)
            await self._clerk.seek_to_beginning(*places)
        while await self._clerk.getmany(timeout_ms=500):
            pass
        return {place: await self._clerk.position(place) for place in places}

    def _places(self, topic: str) -> list[TopicPartition]:
        # The topics of a measurement are created by it, with as many partitions as the settings say.
        return [TopicPartition(topic, number) for number in range(self._settings.partitions)]

    async def wait(
        self, keys: Collection[str], tell: Callable[[int, float], None], *, stalled_s: float = _STALLED_S
    ) -> Ended:
        """Wait until every booking of ``keys`` has ended, or none has for ``stalled_s`` seconds.

        ``tell`` is given, every few seconds, how many have ended and how many seconds it has been.
        """
        assert self._reading is not None
        wanted = set(keys)
        begun = changed = told = time.monotonic()
        before = -1
        while True:
            done = sum(1 for key in wanted if key in self.seen.ended_ms)
            now = time.monotonic()
            if done != before:
                before, changed = done, now
            if done == len(wanted) or now - changed > stalled_s:
                return self._ended_of(wanted)
            if now - told > 5:
                told = now
                tell(done, now - begun)
            if self._reading.done():
                await self._reading  # raises what ended it
            await asyncio.sleep(0.1)

    def _ended_of(self, keys: set[str]) -> Ended:
        seen = self.seen
        ended = [key for key in keys if key in seen.ended_ms and key in seen.asked_ms]
        outcomes: dict[str, int] = {}
        for key in ended:
            outcomes[seen.outcomes[key]] = outcomes.get(seen.outcomes[key], 0) + 1
        latencies = sorted(seen.ended_ms[key] - seen.asked_ms[key] for key in ended)
        first = min((seen.asked_ms[key] for key in keys if key in seen.asked_ms), default=0)
        last = max((seen.ended_ms[key] for key in ended), default=first)
        return Ended(len(keys), dict(sorted(outcomes.items())), tuple(latencies), (last - first) / 1000)

    async def _read(self) -> None:
        while True:
            for place, records in (await self._getmany(timeout_ms=1_000, max_records=5_000)).items():
                take = self._take_ended if place.topic == self._ended else self._take_asked
                for record in records:
                    take(record)

    def _take_asked(self, record: Any) -> None:
        self.seen.asked_ms.setdefault(record.key.decode(), record.timestamp)

    def _take_ended(self, record: Any) -> None:
        key = record.key.decode()
        if key in self.seen.ended_ms:
            self.seen.repeated += 1
            return
        self.seen.ended_ms[key] = record.timestamp
        self.seen.outcomes[key] = _outcome(record)


def _outcome(record: Any) -> str:
    for name, value in record.headers:
        if name == CE_TYPE:
            kind = value.split(b".")[-2] if b"." in value else value
            return str(json.loads(record.value)["status"]) if kind == _FAILED else _OUTCOMES.get(kind, "ENDED")
    return "ENDED"
