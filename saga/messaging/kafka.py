"""The broker seam on Apache Kafka (and on brokers that speak its protocol), by aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, MessageSizeTooLargeError
from aiokafka.helpers import create_ssl_context

from saga.errors import BrokerUnreachable
from saga.messaging.broker import OnRevoked, Outbound, Partition, Record
from saga.telemetry import names
from saga.telemetry.afterwards import at_once
from saga.telemetry.instrumentation import our_own_send
from saga.telemetry.messaging import Origin, send_span

if TYPE_CHECKING:
    from saga.settings import Settings
    from saga.telemetry.meters import Meters
    from saga.telemetry.spans import Recorder

_MAX_REQUEST = 1_048_576


def client_options(settings: Settings, client_id: str) -> dict[str, Any]:
    """What every aiokafka client of this environment is given: addresses and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.brokers,
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
        "request_timeout_ms": 15_000,
        "metadata_max_age_ms": 60_000,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = create_ssl_context(
            cafile=str(settings.kafka_ca_file) if settings.kafka_ca_file else None,
            certfile=str(settings.kafka_cert_file) if settings.kafka_cert_file else None,
            keyfile=str(settings.kafka_key_file) if settings.kafka_key_file else None,
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


def unreachable(settings: Settings, error: Exception) -> BrokerUnreachable:
    """The error to raise when the broker does not answer."""
    return BrokerUnreachable(
        f"no Kafka broker answers at {settings.brokers} ({type(error).__name__}: {error}); "
        "check SAGA_BROKERS, or start a stack with `saga up`"
    )


class KafkaPublisher:
    """Writes records through one idempotent producer; a producer that has failed is replaced.

    ``afterwards`` may put off the telling; without it spans are recorded before :meth:`publish` returns.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        recorder: Recorder,
        meters: Meters,
        afterwards: Callable[[Callable[[], None]], None] = at_once,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._recorder = recorder
        self._meters = meters
        self._afterwards = afterwards
        self._producer: AIOKafkaProducer | None = None
        # First come, first sent: two batches of one saga never overtake each other on their way to the broker.
        self._order = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises :class:`BrokerUnreachable`."""
        async with self._order:
            await self._connected()

    async def close(self) -> None:
        """Send what is buffered and disconnect."""
        async with self._order:
            producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def publish(self, records: Sequence[Outbound]) -> None:
        """See :class:`saga.messaging.broker.Publisher`."""
        if not records:
            return
        start_ns = time.time_ns()
        acks: list[asyncio.Future[Any]] = []
        failure: Exception | None = None
        async with self._order:
            producer = await self._connected()
            # The instrumentation would find its work done (see saga.telemetry.instrumentation): going round it halves
            # the cost of a send.
            send = getattr(producer.send, "__wrapped__", producer.send)
            with our_own_send():
                for record in records:
                    try:
                        headers = list(record.headers)
                        acks.append(await send(record.topic, record.value, record.key, headers=headers))
                    except (KafkaError, OSError) as error:
                        failure = error
                        break
        if acks:
            await asyncio.wait(acks)
        end_ns = time.time_ns()
        failure = next((found for ack in acks if (found := _failed(ack)) is not None), failure)
        self._afterwards(partial(self._tell, records, acks, start_ns, end_ns, failure))
        if failure is not None:
            if not isinstance(failure, MessageSizeTooLargeError):
                await self._discard(producer)
            raise unreachable(self._settings, failure) from failure

    def _tell(
        self,
        records: Sequence[Outbound],
        acks: Sequence[asyncio.Future[Any]],
        start_ns: int,
        end_ns: int,
        failure: Exception | None,
    ) -> None:
        """Record a span per record and count them."""
        sent: dict[str, int] = {}
        for record, ack in zip(records, acks, strict=False):
            error = asyncio.CancelledError() if ack.cancelled() else ack.exception()
            place = None if error is not None else ack.result()
            sent[record.topic] = sent.get(record.topic, 0) + 1
            if record.context is None:
                continue
            self._recorder.record(
                send_span(
                    topic=record.topic,
                    key=record.key.decode(),
                    message_id=record.message_id,
                    attempt=record.attempt,
                    context=record.context,
                    parent=record.parent,
                    start_ns=start_ns,
                    end_ns=end_ns,
                    partition=None if place is None else place.partition,
                    offset=None if place is None else place.offset,
                    error_type=None if error is None else type(error).__name__,
                )
            )
        for topic, count in sent.items():
            attributes = _attributes(topic, "send", failure)
            self._meters.sent.add(count, attributes)
            self._meters.operation_duration.record((end_ns - start_ns) / 1e9, attributes)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            idempotent = self._settings.broker_kind == "kafka"
            producer = AIOKafkaProducer(
                **client_options(self._settings, self._client_id),
                acks="all",
                enable_idempotence=idempotent,
                # No lingering: while one request is under way the next batch fills up by itself.
                linger_ms=0,
                max_batch_size=131_072,
                max_request_size=_MAX_REQUEST,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await producer.stop()
                raise unreachable(self._settings, error) from error
            self._producer = producer
        return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        async with self._order:
            if self._producer is producer:
                self._producer = None
        # Its buffers hold only what has failed; waiting for them would repeat the time-out.
        task = asyncio.create_task(producer.stop())
        await asyncio.wait({task}, timeout=2)


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    """Reads topics as a member of a group, starting at the earliest record; offsets are committed by hand only."""

    def __init__(self, settings: Settings, client_id: str, group: str, topics: Collection[str], meters: Meters) -> None:
        self._settings = settings
        self._group = settings.topic_prefix + group
        self._topics = [settings.topic_prefix + topic for topic in topics]
        self._meters = meters
        self._revoked: OnRevoked | None = None
        self.assigned = asyncio.Event()
        self._consumer = AIOKafkaConsumer(
            **client_options(settings, client_id),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            max_partition_fetch_bytes=_MAX_REQUEST,
            max_poll_interval_ms=300_000,
            **_membership(settings, self._group),
        )
        # The instrumentation would wrap every record received in a span that is over before anyone looks at it.
        self._getmany = getattr(self._consumer.getmany, "__wrapped__", self._consumer.getmany)

    @property
    def group(self) -> str:
        """The consumer group's name, with the environment's prefix."""
        return self._group

    async def start(self) -> None:
        """Join the group. Raises :class:`BrokerUnreachable`."""
        self._consumer.subscribe(self._topics, listener=self)
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            raise unreachable(self._settings, error) from error

    def on_revoked(self, callback: OnRevoked) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        self._revoked = callback

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """aiokafka's callback before a rebalance."""
        if self._revoked is not None and revoked:
            await self._revoked([Partition(p.topic, p.partition) for p in revoked])

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """aiokafka's callback after a rebalance."""
        self.assigned.set()

    def hold(self, topics: Collection[str], *, held: bool) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        paused = self._consumer.paused()
        # Asked for anew each time, because a rebalance forgets what was paused.
        for partition in self._consumer.assignment():
            if partition.topic in topics and (partition in paused) is not held:
                (self._consumer.pause if held else self._consumer.resume)(partition)

    async def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """See :class:`saga.messaging.broker.Subscription`."""
        batches = await self._getmany(timeout_ms=timeout_ms, max_records=max_records)
        records: list[Record] = []
        for partition, batch in batches.items():
            attributes = _attributes(partition.topic, "poll", None) | {names.GROUP: self._group}
            self._meters.consumed.add(len(batch), attributes)
            records += [
                Record(
                    Origin(partition.topic, partition.partition, raw.offset),
                    raw.key,
                    raw.value,
                    tuple(raw.headers),
                    raw.timestamp,
                )
                for raw in batch
            ]
        return records

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        assigned = self._consumer.assignment()
        ours = {
            TopicPartition(p.topic, p.number): offset
            for p, offset in offsets.items()
            if TopicPartition(p.topic, p.number) in assigned
        }
        if not ours:
            return
        try:
            await self._consumer.commit(ours)
        except (CommitFailedError, IllegalStateError):
            # The group has moved on; whoever owns the partitions now is given these records again, and knows them.
            return
        except KafkaError as error:
            raise unreachable(self._settings, error) from error

    async def lag(self) -> Mapping[Partition, int]:
        """See :class:`saga.messaging.broker.Subscription`."""
        lags = {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            if end is not None:
                try:
                    position = await asyncio.wait_for(self._consumer.position(partition), 1)
                except (TimeoutError, KafkaError):
                    continue
                lags[Partition(partition.topic, partition.partition)] = max(0, end - position)
        return lags

    async def close(self) -> None:
        """See :class:`saga.messaging.broker.Subscription`."""
        await self._consumer.stop()


def _failed(ack: asyncio.Future[Any]) -> Exception | None:
    failure = None if ack.cancelled() else ack.exception()
    return failure if isinstance(failure, Exception) else None


def _membership(settings: Settings, group: str) -> dict[str, Any]:
    """How the group knows its members. With a stable instance name a process that was killed and started again takes
    its partitions back at once, and its former self is fenced; without one, the group waits for the session to end."""
    if settings.broker_kind != "kafka":
        return {"session_timeout_ms": 3_000, "heartbeat_interval_ms": 500}
    membership: dict[str, Any] = {"session_timeout_ms": 10_000, "heartbeat_interval_ms": 2_000}
    if settings.instance:
        membership["group_instance_id"] = f"{group}-{settings.instance}"
    return membership


def _attributes(topic: str, operation: str, failure: Exception | None) -> dict[str, str]:
    attributes = {
        names.MESSAGING_SYSTEM: "kafka",
        names.OPERATION_NAME: operation,
        names.DESTINATION: topic,
    }
    if failure is not None:
        attributes[names.ERROR_TYPE] = type(failure).__name__
    return attributes
