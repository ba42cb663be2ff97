"""``saga demo``: the whole chain on a fresh stack, from nothing to two waterfalls and a verdict."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saga.cli.output import console, json_option, print_json, progress, stack_option

if TYPE_CHECKING:
    from rich.console import Console

    from saga.demo.play import Played
    from saga.stacks.base import Progress

_EXAMPLES = """
\b
Examples:
  saga demo                                  30 bookings on a broker and a database from wheels
  saga demo --bookings 200 --seed 7          others
  saga demo --stack kafka                    on Apache Kafka itself (Java and Maven needed)
  saga demo --json | jq .audit

\b
Confirmed bookings, declined cards, guests who fight over the last rooms, rooms sold at the desk while they are being
paid for, a provider whose answer is lost, and a cancellation: every way a booking can end is among them.
Exit codes: 0 all is as it must be, 1 an invariant is broken, a trace is incomplete or a booking never ended,
2 wrong use, 3 cannot reach a service.
"""


@click.command(name="demo", epilog=_EXAMPLES)
@click.option("--bookings", type=click.IntRange(10, 10_000), default=30, show_default=True, help="How many to play.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which ones: the same seed plays the same.")
@stack_option
@json_option
def command(bookings: int, seed: int, stack: str | None, *, as_json: bool) -> None:
    """Play mixed bookings on a fresh stack, audit what is left, and draw one that went well and one that did not.

    Starts everything by itself, takes about half a minute, and leaves nothing running.
    """
    began = time.monotonic()
    with progress() as tell:
        name, played = _play(bookings, seed, stack, _timed(tell, began))
    if as_json:
        print_json(_summary(name, played))
    else:
        _show(name, played, console())
    if not _good(played):
        raise SystemExit(1)


def _timed(tell: Progress, began: float) -> Progress:
    def told(message: str) -> None:
        tell(f"[{time.monotonic() - began:5.1f} s] {message}")

    return told


def _play(bookings: int, seed: int, stack: str | None, tell: Progress) -> tuple[str, Played]:
    from saga.demo.play import play
    from saga.stacks.choose import choose
    from saga.stacks.prepare import prepare
    from saga.stacks.services import Services

    choice = choose(stack, "demo")
    tell(f"stack {choice.stack.name}: {choice.reason}")
    endpoints = choice.stack.start(tell)
    try:
        with tempfile.TemporaryDirectory(prefix="booking-saga-demo-") as directory:
            services = Services(endpoints.environment(), Path(directory), progress=tell)
            asyncio.run(prepare(services.settings, seed=True, progress=tell))
            tell("starting orchestrator, workers, pricing, provider, collector and mailbox")
            with services:
                return choice.stack.name, asyncio.run(play(services.settings, bookings, seed, tell))
    finally:
        tell("stopping everything")
        choice.stack.stop()


def _good(played: Played) -> bool:
    return played.report.clean and not played.report.traces_incomplete


def _summary(stack: str, played: Played) -> dict[str, object]:
    """The contract with programs; see the design, section 9."""
    statuses = {status.value: count for status, count in played.statuses.items()}
    return {
        "bookings": played.bookings,
        "confirmed": statuses.get("CONFIRMED", 0),
        "failed": statuses.get("FAILED", 0),
        "timed_out": statuses.get("TIMED_OUT", 0),
        "cancelled": statuses.get("CANCELLED", 0),
        "needs_attention": statuses.get("NEEDS_ATTENTION", 0),
        "compensated": played.compensated,
        "reasons": played.reasons,
        "emails": played.letters,
        "duration_s": round(played.duration_s, 3),
        "stack": stack,
        "audit": {
            "violations": len(played.report.violations),
            "found": [violation.model_dump() for violation in played.report.violations],
            "checked": {name: checked.examined for name, checked in played.report.checked.items()},
        },
        "traces": {"complete": played.report.traces_complete, "incomplete": played.report.traces_incomplete},
    }


def _show(stack: str, played: Played, out: Console) -> None:
    from rich.table import Table

    from saga.traces.waterfall import Waterfall

    table = Table(title=f"{played.bookings} bookings on the {stack} stack in {played.duration_s:.1f} s")
    table.add_column("outcome")
    table.add_column("bookings", justify="right")
    table.add_column("because")
    for status, count in played.statuses.items():
        because = ""
        if status.value in {"FAILED", "TIMED_OUT"}:
            reasons = {k: v for k, v in played.reasons.items() if (k == "timeout") == (status.value == "TIMED_OUT")}
            because = ", ".join(f"{name} {number}" for name, number in sorted(reasons.items()) if name != "cancelled")
        table.add_row(status.value, str(count), because)
    table.add_section()
    table.add_row("rolled back", str(played.compensated), "every undo in reverse, one at a time")
    table.add_row("e-mails", str(played.letters), "received by the mailbox")
    out.print(table)
    report = played.report
    examined = sum(checked.examined for checked in report.checked.values())
    verdict = "[green]nothing wrong[/]" if report.clean else f"[red]{len(report.violations)} violations[/]"
    out.print(
        f"\naudit: {verdict}; {len(report.checked)} invariants over {examined} facts; "
        f"traces: {report.traces_complete} complete, {report.traces_incomplete} incomplete"
    )
    for violation in report.violations[:20]:
        out.print(f"  [red]{violation.invariant}[/] {violation.saga_id}: {violation.detail}", highlight=False)
    for title, found in (("confirmed", played.confirmed_trace), ("rolled back", played.rolled_back_trace)):
        if found is not None:
            out.print()
            out.print(Waterfall(found[1], title=f"{found[0]}, {title}"))
