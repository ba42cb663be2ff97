"""``saga publish``: ask for one booking, for those of a file, or for any number of generated ones."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saga.cli.careful import CarefulCommand
from saga.cli.output import json_option, print_json
from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.cli.publish_plan import FilePlan, GeneratedPlan
    from saga.cli.publish_report import Report
    from saga.cli.sending import Planned
    from saga.publishing import BookingPublisher
    from saga.settings import Settings
    from saga.store.reading import Reader

_EXAMPLES = """
\b
Examples:
  saga publish --wait                                  something plausible from the catalogue
  saga publish --property htl-001 --check-in 2027-03-01 --nights 3 --guests 2 --token tok_visa
  saga publish --token tok_declined_insufficient_funds --wait
  saga publish --file bookings.csv --wait              a header names the fields, as in `saga schema`
  jq -c '.[]' export.json | saga publish --file -      JSON Lines from standard input
  saga publish --count 500 --rate 20 --mix typical --wait
  saga publish --count 10 --mix confirmed=2,contended=1,declined=1 --seed 7 --json

\b
The kinds of a mix: confirmed, declined, slow, lost (the provider's answer), contended, sold_out, unknown (property),
cancelled. The same --seed, --mix, --first-day and catalogue give the same bookings with the same ids: published again
they change nothing.

\b
With --wait it exits with 1 when a booking is not CONFIRMED in time, or for generated ones when one does not come to
what its kind says. Other exit codes: 0 good, 1 lines were refused, 2 wrong use, 3 cannot reach broker or database.
"""

_DAY = click.DateTime(["%Y-%m-%d"])


@dataclass(frozen=True, slots=True)
class _Options:
    """Everything that was typed."""

    booking_id: str | None
    property_ids: tuple[str, ...]
    check_in: datetime | None
    check_out: datetime | None
    nights: int | None
    guests: int | None
    room_type: str | None
    currency: str | None
    user_id: str | None
    email: str | None
    guest_name: str | None
    payment_token: str | None
    source: str | None
    traceparent: str | None
    tracestate: str
    file: Path | None
    count: int | None
    rate: float | None
    seed: int | None
    mix: str | None
    first_day: datetime | None
    wait: bool
    timeout: float
    as_json: bool

    def check(self) -> None:
        """Raises :class:`UsageError` for flags that do not go together."""
        if self.file is not None and self.count is not None:
            raise UsageError("--file and --count are two ways to publish many; choose one")
        many = "--file" if self.file is not None else "--count" if self.count is not None else None
        if many is not None:
            alone = [*self.chosen(), *(name for name in ("nights", "traceparent") if getattr(self, name) is not None)]
            alone = [name for name in alone if name not in {"property_id", "source"}]
            if alone:
                flag = _FLAGS.get(alone[0], "--" + alone[0].replace("_", "-"))
                raise UsageError(f"{flag} is for one booking; leave it out, or leave out {many}")
        if self.count is None and (flags := [f for f in ("seed", "mix", "first_day") if getattr(self, f) is not None]):
            raise UsageError(f"--{flags[0].replace('_', '-')} is for generated bookings; add --count N")
        if many is None and self.rate is not None:
            raise UsageError("--rate is for many bookings; add --count N, or --file")
        if self.count is None and len(self.property_ids) > 1:
            raise UsageError("one booking is at one --property; several are for --count")
        if self.file is not None and self.property_ids:
            raise UsageError("--property does not go with --file; each line names its own property_id")
        if self.mix is not None:
            from saga.generate import parse_mix

            parse_mix(self.mix)

    def chosen(self) -> dict[str, Any]:
        """The fields of a booking that were given."""
        days: dict[str, date | None] = {
            "check_in": self.check_in.date() if self.check_in else None,
            "check_out": self.check_out.date() if self.check_out else None,
        }
        fields = {
            "booking_id": self.booking_id,
            "property_id": self.property_ids[0] if self.property_ids else None,
            **days,
            "guests": self.guests,
            "room_type": self.room_type,
            "currency": self.currency,
            "user_id": self.user_id,
            "email": self.email,
            "guest_name": self.guest_name,
            "payment_token": self.payment_token,
            "source": self.source,
        }
        return {name: value for name, value in fields.items() if value is not None}


_FLAGS = {"user_id": "--user", "guest_name": "--name", "payment_token": "--token"}


@click.command(name="publish", cls=CarefulCommand, epilog=_EXAMPLES)
@click.option("--booking-id", metavar="ID", help="Default: a new one.")
@click.option("--property", "property_ids", metavar="ID", multiple=True, help="Default: any of the catalogue.")
@click.option("--check-in", type=_DAY, metavar="DATE", help="Day of arrival.")
@click.option("--check-out", type=_DAY, metavar="DATE", help="Day of departure.")
@click.option("--nights", type=click.IntRange(1, 60), metavar="N", help="Instead of --check-out.")
@click.option("--guests", type=click.IntRange(1, 20), metavar="N")
@click.option("--room-type", metavar="TYPE", help="Such as double; default: any.")
@click.option("--currency", metavar="CODE", help="To be charged in, such as EUR.")
@click.option("--user", "user_id", metavar="ID")
@click.option("--email", metavar="ADDRESS", help="Where the confirmation goes.")
@click.option("--name", "guest_name", metavar="NAME")
@click.option("--token", "payment_token", metavar="TOKEN", help="The payment provider's token, never a card number.")
@click.option("--source", type=click.Choice(["web", "mobile", "api"]), help="Who asks; for many: unless a line says.")
@click.option("--traceparent", metavar="W3C", help="Continue this trace.")
@click.option("--tracestate", metavar="W3C", default="", help="Goes with --traceparent.")
@click.option("--file", type=click.Path(path_type=Path), help="JSON Lines or CSV; - is standard input.")
@click.option("--count", type=click.IntRange(1, 10_000_000), metavar="N", help="So many generated bookings.")
@click.option("--rate", type=click.FloatRange(0.01, 100_000), metavar="R", help="So many a second; default: at once.")
@click.option("--seed", type=int, help="The same seed gives the same bookings.")
@click.option("--mix", metavar="MIX", help="What is to become of them; default: all confirmed.")
@click.option("--first-day", type=_DAY, metavar="DATE", help="Of generated stays; default: tomorrow.")
@click.option("--wait", is_flag=True, help="Until they have ended, and tell how.")
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds to --wait.")
@json_option
def command(**typed: Any) -> None:
    """Ask for bookings: one from flags, many from --file, or --count generated ones.

    Each is published with a send span of its own, and the saga continues that trace.
    """
    options = _Options(**typed)
    options.check()
    report = asyncio.run(_publish(options))
    if options.as_json:
        print_json(report.as_json())
    else:
        report.show()
    if not report.good:
        raise click.exceptions.Exit(1)


async def _publish(options: _Options) -> Report:
    from saga.cli.counting import counting
    from saga.cli.publish_report import Report
    from saga.cli.sending import Sender
    from saga.cli.waiting import follow
    from saga.publishing import BookingPublisher
    from saga.stacks.environment import resolve_settings
    from saga.store.reading import open_reader

    settings = resolve_settings()
    async with AsyncExitStack() as stack:
        reader: Reader | None = None
        if options.wait or options.count is not None or (options.file is None and not options.property_ids):
            reader = await stack.enter_async_context(open_reader(settings, role="publisher"))
        plan = await _plan(options, reader)
        publisher = BookingPublisher(settings)
        with counting("publishing", options.count or (None if options.file else 1)) as count:
            async with publisher:
                _tell_topics(publisher)
                began = time.monotonic()
                sender = Sender(publisher, count)
                await _send(sender, plan, options)
                duration_s = time.monotonic() - began
        report = Report(
            sender.published,
            seed=getattr(plan, "seed", None),
            refused=getattr(plan, "refused", ()),
            kinds=getattr(plan, "kinds", {}),
            duration_s=duration_s,
            lost_spans=publisher.lost_spans,
        )
        _tell_lost_spans(publisher, settings)
        if options.wait and reader is not None:
            ids = list(dict.fromkeys(one.booking_id for one in sender.published))
            with counting("waiting", len(ids)) as count:
                outcomes = await follow(
                    reader, ids, timeout_s=options.timeout, settled=report.settled, on_progress=count
                )
            report = replace(report, outcomes=outcomes)
        return report


async def _plan(options: _Options, reader: Reader | None) -> FilePlan | GeneratedPlan | list[Planned]:
    from saga.cli.publish_plan import FilePlan, GeneratedPlan, any_seed, caller, lodgings_of, one_booking, tomorrow
    from saga.generate import parse_mix

    if options.file is not None:
        return FilePlan(options.file, options.source)
    if options.count is not None:
        mix = parse_mix(options.mix or "confirmed")
        assert reader is not None
        return GeneratedPlan(
            options.count,
            any_seed() if options.seed is None else options.seed,
            await lodgings_of(reader, options.property_ids),
            mix,
            options.first_day.date() if options.first_day else tomorrow(),
            options.source,
        )
    parent = caller(options.traceparent, options.tracestate)
    chosen = options.chosen()
    lodgings = () if options.property_ids or reader is None else await lodgings_of(reader, ())
    return [one_booking(chosen, options.nights, lodgings, parent)]


async def _send(sender: Any, plan: FilePlan | GeneratedPlan | list[Planned], options: _Options) -> None:
    from saga.cli.sending import Feed

    if options.file is not None and options.rate is None:
        await sender.send_stream(Feed(lambda: plan).batches())
    else:
        await sender.send(plan, rate=options.rate)


def _tell_topics(publisher: BookingPublisher) -> None:
    for topic in publisher.created_topics:
        click.echo(f"topic {topic} was not there and has been created", err=True)


def _tell_lost_spans(publisher: BookingPublisher, settings: Settings) -> None:
    if publisher.lost_spans:
        click.echo(
            f"not all send spans could be exported to {settings.otlp_endpoint} ({publisher.lost_spans} are lost), so "
            "traces will lack them; is the collector running? see `saga doctor`",
            err=True,
        )
