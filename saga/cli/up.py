"""``saga up``: broker, database, tables, topics, rooms to book and every service, in the background by default."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saga.cli.output import console, json_option, print_json, progress, stack_option
from saga.errors import StackError, UsageError

if TYPE_CHECKING:
    from saga.stacks.base import Progress
    from saga.stacks.environment import Environment

_LOG = "up.log"
_STEP = "· "  # begins a line of progress in the supervisor's log
_BACKGROUND = "SAGA_UP_BACKGROUND"

_EXAMPLES = """
\b
Examples:
  saga up                          in the background, on the best stack that this machine has without Docker
  saga up --stack kafka            on Apache Kafka itself (Java and Maven needed)
  saga up --foreground             until Ctrl-C
  SAGA_BROKERS=... SAGA_DATABASE_URL=... saga up --stack env

\b
Where everything is stands in .saga/environment.json (SAGA_HOME overrides .saga), where the other verbs find it; logs
are beside it. The stacks kafka and embedded keep their data only until `saga down`.
Exit codes: 0 everything runs, 1 something could not start, 2 wrong use, 3 cannot reach a service.
"""


@click.command(name="up", epilog=_EXAMPLES)
@stack_option
@click.option("--detach/--foreground", default=True, help="Leave it running in the background (the default).")
@click.option("--seed/--no-seed", default=None, help="Load the sample catalogue; default: on stacks that begin empty.")
@json_option
def command(stack: str | None, *, detach: bool, seed: bool | None, as_json: bool) -> None:
    """Start everything and say where it is. Does nothing when it runs already."""
    from saga.stacks.environment import read

    running = read()
    if running is not None and running.running:
        if stack not in {None, "auto", running.stack}:
            raise UsageError(f"the {running.stack} stack runs here already; `saga down` stops it")
        _show(running, as_json=as_json)
    elif detach:
        _show(_start_in_background(stack, seed=seed), as_json=as_json)
    else:
        _hold(stack, seed=seed, as_json=as_json)


def _hold(stack: str | None, *, seed: bool | None, as_json: bool) -> None:
    """Start everything, say where it is, and keep it running until interrupted."""
    from saga.logging import configure_logging
    from saga.stacks.environment import checked_settings, remove
    from saga.stacks.supervise import running_environment, supervise

    background = bool(os.environ.pop(_BACKGROUND, ""))
    configure_logging(checked_settings(), role="supervisor")

    def tell(message: str) -> None:
        click.echo(_STEP + message, err=True)

    with running_environment(stack, seed=seed, progress=tell) as (environment, services, running_stack):
        if not background:
            _show(environment, as_json=as_json)
            click.echo("Ctrl-C stops everything.", err=True)
        try:
            supervise(services, running_stack)
        finally:
            remove()


def _start_in_background(stack: str | None, *, seed: bool | None) -> Environment:
    """Start a supervisor that outlives this command; returns once everything serves."""
    from saga.stacks.environment import home, read

    home().mkdir(parents=True, exist_ok=True)
    log = home() / _LOG
    command = [sys.executable, "-m", "saga.cli.main", "up", "--foreground"]
    command += ["--stack", stack] if stack else []
    command += [] if seed is None else ["--seed" if seed else "--no-seed"]
    with log.open("wb") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own words
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, _BACKGROUND: "1"},
        )
    try:
        with progress() as tell:
            told = 0
            while True:
                told = _relay(log, told, tell)
                environment = read()
                if environment is not None and environment.supervisor.pid == supervisor.pid:
                    return environment
                _check(supervisor, log)
                time.sleep(0.05)
    except BaseException:
        # Interrupted while it was starting: it stops what it has started so far.
        if supervisor.poll() is None:
            supervisor.terminate()
            supervisor.wait()
        raise


class _Failed(StackError):
    """The supervisor ended before everything served; its exit code is ours."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code if code > 0 else 1


def _check(supervisor: subprocess.Popen[bytes], log: Path) -> None:
    code = supervisor.poll()
    if code is not None:
        raise _Failed(_complaint(log), code)


def _relay(log: Path, told: int, tell: Progress) -> int:
    """Tell the steps in the log beyond the first ``told``; returns how many there are."""
    steps = [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith(_STEP)]
    for step in steps[told:]:
        tell(step.removeprefix(_STEP))
    return len(steps)


def _complaint(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if not line.startswith(_STEP)]
    return "\n".join(lines[-25:]).removeprefix("saga: ") or f"the supervisor ended without a word; see {log}"


def _show(environment: Environment, *, as_json: bool) -> None:
    """Print what runs where; never the database URL, which may hold a password."""
    if as_json:
        shown = [{"name": p.name, "pid": p.pid, "address": p.address, "log": p.log} for p in environment.processes]
        print_json({"stack": environment.stack, "supervisor": environment.supervisor.pid, "processes": shown})
        return
    from rich.table import Table

    table = Table(title=f"{environment.stack}: {environment.description}", title_justify="left")
    for heading in ("what", "pid", "where", "log"):
        table.add_column(heading, overflow="fold")
    for process in environment.processes:
        log = process.log.removeprefix(f"{Path.cwd()}/")
        table.add_row(process.name, str(process.pid or ""), process.address, log)
    console().print(table)
    click.echo("Next: `saga publish --wait` books a room, `saga list` shows bookings, `saga down` stops everything.")
