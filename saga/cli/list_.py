"""``saga list``: bookings and how they stand, newest first, page by page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from saga.cli.careful import CarefulCommand
from saga.cli.moments import Moment, MomentType
from saga.cli.output import json_option, print_json
from saga.engine.state import Status
from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.store.reading import Cursor, Page, Summary

_EXAMPLES = """
\b
Examples:
  saga list                                         the latest twenty
  saga list --live                                  those under way
  saga list --status failed --status timed_out --since 15m
  saga list --error-type payment_declined --since 2026-11-22 --until 2026-11-23T12:00
  saga list --status needs_attention --json | jq -r '.sagas[].booking_id'
  saga list --cursor 1795364043120000.bk-01m821d2c2-7htvgxa9    what comes after that one

\b
Times are of the start of a booking, in UTC unless they say otherwise. The page ends with the cursor of the next one.
Exit codes: 0 good (even when there is nothing to list), 2 wrong use, 3 cannot reach the database.
"""


@click.command(name="list", cls=CarefulCommand, epilog=_EXAMPLES)
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in Status], case_sensitive=False),
    multiple=True,
    help="Only these; may be given more than once.",
)
@click.option("--live", is_flag=True, help="Only those under way: RUNNING and COMPENSATING.")
@click.option("--error-type", "error_types", metavar="TYPE", multiple=True, help="Such as lock_contention.")
@click.option("--since", type=MomentType(), help="Started then or later: 15m, 2h, 3d (ago), or a date and time.")
@click.option("--until", type=MomentType(), help="Started then or earlier.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="So many at most.")
@click.option("--cursor", metavar="CURSOR", help="Begin after this place, which the page before told.")
@json_option
def command(
    statuses: tuple[str, ...],
    error_types: tuple[str, ...],
    since: Moment | None,
    until: Moment | None,
    limit: int,
    cursor: str | None,
    *,
    live: bool,
    as_json: bool,
) -> None:
    """List bookings and how they stand, newest first."""
    if live and statuses:
        raise UsageError("--live is a choice of statuses itself; leave out --status, or leave out --live")
    after = _parsed(cursor)
    chosen = [Status.RUNNING, Status.COMPENSATING] if live else [Status(value.upper()) for value in statuses]
    page, now_us = asyncio.run(_page(chosen, error_types, since, until, limit, after))
    if as_json:
        print_json(
            {"sagas": [as_record(saga) for saga in page.sagas], "next": None if page.after is None else str(page.after)}
        )
    else:
        _show(page, now_us)


def as_record(saga: Summary) -> dict[str, Any]:
    """One saga for programs."""
    from saga.cli.wording import moment

    took = saga.duration_us
    return {
        "booking_id": saga.id,
        "status": saga.status.value,
        "step": saga.step,
        "error_type": saga.error_type,
        "trace_id": saga.trace_id,
        "started_at": moment(saga.started_us),
        "ended_at": moment(saga.ended_us) if saga.ended_us else None,
        "duration_ms": None if took is None else took / 1_000,
    }


def _parsed(cursor: str | None) -> Cursor | None:
    from saga.store.reading import Cursor

    try:
        return None if cursor is None else Cursor.parse(cursor)
    except ValueError:
        raise UsageError("that is no cursor; take the one that the page before ended with") from None


async def _page(
    statuses: list[Status],
    error_types: tuple[str, ...],
    since: Moment | None,
    until: Moment | None,
    limit: int,
    after: Cursor | None,
) -> tuple[Page, int]:
    from saga.stacks.environment import resolve_settings
    from saga.store.reading import Filter, open_reader

    async with open_reader(resolve_settings(), role="list") as reader:
        # Relative to the database's clock, which is the one the stored times are from.
        now_us = await reader.now_us()
        wanted = Filter(statuses, error_types)
        if since is not None or until is not None:
            wanted = Filter(
                statuses,
                error_types,
                0 if since is None else since.absolute_us(now_us),
                wanted.until_us if until is None else until.absolute_us(now_us),
            )
        return await reader.page(wanted, limit=limit, after=after), now_us


def _show(page: Page, now_us: int) -> None:
    from saga.cli.wording import duration, faint, moment, status, table

    if not page.sagas:
        click.echo("no such bookings", err=True)
        return
    rows = []
    for saga in page.sagas:
        took = saga.duration_us
        so_far = duration(took) if took is not None else f"{duration(max(0, now_us - saga.started_us))} so far"
        rows.append((saga.id, status(saga.status), saga.step, saga.error_type, moment(saga.started_us), so_far))
    click.echo(table(("BOOKING", "STATUS", "STEP", "ERROR", "STARTED", "TOOK"), rows))
    if page.after is not None:
        click.echo(faint(f"more: --cursor {page.after}"), err=True)
