"""``saga cancel``: ask for a booking to be cancelled; before the pivot it is stopped, after it it is taken back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from saga.cli.careful import CarefulCommand
from saga.cli.output import json_option, print_json
from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.publishing import Published
    from saga.store.reading import Summary

_EXAMPLES = """
\b
Examples:
  saga cancel bk-01m821d2c2-7htvgxa9
  saga cancel bk-01m821d2c2-7htvgxa9 --reason "flight cancelled" --wait
  saga list --status confirmed --json | jq -r '.sagas[].booking_id' | xargs -n 1 saga cancel

\b
Exit codes: 0 asked for (with --wait: CANCELLED), 1 there is no such booking, or it did not become CANCELLED in time,
2 wrong use, 3 cannot reach broker or database.
"""


@click.command(name="cancel", cls=CarefulCommand, epilog=_EXAMPLES)
@click.argument("booking_id")
@click.option("--reason", default="requested", show_default=True, help="Goes into the trace and the event.")
@click.option("--by", "requested_by", default="", metavar="NAME", help="Who asks.")
@click.option("--wait", is_flag=True, help="Until it is cancelled, or cannot be any more.")
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds to --wait.")
@json_option
def command(booking_id: str, reason: str, requested_by: str, timeout: float, *, wait: bool, as_json: bool) -> None:
    """Ask for a booking to be cancelled.

    One that is under way stops and undoes what it did; one that is confirmed is rolled back: inventory restored,
    payment refunded, lock released. One that has failed stays failed.
    """
    from saga.engine.state import Status

    published, before, after = asyncio.run(_cancel(booking_id, reason, requested_by, timeout, wait=wait))
    good = not wait or (after is not None and after.status is Status.CANCELLED)
    if as_json:
        told = {"booking_id": booking_id, "trace_id": published.trace_id, "status_before": before.status.value}
        print_json({**told, "status": after.status.value} if after else told)
    elif after is None:
        click.echo(f"asked to cancel {booking_id} (it was {before.status.value}); see `saga show {booking_id}`")
    else:
        _show(after)
    if not good:
        raise click.exceptions.Exit(1)


async def _cancel(
    booking_id: str, reason: str, requested_by: str, timeout_s: float, *, wait: bool
) -> tuple[Published, Summary, Summary | None]:
    from saga.cli.request_lines import explain
    from saga.cli.waiting import follow
    from saga.engine.state import Status
    from saga.publishing import BookingPublisher, Request
    from saga.stacks.environment import resolve_settings
    from saga.store.reading import open_reader
    from schemas.requests import BookingCancellationRequested

    try:
        body = BookingCancellationRequested(reason=reason, requested_by=requested_by)
    except ValidationError as error:
        raise UsageError(f"that cannot be asked for: {explain(error)}") from None
    settings = resolve_settings()
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(open_reader(settings, role="cancel"))
        stored = await reader.find(booking_id)
        if stored is None:
            # Sent all the same it would only become a dead letter.
            click.echo(
                f"there is no booking {booking_id}; `saga list` shows those there are, and if it was published just "
                "now, an orchestrator must take it up first (`saga doctor`)",
                err=True,
            )
            raise click.exceptions.Exit(1)
        publisher = BookingPublisher(settings)
        async with publisher:
            # In the trace of the booking itself, so that whoever reads it sees who asked for the end.
            (published,) = await publisher.publish([Request(booking_id, body, stored.state.trace.root())])
        before = stored.summary
        if not wait:
            return published, before, None

        def settled(summary: Summary) -> bool:
            return not summary.status.live and summary.status is not Status.CONFIRMED

        found = await follow(reader, [booking_id], timeout_s=timeout_s, settled=settled)
        return published, before, found[booking_id]


def _show(after: Summary) -> None:
    from saga.cli.wording import status
    from saga.engine.state import Status

    click.echo(f"{after.id} is {status(after.status)}")
    if after.status is Status.CONFIRMED or after.status.live:
        click.echo(f"it is not cancelled yet; is an orchestrator running? see `saga show {after.id}`", err=True)
    elif after.status is Status.NEEDS_ATTENTION:
        click.echo(f"an undo keeps failing; see `saga show {after.id}`", err=True)
    elif after.status is not Status.CANCELLED:
        click.echo("it had ended before, so there was nothing to cancel", err=True)
