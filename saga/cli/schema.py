"""``saga schema``: every message there is, as a person, a program or a publisher in another language needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from saga.cli.careful import CarefulCommand
from saga.cli.output import json_option, print_json
from saga.errors import UsageError

if TYPE_CHECKING:
    from schemas.base import Message

_EXAMPLES = """
\b
Examples:
  saga schema                                    every message type, and its topic
  saga schema show BookingRequested              fields, an example, and how to publish it with kcat
  saga schema example BookingRequested           just the example body, to start from
  saga schema show LockRefused --json | jq .schema
  saga schema asyncapi > asyncapi.json           all topics, for AsyncAPI tools
  saga schema export ./contracts                 one JSON Schema per type
  saga schema check --against ./contracts        would this version break whoever relies on those?

\b
Exit codes: 0 good, 1 found a problem, 2 wrong use.
"""

_REFRESH = """refresh it with
  saga schema export schemas/json
  saga schema asyncapi --output schemas/asyncapi.json"""

_SETTINGS = {"help_option_names": ["-h", "--help"]}


@click.group(name="schema", invoke_without_command=True, epilog=_EXAMPLES, context_settings=_SETTINGS)
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Print or check the message schemas.

    Bodies are JSON, the envelope is CloudEvents in Kafka headers, and a type's version is part of its name:
    `booking.BookingRequested.v1`. In what you type here, `BookingRequested` will do.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)
    elif as_json:
        raise UsageError(f"--json goes behind the word it is for: saga schema {context.invoked_subcommand} ... --json")


@command.command(name="list", cls=CarefulCommand)
@json_option
def list_(*, as_json: bool) -> None:
    """Every message type, its topic, and what it says."""
    _list(as_json=as_json)


@command.command(
    name="show",
    cls=CarefulCommand,
    epilog="\b\nExamples:\n  saga schema show BookingRequested\n  saga schema show booking.LockRefused.v1 --json",
)
@click.argument("type_name", metavar="TYPE")
@json_option
def show(type_name: str, *, as_json: bool) -> None:
    """Everything about one message type: fields, headers, an example, and how to send or read it with kcat."""
    from saga.cli.schema_text import describe, details
    from saga.stacks.environment import resolve_settings

    cls = _find(type_name)
    settings = resolve_settings()
    if as_json:
        print_json(details(cls, settings))
    else:
        click.echo(describe(cls, settings))


@command.command(
    name="example",
    cls=CarefulCommand,
    epilog="\b\nExamples:\n  saga schema example BookingRequested | jq '.guests = 1' | saga publish --file -",
)
@click.argument("type_name", metavar="TYPE")
def example_(type_name: str) -> None:
    """The example body of one message type, on one line, as it goes on the topic."""
    from schemas.examples import example

    click.echo(example(_find(type_name).type_name()).model_dump_json(exclude_none=True))


@command.command(
    name="export",
    cls=CarefulCommand,
    epilog="\b\nExamples:\n  saga schema export ./contracts\n  saga schema export ./contracts --force",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Even over schemas that the present ones are not compatible with.")
@json_option
def export(folder: Path, *, force: bool, as_json: bool) -> None:
    """Write one JSON Schema per message type to FOLDER, named after the type.

    Refused where FOLDER holds earlier schemas that the present ones would break: such a change needs a new version.
    """
    from schemas.compatibility import incompatible_types
    from schemas.export import json_schemas, write_schemas

    problems = incompatible_types(_read(folder), json_schemas()) if folder.is_dir() else {}
    if problems and not force:
        _tell_incompatible(problems)
        click.echo("nothing was written; give the change a new version, or insist with --force", err=True)
        raise click.exceptions.Exit(1)
    try:
        written = write_schemas(folder)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
    if as_json:
        print_json({"folder": str(folder), "written": sorted(path.name for path in written)})
    else:
        click.echo(f"{len(written)} schemas written to {folder}")


@command.command(
    name="asyncapi",
    cls=CarefulCommand,
    epilog="\b\nExamples:\n  saga schema asyncapi | jq .channels\n  saga schema asyncapi --output asyncapi.json",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
def asyncapi(output: Path | None) -> None:
    """The AsyncAPI 3.0 document: topics, keys, headers, messages, and who sends and receives them. Always JSON."""
    from schemas.asyncapi import document
    from schemas.export import render

    text = render(document())
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}; choose another file") from None
    click.echo(f"written to {output}")


@command.command(
    name="check",
    cls=CarefulCommand,
    epilog="\b\nExamples:\n  saga schema check\n  saga schema check --against ../released/schemas/json --json",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Schemas exported by another version; default: those committed with this one.",
)
@json_option
def check(against: Path | None, *, as_json: bool) -> None:
    """Would this version break anybody who relies on the committed schemas, or on those of another version?

    Without --against it is also checked that what is committed is what the models say.
    """
    from schemas.asyncapi import document
    from schemas.compatibility import incompatible_types
    from schemas.export import committed_asyncapi, committed_schemas, json_schemas

    old, new = (committed_schemas() if against is None else _read(against)), json_schemas()
    if not old:
        raise UsageError(f"there are no schemas in {against or 'schemas/json'}; `saga schema export` writes them")
    problems = incompatible_types(old, new)
    stale = [] if against else sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if against is None and committed_asyncapi() != document():
        stale.append("asyncapi")
    if as_json:
        print_json({"checked": len(old), "incompatible": problems, "stale": stale})
    else:
        _tell_incompatible(problems)
        for name in stale:
            click.echo(f"{name}: what is committed is not what the models say", err=True)
        if stale:
            click.echo(_REFRESH, err=True)
        if not problems and not stale:
            click.echo(f"{len(old)} types checked, all compatible")
    if problems or stale:
        raise click.exceptions.Exit(1)


def _list(*, as_json: bool) -> None:
    from saga.cli.schema_text import summaries

    rows = summaries()
    if as_json:
        print_json({"types": rows})
        return
    topic = ""
    width = max(len(row["type"]) for row in rows)
    for row in rows:
        if row["topic"] != topic:
            topic = row["topic"]
            click.echo(f"\n{topic}" if row is not rows[0] else topic)
        click.echo(f"  {row['type']:<{width}}  {row['summary']}")
    click.echo("\n`saga schema show TYPE` shows one of them.")


def _find(type_name: str) -> type[Message]:
    from difflib import get_close_matches

    from schemas.base import message_class
    from schemas.export import exported_classes

    classes = {cls.__name__: cls for cls in exported_classes()}
    found = message_class(type_name) or {name.lower(): cls for name, cls in classes.items()}.get(type_name.lower())
    if found is not None:
        return found
    close = get_close_matches(type_name.split(".")[-1 if "." not in type_name else 1], classes, n=2, cutoff=0.7)
    hint = f"did you mean {' or '.join(close)}?" if close else "`saga schema list` names those there are"
    raise UsageError(f"there is no message type {type_name}; {hint}")


def _read(folder: Path) -> dict[str, dict[str, object]]:
    from schemas.export import read_schemas

    try:
        return read_schemas(folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds a schema that cannot be read ({error}); remove it or correct it") from None


def _tell_incompatible(problems: dict[str, list[str]]) -> None:
    for ce_type, reasons in problems.items():
        for reason in reasons:
            click.echo(f"{ce_type}: {reason}", err=True)
