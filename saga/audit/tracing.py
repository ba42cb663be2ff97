"""Every ended saga's trace against the rows that say what was done.

Each committed row keeps the spans of the work it stands for, so what must be in the trace is known by id. Spans travel
for a moment, and those of a process that died are emitted again by its successor: a trace that is not whole yet is
looked at again until its saga has been over for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from saga.audit.evidence import Evidence, Records, StoredSaga
from saga.audit.options import SECOND_US
from saga.audit.report import Findings
from saga.audit.wholeness import Expected, Family, problems
from saga.stacks.base import Progress
from saga.telemetry.codec import spans_from_json
from saga.telemetry.spans import SAMPLED, SpanRecord
from saga.traces.reader import TraceReader

INVARIANT = "traces"

_BATCH = 250
_AGAIN_S = 0.5
_SETTLE_S = 20.0
"""How long after its end a saga's last spans may take: the export interval, and a dead process's heritage; also how
long to wait for that heritage when a process has died just now."""


@dataclass(slots=True)
class TraceVerdict:
    """How many traces were whole, were not, or are not kept."""

    complete: int = 0
    incomplete: int = 0
    unavailable: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one trace. ``kept``: some of it is there. ``moving``: its saga has gone on meanwhile."""

    saga: StoredSaga
    found: tuple[str, ...] = ()
    kept: bool = True
    moving: bool = False

    @property
    def whole(self) -> bool:
        return self.kept and not self.found


async def check_traces(
    records: Records, reader: TraceReader, evidence: Evidence, findings: Findings, progress: Progress
) -> TraceVerdict:
    """Examine the trace of every ended saga of ``evidence``. Raises what ``reader`` raises."""
    verdict = TraceVerdict()
    ended = [saga for saga in evidence.sagas if saga.state is not None and not saga.state.status.live]
    sampled = [saga for saga in ended if saga.state is not None and saga.state.trace.flags & SAMPLED]
    kept_since_us = await records.traces_kept_since() if "traces" in evidence.owners else None
    if kept_since_us is None:
        sampled = []
    verdict.unavailable = len(ended) - len(sampled)
    looks: dict[str, Look] = {}
    started = time.monotonic()
    open_ = sampled
    while open_:
        for start in range(0, len(open_), _BATCH):
            what = "reading traces" if not looks or start else "waiting for the last spans"
            progress(f"{what}: {start} of {len(open_)}")
            looks |= await _look(records, reader, open_[start : start + _BATCH])
        waited_s = time.monotonic() - started
        settled_us = evidence.now_us + int((waited_s - _SETTLE_S) * SECOND_US)
        open_ = [look.saga for look in looks.values() if not look.whole and not look.moving]
        if waited_s > _SETTLE_S or not (open_ and await records.silent()):
            open_ = [saga for saga in open_ if saga.updated_us > settled_us]
        if open_:
            await asyncio.sleep(_AGAIN_S)
    for look in looks.values():
        _conclude(look, kept_since_us or 0, verdict, findings)
    findings.examined[INVARIANT] += verdict.complete + verdict.incomplete
    findings.unavailable[INVARIANT] += verdict.unavailable
    return verdict


def _conclude(look: Look, kept_since_us: int, verdict: TraceVerdict, findings: Findings) -> None:
    if look.moving:
        return
    if look.whole:
        verdict.complete += 1
    elif not look.kept or look.saga.started_us < kept_since_us:
        # Nothing of it is kept, or it began before the oldest that is.
        verdict.unavailable += 1
    else:
        verdict.incomplete += 1
        for problem in look.found:
            findings.violated(INVARIANT, look.saga.id, problem)


async def _look(records: Records, reader: TraceReader, sagas: Sequence[StoredSaga]) -> dict[str, Look]:
    """A look at the traces of ``sagas``. What was done is read before the traces, which must hold at least that."""
    ids = [saga.id for saga in sagas]
    present = await records.states(ids)
    kept: dict[str, list[tuple[bool, SpanRecord]]] = {}
    for saga_id, command, spans in await records.spans_kept(ids):
        kept.setdefault(saga_id, []).extend((command, span) for span in spans_from_json(spans))
    trace_ids = {saga.trace_id for saga in sagas}
    families = _families(await records.same_traces(trace_ids))
    traces = await reader.traces(int(trace_id, 16) for trace_id in trace_ids)
    looks: dict[str, Look] = {}
    for saga in present:
        trace = traces.get(int(saga.trace_id, 16))
        if saga.state is None or saga.state.status.live:
            looks[saga.id] = Look(saga, moving=True)
        elif trace is None:
            looks[saga.id] = Look(saga, kept=False)
        else:
            expected = Expected.of(trace.trace_id, kept.get(saga.id, ()))
            found = problems(saga.definition, saga.state, trace, expected, families[saga.trace_id])
            looks[saga.id] = Look(saga, tuple(found))
    return looks


def _families(rows: Sequence[asyncpg.Record]) -> dict[str, Family]:
    families: dict[str, Family] = {}
    for row in rows:
        known = families.get(row["trace_id"], Family())
        publisher = {int(row["publisher"], 16)} if row["publisher"] else set()
        live = row["status"] in {"RUNNING", "COMPENSATING"}
        reserved = {int(span_id, 16) for span_id in (row["root"], row["rollback"]) if span_id and live}
        families[row["trace_id"]] = Family(known.publishers | publisher, known.reserved | reserved)
    return families
