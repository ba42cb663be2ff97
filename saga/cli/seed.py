"""``saga seed``: load a property catalogue, or a generated sample of one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from saga.cli.output import json_option, print_json, progress
from saga.errors import UsageError
from saga.seeding import SeedReport, SeedSource, load_seeder

_SHOWN_BAD_ROWS = 20

_EXAMPLES = """
\b
Examples:
  saga seed                                      the sample: 40 properties, 1200 rooms
  saga seed --properties 200 --rooms 9000 --seed 7
  saga seed --export sample.csv                  write the sample, to see the format
  saga seed --file my-hotels.csv --json
\b
Exit codes: 0 all loaded, 1 some rows were left out, 2 wrong use, 3 the database cannot be reached.
"""


@click.command(name="seed", epilog=_EXAMPLES)
@click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="A catalogue, .csv or .json, to load."
)
@click.option(
    "--properties", type=click.IntRange(1, 100_000), default=40, show_default=True, help="Size of the sample."
)
@click.option(
    "--rooms", type=click.IntRange(1, 2_000_000), default=1_200, show_default=True, help="Rooms in the sample."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same sample.")
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the catalogue to this .csv or .json file and load nothing.",
)
@json_option
def command(file: Path | None, properties: int, rooms: int, seed: int, export: Path | None, as_json: bool) -> None:
    """Load the property catalogue: properties and rooms into the inventory, rates into the pricing engine.

    Without --file a realistic sample is generated. Loading is idempotent: what is there already is updated, what the
    catalogue does not mention stays. Rows that are not valid are left out and named.
    """
    if file is not None and export is not None and file == export:
        raise UsageError("--file and --export name the same file; export to another")
    seeder = load_seeder()
    source = SeedSource(file, properties, rooms, seed)
    if export is not None:
        report = seeder.export(source, export)
    else:
        from saga.stacks.environment import resolve_settings

        settings = resolve_settings()
        with progress() as tell:
            tell(f"loading {file or 'the sample catalogue'}; a large one takes a few seconds")
            report = asyncio.run(seeder.load(settings, source))
    if as_json:
        print_json(report)
    else:
        _print(report, f"written to {export}" if export else "loaded")
    if report.bad_rows:
        raise click.exceptions.Exit(1)


def _print(report: SeedReport, done: str) -> None:
    click.echo(f"{report.properties} properties, {report.rooms} rooms and {report.rates} rates {done}.")
    for bad in report.bad_rows[:_SHOWN_BAD_ROWS]:
        click.echo(f"  left out: {bad.where}: {bad.reason}", err=True)
    if len(report.bad_rows) > _SHOWN_BAD_ROWS:
        click.echo(f"  ... and {len(report.bad_rows) - _SHOWN_BAD_ROWS} more; --json names them all", err=True)
    if report.bad_rows:
        click.echo(f"{len(report.bad_rows)} rows were left out; correct them and seed again.", err=True)
