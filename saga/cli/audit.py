"""``saga audit``: check every invariant of the stored sagas, of what was published, and of the traces."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from saga.cli.moments import Moment, MomentType
from saga.cli.output import console, json_option, print_json, progress

if TYPE_CHECKING:
    from saga.audit import AuditReport

_SHOWN = 50

_EXAMPLES = """
\b
Examples:
  saga audit                                        everything, while the system runs
  saga audit --wait 60 --min-confirmed 100          first let live sagas end; expect at least so many bookings
  saga audit --since 15m --json                     what started in the last quarter of an hour
  saga audit --no-traces --no-topics                the database alone
\b
Exit codes: 0 every invariant holds, 1 something violates one, 2 wrong use, 3 cannot reach a service.
"""


@click.command(name="audit", epilog=_EXAMPLES)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3_600),
    default=0.0,
    help="Wait up to so many seconds for live sagas to end.",
)
@click.option("--since", type=MomentType(), help="Leave out sagas that started before: 15m, 2h, 3d (ago), or a time.")
@click.option("--min-confirmed", type=click.IntRange(min=0), default=0, help="Expect at least so many confirmed sagas.")
@click.option(
    "--min-compensated", type=click.IntRange(min=0), default=0, help="Expect at least so many that undid something."
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(0, 3_600),
    default=30.0,
    show_default=True,
    help="How many seconds a live saga may be late.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=5_000,
    show_default=True,
    help="Replay, and read the traces of, so many of the latest sagas; 0: all.",
)
@click.option("--no-traces", is_flag=True, help="Do not read traces.")
@click.option("--no-topics", is_flag=True, help="Do not read topics: no events, requests or replays are checked.")
@json_option
def command(
    wait_s: float,
    since: Moment | None,
    min_confirmed: int,
    min_compensated: int,
    grace_s: float,
    sample: int,
    *,
    no_traces: bool,
    no_topics: bool,
    as_json: bool,
) -> None:
    """Check every invariant of the stored sagas and traces.

    Compares the sagas with every worker's own record, with the topics (whose records, replayed, must give the stored
    states) and with their traces. Reads only; sagas that are still on their way are judged by their age alone.
    """
    from saga.audit import AuditOptions, audit
    from saga.stacks.environment import resolve_settings

    options = AuditOptions(
        wait_s=wait_s,
        since_us=0 if since is None else since.absolute_us(time.time_ns() // 1000),
        grace_s=grace_s,
        min_confirmed=min_confirmed,
        min_compensated=min_compensated,
        traces=not no_traces,
        topics=not no_topics,
        deep_sample=sample,
    )
    with progress() as tell:
        report = asyncio.run(audit(resolve_settings(), options, tell))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show(report)
    if not report.clean:
        raise click.exceptions.Exit(1)


def show(report: AuditReport) -> None:
    """Print a report as a table; violations below it."""
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {status}" for status, count in report.sagas.items()) or "no sagas"
    table = Table(title=f"audit of {counts}", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("invariant")
    table.add_column("examined", justify="right")
    table.add_column("unavailable", justify="right")
    table.add_column("violations", justify="right")
    for checked in report.checked.values():
        style = "bold red" if checked.violations else ""
        table.add_row(
            str(checked.number),
            checked.description,
            str(checked.examined),
            str(checked.unavailable or ""),
            Text(str(checked.violations), style=style),
        )
    out = console()
    out.print(table)
    for note in report.notes:
        out.print(f"note: {note}", markup=False)
    for violation in report.violations[:_SHOWN]:
        where = violation.saga_id or "(all)"
        out.print(f"{violation.invariant}: {where}: {violation.detail}", style="red", markup=False)
    if len(report.violations) > _SHOWN:
        out.print(f"... and {len(report.violations) - _SHOWN} more; --json names them all")
    verdict = "every invariant holds" if report.clean else f"{len(report.violations)} violations"
    out.print(f"{verdict} ({report.duration_s:.1f} s)")
