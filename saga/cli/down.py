"""``saga down``: stop what ``saga up`` started."""

from __future__ import annotations

import click

from saga.cli.output import json_option, print_json, progress

_EXAMPLES = """
\b
Examples:
  saga down
  saga down --json

\b
Safe to repeat. Data of the stacks kafka and embedded goes with them; a broker and database of your own are left alone.
Exit codes: 0 nothing runs any more, 1 something could not be stopped.
"""


@click.command(name="down", epilog=_EXAMPLES)
@json_option
def command(*, as_json: bool) -> None:
    """Stop every service, the database and the broker, and say what was stopped."""
    from saga.stacks.environment import read, remove
    from saga.stacks.processes import is_alive, stop_pid

    environment = read()
    alive = []
    if environment is not None:
        everything = (environment.supervisor, *environment.processes)
        alive = [process for process in everything if process.pid and is_alive(process.pid, started=process.started)]
        with progress() as tell:
            if alive:
                tell(f"stopping {environment.stack} and {len(environment.processes)} processes")
            # The supervisor stops the others in order; they die with it in any case, so the rest is a safety net.
            for process in alive:
                stop_pid(process.pid, started=process.started, grace_s=60)
        remove()
    names = [process.name for process in alive]
    if as_json:
        print_json({"stack": environment.stack if environment else None, "stopped": names})
    elif environment is None or not alive:
        click.echo("Nothing was running.")
    else:
        click.echo(f"Stopped {environment.stack}: {', '.join(names)}.")
