"""The checks of ``saga doctor``: each looks at one thing and says what it found and, where it is wrong, what to do.

They only read: no topic is created and no table is touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from saga.errors import Unreachable

if TYPE_CHECKING:
    import asyncpg

    from saga.settings import Settings

_TIMEOUT_S = 4.0
_SKEW_MS = 500.0
_STALE_MS = 5_000.0


class Verdict(StrEnum):
    """What a check comes to. A note is worth knowing, but nothing has to be done."""

    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``mend`` says what to do about it, empty when nothing."""

    what: str
    verdict: Verdict
    found: str
    mend: str = ""


Check = Callable[["Settings"], Awaitable[Sequence[Finding]]]


async def examine(settings: Settings) -> list[Finding]:
    """Every finding, in a stable order; what does not answer is given up after some seconds."""
    checks: tuple[tuple[str, Check], ...] = (
        ("broker", check_broker),
        ("database", check_database),
        ("collector", check_collector),
        ("pricing", check_pricing),
        ("provider", check_provider),
        ("mail", check_mail),
    )
    found = await asyncio.gather(*(_bounded(name, check, settings) for name, check in checks))
    return [finding for findings in found for finding in findings]


async def _bounded(name: str, check: Check, settings: Settings) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(check(settings), 4 * _TIMEOUT_S)
    except TimeoutError:
        return [Finding(name, Verdict.UNREACHABLE, "does not answer in time", _START)]
    except Unreachable as error:
        return [Finding(name, Verdict.UNREACHABLE, str(error))]
    except Exception as error:  # noqa: BLE001  # a check that fails is a finding, not the end of the others
        return [Finding(name, Verdict.PROBLEM, f"{type(error).__name__}: {error}", "this is not expected; report it")]


_START = "start it, or `saga up`"


# --- broker -----------------------------------------------------------------------------------------------------------


async def check_broker(settings: Settings) -> Sequence[Finding]:
    """That it answers, that every topic is there with as many partitions as new ones would get, and that somebody of
    every role reads them."""
    from saga.cli.doctor_broker import look_at_broker
    from schemas.topics import ALL

    broker = await look_at_broker(settings)
    findings = [Finding("broker", Verdict.GOOD, f"answers at {settings.brokers}")]
    findings += _topics(settings, [settings.topic_prefix + topic for topic in ALL], broker.partitions)
    if idle := [role for role, members in broker.members.items() if not members]:
        mend = "start them, each with `saga run worker NAME` or `saga run orchestrator`, or all with `saga up`"
        findings.append(Finding("services", Verdict.PROBLEM, f"nobody is at work as {', '.join(idle)}", mend))
    else:
        working = ", ".join(role if n == 1 else f"{role} ({n})" for role, n in broker.members.items())
        findings.append(Finding("services", Verdict.GOOD, f"at work: {working}"))
    return findings


def _topics(settings: Settings, wanted: Sequence[str], partitions: Mapping[str, int]) -> Sequence[Finding]:
    findings = []
    if missing := [topic for topic in wanted if topic not in partitions]:
        mend = "start the services, which create them, or `saga up`"
        findings.append(Finding("topics", Verdict.PROBLEM, f"missing: {', '.join(missing)}", mend))
    short = [topic for topic in wanted if 0 < partitions.get(topic, 0) < settings.partitions]
    if short:
        few = [f"{topic} ({partitions[topic]})" for topic in short]
        mend = f"add partitions up to {settings.partitions} while nothing is under way, or set SAGA_PARTITIONS lower"
        findings.append(Finding("topics", Verdict.PROBLEM, f"too few partitions: {', '.join(few)}", mend))
    if not findings:
        counts = sorted({partitions[topic] for topic in wanted})
        each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        findings.append(Finding("topics", Verdict.GOOD, f"all {len(wanted)} are there, {each} partitions each"))
    return findings


# --- database ---------------------------------------------------------------------------------------------------------


async def check_database(settings: Settings) -> Sequence[Finding]:
    """That it answers, that its tables are up to date, that its clock is ours, and that there is something to book."""
    from saga.database import connect_pool

    try:
        pool = await asyncio.wait_for(
            connect_pool(settings, role="doctor", max_size=1, reads_widely=True), 2 * _TIMEOUT_S
        )
    except TimeoutError:
        mend = "check SAGA_DATABASE_URL, or `saga up`"
        return [Finding("database", Verdict.UNREACHABLE, "PostgreSQL does not answer in time", mend)]
    async with pool:
        version = str(await pool.fetchval("SHOW server_version")).split()[0]
        findings = [Finding("database", Verdict.GOOD, f"PostgreSQL {version} answers")]
        findings.append(await _clock(pool))
        findings.append(await _tables(pool, settings))
        if findings[-1].verdict is Verdict.GOOD:
            findings += await _contents(pool, settings)
    return findings


