"""``saga show``: everything that happened to one booking, its trace included."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from saga.cli.careful import CarefulCommand
from saga.cli.output import json_option, print_json

if TYPE_CHECKING:
    from saga.cli.show_view import View
    from saga.settings import Settings
    from saga.store.reading import Reader, Stored
    from saga.traces.model import Trace

_EXAMPLES = """
\b
Examples:
  saga show bk-01m821d2c2-7htvgxa9
  saga show bk-01m821d2c2-7htvgxa9 --messages           every record, by topic, partition and offset
  saga show bk-01m821d2c2-7htvgxa9 --no-waterfall       without the trace
  saga show bk-01m821d2c2-7htvgxa9 --json | jq '.undos[] | {undo, outcome}'

\b
Tokens and addresses are never shown. Exit codes: 0 good, 1 there is no such booking, 2 wrong use, 3 cannot reach the
database.
"""

_JUST_NOW_US = 10_000_000
_PATIENCE_S = 2.5
_KEPT_US = 90 * 60 * 1_000_000
_PIPE_WIDTH = 120


@click.command(name="show", cls=CarefulCommand, epilog=_EXAMPLES)
@click.argument("booking_id")
@click.option("--messages", is_flag=True, help="List the records it received and sent, too.")
@click.option("--no-waterfall", is_flag=True, help="Leave the trace out.")
@json_option
def command(booking_id: str, *, messages: bool, no_waterfall: bool, as_json: bool) -> None:
    """Show a booking: how it stands, its steps and undos, and its trace."""
    # What it sent is known from its spans only.
    view = asyncio.run(_view(booking_id, with_trace=not no_waterfall or messages))
    if view is None:
        click.echo(
            f"there is no booking {booking_id}; `saga list` shows those there are, and if it was published just now, "
            "an orchestrator must take it up first (`saga doctor`)",
            err=True,
        )
        raise click.exceptions.Exit(1)
    if as_json:
        print_json(view.as_json())
        return
    from saga.cli.show_text import lines

    click.echo("\n".join(lines(view, messages=messages)))
    if not no_waterfall:
        _draw(view, messages=messages)


def _draw(view: View, *, messages: bool) -> None:
    from rich.console import Console

    from saga.traces.waterfall import Waterfall

    assert view.trace is not None
    click.echo()
    if view.trace.spans:
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
        Console(highlight=False, width=width).print(Waterfall(view.trace, show_messaging=messages))
    for note in [f"trace read from {view.trace_source}", *view.notes]:
        click.echo(note, err=True)


async def _view(booking_id: str, *, with_trace: bool) -> View | None:
    from saga.cli.show_view import View
    from saga.stacks.environment import resolve_settings
    from saga.store.reading import open_reader

    settings = resolve_settings()
    async with open_reader(settings, role="show") as reader:
        stored = await reader.find(booking_id)
        if stored is None:
            return None
        history = await reader.history(booking_id)
        if not with_trace:
            return View(stored, history)
        trace, notes = await _trace(reader, settings, stored)
        return View(stored, history, trace, _where(settings), notes)


async def _trace(reader: Reader, settings: Settings, stored: Stored) -> tuple[Trace, list[str]]:
    """The trace, and what is to be said about it; of a saga that ended just now, with patience for its last spans."""
    import asyncpg

    from saga.traces.model import Trace
    from saga.traces.reader import PostgresTraceReader

    traces = PostgresTraceReader(reader.pool, settings)
    identity = stored.state.trace
    trace_id = int(identity.trace_id, 16)
    publisher = identity.publisher()
    ended_us = max(stored.state.ended_us, stored.summary.updated_us)
    fresh = not stored.state.status.live and stored.now_us - ended_us < _JUST_NOW_US
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            trace = _rooted(await traces.trace(trace_id), publisher.span_id if publisher else 0)
        except asyncpg.UndefinedTableError:
            where = (
                f"they went to {settings.otlp_endpoint}" if settings.otlp_endpoint else "SAGA_OTLP_ENDPOINT is empty"
            )
            return Trace.of(trace_id, ()), [f"no traces are kept in this database ({where})"]
        if not fresh or _whole(trace, stored) or time.monotonic() >= deadline:
            return trace, _notes(trace, stored, settings)
        await asyncio.sleep(0.1)


def _rooted(trace: Trace, publisher_id: int) -> Trace:
    """``trace`` knowing which of its spans was called from elsewhere: the send span, or the saga's root without one."""
    send = trace.by_id.get(publisher_id)
    return replace(trace, external_parent=publisher_id if send is None else send.parent_id)


def _whole(trace: Trace, stored: Stored) -> bool:
    """Whether the durable spans are there and hang together: the root, and the rollback if there was one."""
    awaited = [int(stored.state.trace.root_span_id, 16)]
    if stored.state.rollback is not None:
        awaited.append(int(stored.state.rollback.span_id, 16))
    return all(span_id in trace.by_id for span_id in awaited) and not trace.orphans


def _notes(trace: Trace, stored: Stored, settings: Settings) -> list[str]:
    state = stored.state
    notes = []
    if not state.trace.root().sampled:
        notes.append("its publisher asked for this trace not to be recorded")
    elif state.status.live:
        notes.append("it is still under way: what has ended so far is there, the root span comes at its end")
    elif not trace.spans:
        if stored.now_us - state.ended_us > _KEPT_US:
            notes.append("its trace is not there (any more): recent traces are kept for an hour or two")
        else:
            told = "ask again in a moment" if settings.otlp_endpoint else "the services export it to SAGA_OTLP_ENDPOINT"
            notes.append(f"no span of its trace has arrived yet: {told}, or see `saga doctor`")
    elif int(state.trace.root_span_id, 16) not in trace.by_id:
        notes.append("its root span has not arrived yet: ask again in a moment")
    return notes


def _where(settings: Settings) -> str:
    """The database without its credentials."""
    url = urlsplit(settings.database_url.get_secret_value())
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL at {url.hostname or 'the default host'}{port}{url.path}, schema {settings.schema_prefix}traces"
