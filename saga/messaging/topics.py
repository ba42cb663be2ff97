"""Make sure that the topics exist before anybody reads or writes them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from saga.errors import SagaError
from saga.messaging.kafka import client_options, unreachable

if TYPE_CHECKING:
    from saga.settings import Settings


async def ensure_topics(settings: Settings, topics: Collection[str]) -> list[str]:
    """Create those of ``topics`` (without prefix) that are missing; returns the names created, with prefix.

    Raises :class:`BrokerUnreachable`, or :class:`SagaError` naming the topic where creating it is not allowed.
    """
    wanted = [settings.topic_prefix + topic for topic in topics]
    options = client_options(settings, "booking-saga-admin")
    admin = AIOKafkaAdminClient(**{k: v for k, v in options.items() if k != "metadata_max_age_ms"})
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [name for name in wanted if name not in existing]
        if missing:
            new = [NewTopic(name, settings.partitions, settings.replication) for name in missing]
            await _create(admin, new)
        return missing
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> None:
    response = await admin.create_topics(topics)
    for name, code, *detail in getattr(response, "topic_errors", []):
        if code not in (0, TopicAlreadyExistsError.errno):
            said = detail[0] if detail and detail[0] else f"Kafka error {code}"
            raise SagaError(f"topic {name} is missing and could not be created ({said}); create it, or allow it")