async def _clock(pool: asyncpg.Pool[asyncpg.Record]) -> Finding:
    """Deadlines use the database's clock, spans this machine's: apart, traces look distorted."""
    skews = []
    for _ in range(5):
        before = time.time()
        theirs = float(await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
        after = time.time()
        skews.append((after - before, (theirs - (before + after) / 2) * 1_000))
    skew_ms = min(skews)[1]  # the quickest answer tells best
    said = f"the database's is {abs(skew_ms):.0f} ms {'ahead of' if skew_ms > 0 else 'behind'} this machine's"
    if abs(skew_ms) > _SKEW_MS:
        mend = "synchronise both (chrony, systemd-timesyncd); deadlines hold, but traces look distorted"
        return Finding("clock", Verdict.PROBLEM if abs(skew_ms) > _STALE_MS else Verdict.NOTE, said, mend)
    return Finding("clock", Verdict.GOOD, said)


async def _tables(pool: asyncpg.Pool[asyncpg.Record], settings: Settings) -> Finding:
    from saga.database import Schemas
    from saga.database.migrations import owners, pending

    schemas = Schemas(settings.schema_prefix)
    names = [schemas.name(owner) for owner in owners()]
    there = {row[0] for row in await pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname = ANY($1)", names)}
    mend = "start the services, each of which brings its own up to date, or `saga up`"
    # The migrations are only asked about where there is a schema: elsewhere asking would leave tables behind.
    if missing := [name for name in names if name not in there]:
        return Finding("tables", Verdict.PROBLEM, f"these schemas are missing: {', '.join(missing)}", mend)
    late = await pending(settings)
    if late:
        return Finding("tables", Verdict.PROBLEM, f"migrations to apply: {', '.join(late)}", mend)
    return Finding("tables", Verdict.GOOD, f"up to date in {len(names)} schemas")


async def _contents(pool: asyncpg.Pool[asyncpg.Record], settings: Settings) -> Sequence[Finding]:
    from saga.engine.state import Status
    from saga.store.reading import Filter, Reader

    reader = Reader(pool, settings.schema_prefix)
    lodgings = await reader.lodgings()
    properties = len({lodging.property_id for lodging in lodgings})
    rooms = sum(lodging.rooms for lodging in lodgings)
    findings = [
        Finding("catalogue", Verdict.GOOD, f"{properties} properties, {rooms} rooms")
        if rooms
        else Finding("catalogue", Verdict.NOTE, "empty: there is nothing to book", "load one with `saga seed`")
    ]
    parked = await reader.page(Filter(statuses=(Status.NEEDS_ATTENTION,)), limit=5)
    if parked.sagas:
        shown = ", ".join(saga.id for saga in parked.sagas) + (", ..." if parked.after else "")
        mend = "see why with `saga show ID`, and mend it; `saga list --status needs_attention` names all"
        findings.append(Finding("bookings", Verdict.PROBLEM, f"an undo keeps failing for {shown}", mend))
    return findings


# --- services ---------------------------------------------------------------------------------------------------------


async def check_collector(settings: Settings) -> Sequence[Finding]:
    """That somebody accepts connections where spans are sent to."""
    if not settings.otlp_endpoint:
        mend = "set SAGA_OTLP_ENDPOINT to a collector's host:port"
        return [Finding("collector", Verdict.NOTE, "none is configured: spans and metrics go nowhere", mend)]
    endpoint = settings.otlp_endpoint
    url = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    return [await _connects("collector", url.hostname or "127.0.0.1", url.port or 4317)]


async def _connects(name: str, host: str, port: int) -> Finding:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return Finding(name, Verdict.UNREACHABLE, f"{host}:{port} does not answer ({_why(error)})", _START)
    writer.close()
    return Finding(name, Verdict.GOOD, f"answers at {host}:{port}")


async def check_pricing(settings: Settings) -> Sequence[Finding]:
    """That the pricing engine is healthy."""
    return [await _healthy("pricing", settings.pricing_url, "SAGA_PRICING_URL")]


async def check_provider(settings: Settings) -> Sequence[Finding]:
    """That the payment provider is healthy."""
    return [await _healthy("provider", settings.provider_url, "SAGA_PROVIDER_URL")]


async def _healthy(name: str, url: str, variable: str) -> Finding:
    import aiohttp

    mend = f"check {variable}, {_START}"
    where = _without_credentials(url)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(url.rstrip("/") + "/healthz") as answer,
        ):
            if answer.status == 200:
                return Finding(name, Verdict.GOOD, f"healthy at {where}")
            return Finding(name, Verdict.PROBLEM, f"{where}/healthz answers {answer.status}", mend)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return Finding(name, Verdict.UNREACHABLE, f"{where} does not answer ({_why(error)})", mend)


async def check_mail(settings: Settings) -> Sequence[Finding]:
    """That a mail server greets us; nothing is sent."""
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(settings.smtp_host, settings.smtp_port), _TIMEOUT_S
        )
        try:
            greeting = await asyncio.wait_for(reader.readline(), _TIMEOUT_S)
            writer.write(b"QUIT\r\n")
            await asyncio.wait_for(writer.drain(), _TIMEOUT_S)
        finally:
            writer.close()
    except (OSError, TimeoutError) as error:
        mend = f"check SAGA_SMTP_HOST and SAGA_SMTP_PORT, {_START}; bookings go on, confirmations wait"
        return [Finding("mail", Verdict.UNREACHABLE, f"{where} does not answer ({_why(error)})", mend)]
    if not greeting.startswith(b"220"):
        mend = "SAGA_SMTP_PORT may name another service's port"
        return [Finding("mail", Verdict.PROBLEM, f"{where} does not speak SMTP", mend)]
    return [Finding("mail", Verdict.GOOD, f"greets at {where}")]


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _why(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
