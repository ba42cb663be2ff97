"""What ``saga doctor`` asks the broker: which topics there are, and who is at work. Creates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from saga.messaging.kafka import client_options, unreachable

if TYPE_CHECKING:
    from saga.settings import Settings

GROUPS = ("orchestrator", "availability", "locking", "payment", "confirmation", "notification")
"""The roles that read topics, each as the consumer group ``booking.<role>``."""


@dataclass(frozen=True, slots=True)
class Broker:
    """``partitions`` by topic, names with prefix; ``members`` by role, 0 where nobody is at work."""

    partitions: Mapping[str, int]
    members: Mapping[str, int]


async def look_at_broker(settings: Settings) -> Broker:
    """Topics and members as they are now. Raises :class:`saga.errors.BrokerUnreachable`."""
    options = client_options(settings, "booking-saga-doctor")
    del options["metadata_max_age_ms"]
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        # All of them: some brokers create a topic that is asked for by name.
        topics = await admin.describe_topics()
        partitions = {topic["topic"]: len(topic["partitions"]) for topic in topics if topic["error_code"] == 0}
        return Broker(partitions, await _members(admin, settings))
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


async def _members(admin: Any, settings: Settings) -> dict[str, int]:
    members: dict[str, int] = {}
    for role in GROUPS:  # one at a time: Tansu hangs up when it is asked about several
        answers = await admin.describe_consumer_groups([f"{settings.topic_prefix}booking.{role}"])
        members[role] = sum(len(group["members"]) for answer in answers for group in answer.to_object()["groups"])
    return members
