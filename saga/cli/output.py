"""How every verb speaks: results on standard output, progress and complaints on standard error, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saga.stacks.base import Progress

if TYPE_CHECKING:
    from rich.console import Console

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def json_option(function: _FunctionT) -> _FunctionT:
    """The ``--json`` switch of a verb that a program might read; arrives as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead.")(function)


def stack_option(function: _FunctionT) -> _FunctionT:
    """The ``--stack`` choice of a verb that starts a broker and a database; arrives as ``stack``."""
    from saga.stacks.choose import NAMES

    return click.option(
        "--stack",
        type=click.Choice(NAMES),
        envvar="SAGA_STACK",
        help="Broker and database to start; default: the best that this machine has.",
    )(function)


def console() -> Console:
    """For results. Plain text, without colours or boxes drawn over lines, when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """One JSON document on standard output. Dataclasses become objects; times and ids their text."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Tells on standard error what is being done: a spinner on a terminal, else one line each."""
    if not sys.stderr.isatty():
        yield lambda message: click.echo(message, err=True)
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("...") as status:

        def tell(message: str) -> None:
            status.update(message)

        yield tell


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
