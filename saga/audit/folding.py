"""Replaying the recorded topics through the machine must give exactly the stored states.

The history says which record was applied to which saga, at which database time and in which order; the records
themselves are read from the topics. A record that is no longer retained makes its saga's fold unavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saga.audit.evidence import Evidence, HistoryRow, StoredSaga
from saga.audit.report import Findings
from saga.audit.topics import reading
from saga.booking import DEFINITIONS
from saga.engine.decision import Verdict
from saga.engine.envelope import Envelope
from saga.engine.fold import fold
from saga.engine.machine import Birth, Tick, advance
from saga.engine.state import State
from saga.errors import PoisonMessage
from saga.messaging.broker import Record
from saga.messaging.wire import decode
from saga.settings import Settings
from saga.stacks.base import Progress
from schemas.base import message_class
from schemas.topics import REPLIES, REQUESTS

INVARIANT = "fold"

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What could be read of the wanted records. ``recreated`` names partitions that end before what was applied."""

    records: Mapping[Place, Record]
    recreated: frozenset[tuple[str, int]]


class NotRetained(Exception):
    """An input of this saga is no longer retained."""


async def check_fold(settings: Settings, evidence: Evidence, findings: Findings, progress: Progress) -> None:
    """Fold every saga of ``evidence`` and compare. Raises :class:`saga.errors.BrokerUnreachable`."""
    progress("reading the topics that led to the stored states")
    recorded = await _recorded(settings, evidence.histories)
    for topic, partition in sorted(recorded.recreated):
        findings.note(f"{topic}/{partition} ends before records that were applied: it was made anew since")
    told = 0
    for number, saga in enumerate(evidence.sagas):
        if number - told >= 1_000:
            told = number
            progress(f"replaying sagas: {number} of {len(evidence.sagas)}")
        try:
            problem = compare(saga, evidence.histories.get(saga.id, ()), recorded, settings.topic_prefix)
        except NotRetained:
            findings.unavailable[INVARIANT] += 1
            continue
        findings.examined[INVARIANT] += 1
        if problem:
            findings.violated(INVARIANT, saga.id, problem)


async def _recorded(settings: Settings, histories: Mapping[str, Sequence[HistoryRow]]) -> Recorded:
    wanted: dict[str, dict[int, set[int]]] = {}
    for history in histories.values():
        for row in history:
            if row.topic is not None:
                wanted.setdefault(row.topic, {}).setdefault(row.partition, set()).add(row.offset)
    ours = {settings.topic_prefix + topic for topic in (REQUESTS, REPLIES)}
    records: dict[Place, Record] = {}
    recreated: set[tuple[str, int]] = set()
    for topic in sorted(wanted.keys() & ours):
        offsets = wanted[topic]
        async with reading(settings, topic) as reader:
            recreated |= {(topic, p) for p in offsets if max(offsets[p]) >= reader.end.get(p, 0)}
            async for record in reader.read({partition: min(some) for partition, some in offsets.items()}):
                origin = record.origin
                if origin.offset in offsets[origin.partition]:
                    records[topic, origin.partition, origin.offset] = record
    return Recorded(records, frozenset(recreated))


def compare(saga: StoredSaga, history: Sequence[HistoryRow], recorded: Recorded, realm: str) -> str | None:
    """What is wrong with a saga's stored state, or None. Raises when an input is no longer retained."""
    definition = DEFINITIONS.get((saga.definition, saga.version))
    if definition is None or saga.state is None:
        return f"it runs on {saga.definition} v{saga.version}, which this build does not have"
    inputs: list[tuple[Envelope | Tick, int]] = []
    for row in history:
        found = _input(row, recorded)
        if isinstance(found, str):
            return found
        inputs.append((found, row.decided_us))
    birth = Birth(saga.state.pace, realm)
    folded = fold(definition, inputs, birth)
    if folded == saga.state:
        return None
    return _first_difference(saga, history, inputs, birth) or _fields(saga.state, folded)


def _input(row: HistoryRow, recorded: Recorded) -> Envelope | Tick | str:
    if row.topic is None:
        return Tick()
    place = (row.topic, row.partition, row.offset)
    record = recorded.records.get(place)
    gone = (row.topic, row.partition) in recorded.recreated
    if record is None:
        raise NotRetained
    where = "/".join(map(str, place))
    cls = message_class(row.message_type)
    if cls is None:
        return f"{where} was applied as {row.message_type}, which this build does not know"
    try:
        envelope = decode(record, frozenset({cls}))
    except PoisonMessage as poison:
        if gone:
            raise NotRetained from poison
        return f"{where} was applied as {row.message_type}, but it is not one: {poison}"
    if envelope.id != row.message_id:
        if gone:
            raise NotRetained
        return f"{where} was applied as {row.message_id}, but {envelope.id} stands there"
    return envelope


def _first_difference(
    saga: StoredSaga, history: Sequence[HistoryRow], inputs: Sequence[tuple[Envelope | Tick, int]], birth: Birth
) -> str | None:
    """The first recorded transition that the machine would not make."""
    definition = DEFINITIONS[saga.definition, saga.version]
    state: State | None = None
    for row, (message, now_us) in zip(history, inputs, strict=True):
        what = row.message_id or "the passing of time"
        decision = advance(definition, state, message, now_us, birth)
        if decision.verdict is not Verdict.APPLIED or decision.state is None:
            return f"epoch {row.epoch} is recorded as applied, but {what} is {decision.verdict.value}"
        state = decision.state
        if (state.epoch, state.status.value) != (row.epoch, row.status):
            return (
                f"epoch {row.epoch} is recorded as {row.status}, but {what} leads to epoch {state.epoch} as "
                f"{state.status.value}"
            )
    return None


def _fields(stored: State, folded: State | None) -> str:
    if folded is None:
        return "there is a state, but nothing recorded leads to one"
    ours, theirs = stored.model_dump(), folded.model_dump()
    differing = [name for name in ours if ours[name] != theirs[name]]
    return f"replaying its records gives another state; these differ: {', '.join(differing)}"
