"""The audit: every invariant, in one call, while the system runs."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from saga.audit.announcements import check_events, check_requests
from saga.audit.evidence import Evidence, Records
from saga.audit.folding import check_fold
from saga.audit.options import AuditOptions
from saga.audit.report import AuditReport, Findings
from saga.audit.topics import existing_topics
from saga.audit.tracing import TraceVerdict, check_traces
from saga.database import connect_pool
from saga.errors import DatabaseUnreachable
from saga.settings import Settings
from saga.stacks.base import Progress, silent
from saga.traces.reader import PostgresTraceReader
from schemas.topics import DEAD_LETTERS, EVENTS, REPLIES, REQUESTS

_LOOK_AGAIN_S = 0.2


async def audit(settings: Settings, options: AuditOptions | None = None, progress: Progress = silent) -> AuditReport:
    """Check every invariant of the environment that ``settings`` lead to.

    Reads only; disturbs nobody. Raises :class:`saga.errors.Unreachable` when the database or the broker does not
    answer, and :class:`saga.errors.SagaError` when there are no tables to audit.
    """
    options = options or AuditOptions()
    pool = await connect_pool(settings, role="audit", min_size=1, max_size=3, reads_widely=True)
    try:
        return await _audit(settings, options, progress, pool)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachable(
            f"PostgreSQL went away during the audit ({type(error).__name__}: {error}); try again"
        ) from error
    finally:
        await pool.close()


async def _audit(
    settings: Settings, options: AuditOptions, progress: Progress, pool: asyncpg.Pool[asyncpg.Record]
) -> AuditReport:
    findings = Findings()
    records = Records(pool, settings)
    await _settle(records, options, progress)
    started = time.monotonic()
    evidence = await records.gather(options, findings, progress)
    left_out = ["traces"] if not options.traces else []
    if options.topics:
        await _check_topics(settings, records, evidence, options, findings, progress)
    else:
        left_out.append("fold")
        findings.note("topics were not read: events, requests and folds are unchecked")
    verdict = TraceVerdict()
    if options.traces:
        reader = PostgresTraceReader(pool, settings)
        verdict = await check_traces(records, reader, evidence, findings, progress)
    if options.min_confirmed or options.min_compensated:
        _check_minimum(evidence, options, findings)
    else:
        left_out.append("minimum_outcomes")
    total = sum(evidence.statuses.values())
    if (options.topics or options.traces) and len(evidence.sagas) < total:
        findings.note(f"of {total} sagas the latest {len(evidence.sagas)} were folded and their traces read")
    return AuditReport(
        checked=findings.checked(left_out),
        violations=tuple(findings.violations),
        sagas=dict(sorted(evidence.statuses.items())),
        compensated=evidence.compensated,
        traces_complete=verdict.complete,
        traces_incomplete=verdict.incomplete,
        traces_unavailable=verdict.unavailable,
        notes=tuple(findings.notes),
        duration_s=round(time.monotonic() - started, 3),
    )


async def _settle(records: Records, options: AuditOptions, progress: Progress) -> None:
    """Wait, as long as was allowed, until no saga is on its way."""
    deadline = time.monotonic() + options.wait_s
    while time.monotonic() < deadline and (live := await records.unsettled(options.since_us)):
        progress(f"waiting for {live} sagas to end")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _check_topics(
    settings: Settings,
    records: Records,
    evidence: Evidence,
    options: AuditOptions,
    findings: Findings,
    progress: Progress,
) -> None:
    needed = {settings.topic_prefix + topic for topic in (REQUESTS, REPLIES, EVENTS, DEAD_LETTERS)}
    if missing := sorted(needed - await existing_topics(settings)):
        findings.unavailable["fold"] += len(evidence.sagas)
        findings.unavailable["delivery"] += len(evidence.announced)
        findings.note(f"there is no topic {', '.join(missing)}: events, requests and folds are unchecked")
        return
    await check_events(settings, records, evidence, options, findings, progress)
    await check_requests(settings, records, options, findings, progress)
    await check_fold(settings, evidence, findings, progress)


def _check_minimum(evidence: Evidence, options: AuditOptions, findings: Findings) -> None:
    for what, there_are, wanted in (
        ("confirmed", evidence.statuses.get("CONFIRMED", 0), options.min_confirmed),
        ("compensated", evidence.compensated, options.min_compensated),
    ):
        findings.examined["minimum_outcomes"] += there_are
        if there_are < wanted:
            findings.violated("minimum_outcomes", "", f"{there_are} sagas were {what}, fewer than {wanted}")
