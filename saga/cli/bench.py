"""``saga bench``: how fast the saga is on this machine, what it costs, and how far it is from what is possible."""

from __future__ import annotations

import click

from saga.cli.output import console, json_option, print_json, progress, stack_option

_EXAMPLES = """
\b
Examples:
  saga bench                                   on Apache Kafka itself where Java and Maven are, else embedded
  saga bench --sagas 3000 --json
  saga bench --sagas 500 --no-pump --stack embedded
  saga bench --stored 100000                   does a saga cost more when many are stored?

\b
Every process of ours and both servers share this machine with whatever else it does: leave it alone meanwhile.
docs/decisions/0006-measuring-speed.md says what each figure means and what the pump leaves out.
Exit codes: 0 measured, 1 bookings went wrong or an invariant is broken, 2 wrong use, 3 cannot reach a service.
"""


@click.command(name="bench", epilog=_EXAMPLES)
@click.option("--sagas", type=click.IntRange(1, 1_000_000), default=3_000, show_default=True, help="How many bookings.")
@click.option("--warm", type=click.IntRange(0, 100_000), default=500, show_default=True, help="Bookings before those.")
@click.option(
    "--light-rate", type=click.FloatRange(0.1, 10_000), default=10.0, show_default=True, help="A second, light load."
)
@click.option(
    "--light-seconds", type=click.FloatRange(0.1, 3_600), default=20.0, show_default=True, help="How long, light load."
)
@click.option(
    "--stored",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Fill the tables up to so many sagas and measure again: does the cost grow?",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same bookings.")
@click.option("--pump/--no-pump", default=True, help="Measure the limit by a bare pump (the default).")
@stack_option
@json_option
def command(
    sagas: int,
    warm: int,
    light_rate: float,
    light_seconds: float,
    stored: int,
    seed: int,
    *,
    pump: bool,
    stack: str | None,
    as_json: bool,
) -> int:
    """Measure throughput, latency and cost per saga on a fresh stack, every booking traced and durable.

    Takes two or three minutes with the defaults, half of it for the pump; --stored 100000 adds four or five.
    """
    from saga.bench import report
    from saga.bench.measure import measure
    from saga.bench.plan import Plan

    plan = Plan(sagas, warm, light_rate, light_seconds, stored, seed, pump)
    with progress() as tell:
        measured = measure(plan, stack, tell)
    told = report.as_json(measured)
    if as_json:
        print_json(told)
    else:
        report.print_tables(told, console())
    return 0 if measured.good else 1
