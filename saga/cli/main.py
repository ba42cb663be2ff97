"""The ``saga`` command: one group, every verb in a module of its own that is imported only when it is used."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from saga.errors import SagaError, UsageError

# verb: (module, what it does). The words are here, so that `saga --help` imports none of the modules.
VERBS = {
    "demo": ("demo", "Run the whole saga on a fresh stack and show what happened."),
    "up": ("up", "Start broker, database and every service."),
    "down": ("down", "Stop what `saga up` started."),
    "run": ("run", "Run one role of the chain, or all of them, in the foreground."),
    "seed": ("seed", "Load a property catalogue, or a generated sample."),
    "publish": ("publish", "Ask for bookings."),
    "cancel": ("cancel", "Ask for a booking to be cancelled."),
    "list": ("list_", "List bookings and how they stand."),
    "show": ("show", "Show everything that happened to one booking."),
    "audit": ("audit", "Check every invariant of the stored sagas and traces."),
    "bench": ("bench", "Measure throughput, latency and cost per saga."),
    "schema": ("schema", "Print or check the message schemas."),
    "doctor": ("doctor", "Find out what is missing or wrong, and what to do about it."),
}

_EXAMPLES = """
\b
Examples:
  saga demo                            see it all work, on this machine alone
  saga up && saga publish --wait       start everything, book a room
  saga show BOOKING_ID                 what happened to it, with its trace
  saga down                            stop everything

\b
Exit codes: 0 good, 1 found a problem, 2 wrong use, 3 cannot reach a service.
"""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = f"saga.cli.{VERBS[cmd_name][0]}"
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise UsageError(f"this version has no `saga {cmd_name}` yet; see `saga --help` for what it has") from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, words) for verb, (_, words) in VERBS.items()])


@click.group(cls=_Verbs, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="booking-saga", prog_name="saga")
def cli() -> None:
    """An event-driven booking saga on Kafka whose every step and every undo can be seen in one trace."""


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; says on standard error, in one line, why it is not 0."""
    try:
        result = cli.main(args=list(arguments), prog_name="saga", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SagaError as error:
        click.echo(f"saga: {_redacted(str(error))}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("saga: interrupted", err=True)
        return 130
    except _Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        # Whoever read our output has had enough (`saga list | head`); at exit the interpreter must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The entry point."""
    # SIGTERM ends a command as Ctrl-C does, through every `finally`, so that nothing it started is left behind.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(invoke(sys.argv[1:]))


class _Terminated(BaseException):
    """SIGTERM arrived; not an ``Exception``, so that no handler takes it for a failure."""


def _terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _redacted(message: str) -> str:
    from saga.telemetry.redaction import redact_text

    return redact_text(message)


if __name__ == "__main__":
    main()
