"""Every topic comes again, from its first record, to every consumer: nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from saga.audit.topics import committed_offsets, reading
from saga.messaging.kafka import client_options
from schemas import topics
from tests.support.chaos import CONSUMERS, MIXED, House, until

_READS = {
    "orchestrator": (topics.REQUESTS, topics.REPLIES),
    "availability": (topics.AVAILABILITY,),
    "locking": (topics.LOCKING, topics.EVENTS),
    "payment": (topics.PAYMENT,),
    "confirmation": (topics.CONFIRMATION,),
    "notification": (topics.EVENTS,),
}
_OWNERS = ("saga", "inventory", "locking", "payment", "notification", "provider", "pricing")
_OUR_OWN = "^(exporters|_?yoyo.*)$"
"""Tables about processes and migrations, not about bookings."""


@pytest.mark.timeout(400)
async def test_redelivering_every_topic_to_every_consumer_changes_nothing(house: House) -> None:
    since_us = await house.reader.now_us()
    bookings = list(islice(house.guests(MIXED), 32))
    await house.as_meant(bookings)
    keys = [booking.key for booking in bookings]
    await _settled(house)
    before = await _everything(house)
    redelivered = await _reset(house)
    await house.start(*CONSUMERS)
    await _settled(house)
    after = await _everything(house)
    assert after.keys() == before.keys()
    for table, rows in before.items():
        assert after[table] == rows, f"{table} has changed: {set(after[table]) ^ set(rows)}"
    assert redelivered.keys() == {(role, topic) for role, read in _READS.items() for topic in read}
    assert all(count >= len(keys) / 2 for count in redelivered.values()), redelivered
    await house.audited(keys, since_us, confirmed=10, compensated=5)


async def _everything(house: House) -> dict[str, list[str]]:
    """Every row of every table about bookings, as text."""
    tables = await house.pool.fetch(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY ($1) AND tablename !~ $2",
        [house.schemas.name(owner) for owner in _OWNERS],
        _OUR_OWN,
    )
    rows: dict[str, list[str]] = {}
    for schema, table in tables:
        found = await house.pool.fetch(f'SELECT t::text AS row FROM "{schema}"."{table}" t ORDER BY t::text')
        rows[f"{schema}.{table}"] = [row["row"] for row in found]
    return rows


async def _reset(house: House) -> dict[tuple[str, str], int]:
    """Stop every consumer and have each group begin at the beginning; how many records come again by role and topic."""
    await house.stop(*CONSUMERS)
    again: dict[tuple[str, str], int] = {}
    for role, read in _READS.items():
        for topic in read:
            ends = await _ends(house, topic)
            again[role, topic] = sum(ends.values())
            await until(partial(_set_back, house, role, topic, ends), f"the group of {role} is set back")
    return again


async def _set_back(house: House, role: str, topic: str, ends: Mapping[int, int]) -> bool:
    """Commit offset 0 for a group that has no members; whether it could be done.

    A static member counts as one of the group until its session ends, and keeps others from committing.
    """
    name = house.settings.topic_prefix + topic
    group = AIOKafkaConsumer(
        **client_options(house.settings, "tests"), group_id=_group(house, role), enable_auto_commit=False
    )
    places = [TopicPartition(name, number) for number, end in ends.items() if end]
    group.assign(places)
    await group.start()
    try:
        await group.commit(dict.fromkeys(places, 0))
    except KafkaError:
        return False
    finally:
        await group.stop()
    return True


def _group(house: House, role: str) -> str:
    return f"{house.settings.topic_prefix}booking.{role}"


async def _ends(house: House, topic: str) -> dict[int, int]:
    async with reading(house.settings, house.settings.topic_prefix + topic) as reader:
        return dict(reader.end)


async def _settled(house: House) -> None:
    """Wait until every group has read everything, what that led to included."""

    async def all_read() -> bool:
        ends = {topic: await _ends(house, topic) for topic in topics.ALL}
        for role, read in _READS.items():
            for topic in read:
                name = house.settings.topic_prefix + topic
                committed = await committed_offsets(house.settings, _group(house, role), name, ends[topic])
                if any(committed.get(number, 0) < end for number, end in ends[topic].items()):
                    return False
        return ends == {topic: await _ends(house, topic) for topic in topics.ALL}

    await until(all_read, "every group has read to the end of its topics", seconds=120)
