"""``saga doctor``: look at everything the saga depends on, and say what to do about what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from saga.cli.careful import CarefulCommand
from saga.cli.output import json_option, print_json

if TYPE_CHECKING:
    from saga.cli.doctor_checks import Finding
    from saga.settings import Settings

_EXAMPLES = """
\b
Examples:
  saga doctor
  saga doctor --json | jq '.findings[] | select(.verdict != "good")'
  SAGA_BROKERS=kafka:9092 SAGA_DATABASE_URL=postgresql://... saga doctor

\b
It only looks: nothing is created, changed or sent. Exit codes: 0 all is well (notes included), 1 something is wrong,
2 wrong use or malformed settings, 3 something does not answer.
"""

_SIGNS = {
    "good": ("ok", "green"),
    "note": ("note", "yellow"),
    "problem": ("WRONG", "red"),
    "unreachable": ("DOWN", "red"),
}


@click.command(name="doctor", cls=CarefulCommand, epilog=_EXAMPLES)
@json_option
def command(*, as_json: bool) -> None:
    """Check settings, broker, topics, database, clock, collector, pricing, provider and mail."""
    from saga.cli.doctor_checks import Finding, Verdict, examine
    from saga.stacks.environment import resolve_settings

    settings = resolve_settings()
    findings = [Finding("settings", Verdict.GOOD, _where_from(settings)), *asyncio.run(examine(settings))]
    code = _code(findings)
    if as_json:
        told = [
            {"what": one.what, "verdict": one.verdict.value, "found": one.found, "mend": one.mend} for one in findings
        ]
        print_json({"healthy": code == 0, "findings": told})
    else:
        _show(findings)
    raise click.exceptions.Exit(code)


def _where_from(settings: Settings) -> str:
    """Where the addresses come from, and which environment of a shared broker and database they name."""
    import os

    from saga.stacks.environment import read

    running = read()
    sources = ["the environment"] if any(name.startswith("SAGA_") and name not in _OURS for name in os.environ) else []
    if running is not None and running.running:
        sources.append(f"a running `saga up` ({running.stack})")
    said = " and ".join(sources) or "defaults, for no SAGA_* is set and no `saga up` runs here"
    prefixes = {"topics": settings.topic_prefix, "schemas": settings.schema_prefix}
    if named := [f"{what} {prefix}*" for what, prefix in prefixes.items() if prefix]:
        said += f"; {', '.join(named)}"
    return f"from {said}"


_OURS = frozenset({"SAGA_HOME", "SAGA_STACK", "SAGA_LOG_LEVEL", "SAGA_LOG_FORMAT"})


def _code(findings: Sequence[Finding]) -> int:
    verdicts = {one.verdict.value for one in findings}
    return 3 if "unreachable" in verdicts else 1 if "problem" in verdicts else 0


def _show(findings: Sequence[Finding]) -> None:
    from saga.cli.wording import table
    from saga.telemetry.redaction import redact_text

    rows = []
    for one in findings:
        sign, colour = _SIGNS[one.verdict.value]
        rows.append((click.style(sign, fg=colour), one.what, redact_text(one.found)))
        if one.mend:
            rows.append(("", "", f"-> {one.mend}"))
    click.echo(table(("", "WHAT", "FOUND"), rows))
