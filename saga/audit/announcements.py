"""What came in and what went out: every request became a saga, and every end was announced exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping

from saga.audit.evidence import Evidence, Records
from saga.audit.options import AuditOptions
from saga.audit.report import Findings
from saga.audit.topics import TopicReader, committed_offsets, reading
from saga.booking import DEFINITION
from saga.errors import PoisonMessage
from saga.messaging.broker import Record
from saga.messaging.deadletter import ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TOPIC
from saga.messaging.wire import CE_ID, CE_TYPE, decode
from saga.settings import Settings
from saga.stacks.base import Progress
from saga.telemetry import names
from schemas.base import message_class
from schemas.requests import BookingRequested
from schemas.topics import DEAD_LETTERS, EVENTS, REQUESTS

INVARIANT = "delivery"

_SETTLE_S = 10.0
"""How long something that has just happened may take to show on a topic or in the store."""
_AGAIN_S = 0.3


async def check_events(
    settings: Settings,
    records: Records,
    evidence: Evidence,
    options: AuditOptions,
    findings: Findings,
    progress: Progress,
) -> None:
    """Every end in the history has its event, under its one id, and there is no other event."""
    progress("reading booking.events")
    expected = {
        f"{saga_id}.{status.lower()}": (saga_id, ends.latest_us)
        for saga_id, ends in evidence.announced.items()
        for status in ends.statuses
    }
    findings.examined[INVARIANT] += len(expected)
    seen: dict[str, str] = {}
    async with reading(settings, settings.topic_prefix + EVENTS) as reader:
        oldest_us = await _collect(reader, None, seen)
        deadline = time.monotonic() + _SETTLE_S
        while (missing := expected.keys() - seen.keys()) and time.monotonic() < deadline:
            if all(expected[event][1] < evidence.now_us - options.grace_us for event in missing):
                break
            await asyncio.sleep(_AGAIN_S)
            read_to = reader.end
            await reader.look()
            await _collect(reader, read_to, seen)
        trimmed = any(reader.begin.values())
    for event in sorted(missing):
        saga_id, ended_us = expected[event]
        if trimmed and (oldest_us is None or ended_us <= oldest_us):
            findings.unavailable[INVARIANT] += 1
        else:
            findings.violated(INVARIANT, saga_id, f"{event} never was announced on {EVENTS}")
    await _judge_extra({event: key for event, key in seen.items() if event not in expected}, records, findings)


async def _judge_extra(extra: Mapping[str, str], records: Records, findings: Findings) -> None:
    """Events that the snapshot does not explain: sagas have gone on since, or started before what is audited."""
    if not extra:
        return
    now = await records.announced(set(extra.values()))
    explained = {f"{saga_id}.{status.lower()}" for saga_id, ends in now.items() for status in ends.statuses}
    for event, key in sorted(extra.items()):
        if event not in explained:
            findings.violated(INVARIANT, key, f"{event} is announced on {EVENTS}, but the saga never came to that")


async def _collect(reader: TopicReader, start: Mapping[int, int] | None, seen: dict[str, str]) -> int | None:
    """Add event id and key of every record to ``seen``; the oldest record's time in microseconds."""
    oldest: int | None = None
    async for record in reader.read(start):
        seen[_header(record, CE_ID)] = _text(record.key)
        oldest = min(oldest or record.timestamp_ms, record.timestamp_ms)
    return None if oldest is None else oldest * 1000


async def check_requests(
    settings: Settings, records: Records, options: AuditOptions, findings: Findings, progress: Progress
) -> None:
    """Every well-formed request on the topic became a saga, or was set aside with its cause."""
    progress("reading booking.requests")
    topic, group = settings.topic_prefix + REQUESTS, f"{settings.topic_prefix}{names.NAMESPACE}.orchestrator"
    async with reading(settings, topic) as reader:
        keys = {_text(record.key) async for record in _requests(reader, options.since_us)}
        findings.examined[INVARIANT] += len(keys)
        unknown = await records.unknown(keys)
        if not unknown:
            return
        asked = [record async for record in _requests(reader, options.since_us) if _text(record.key) in unknown]
    asked = [record for record in asked if _well_formed(record)]
    taken_in = await committed_offsets(settings, group, topic, {record.origin.partition for record in asked})
    limit_ms = (time.time() - DEFINITION.deadline_s * settings.pace) * 1000
    waiting = [record for record in asked if record.origin.offset >= taken_in.get(record.origin.partition, 0)]
    overdue = [record for record in waiting if record.timestamp_ms < limit_ms]
    if len(waiting) > len(overdue):
        findings.note(f"{len(waiting) - len(overdue)} requests are waiting for an orchestrator to take them in")
    lost = [record for record in asked if record not in waiting]
    aside = await _set_aside(settings) if lost else set()
    # Between our two looks it may have been taken in.
    unknown = await records.unknown({_text(record.key) for record in (*lost, *overdue)})
    for record in (*lost, *overdue):
        if _text(record.key) in unknown and str(record.origin) not in aside:
            what = "became neither saga nor dead letter" if record in lost else "has not been taken in for too long"
            findings.violated(INVARIANT, _text(record.key), f"the request in {record.origin} {what}")


async def _requests(reader: TopicReader, since_us: int) -> AsyncIterator[Record]:
    async for record in reader.read():
        if record.timestamp_ms * 1000 >= since_us and message_class(_header(record, CE_TYPE)) is BookingRequested:
            yield record


async def _set_aside(settings: Settings) -> set[str]:
    """The origins of all dead letters."""
    async with reading(settings, settings.topic_prefix + DEAD_LETTERS) as reader:
        return {
            "/".join(_header(record, name) for name in (ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET))
            async for record in reader.read()
        }


def _well_formed(record: Record) -> bool:
    try:
        decode(record, frozenset({BookingRequested}), untrusted=True)
    except PoisonMessage:
        return False
    return True


def _header(record: Record, name: str) -> str:
    found: Iterable[bytes] = (value for key, value in record.headers if key == name and value is not None)
    return _text(next(iter(found), b""))


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
