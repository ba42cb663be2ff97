"""``saga run``: one role in this process, or all of them as child processes of this one."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saga.errors import SagaError, UsageError
from saga.stacks.launch import die_with_parent

if TYPE_CHECKING:
    from saga.settings import Settings

_WORKERS = ("availability", "locking", "payment", "confirmation", "notification")

_EXAMPLES = """
\b
Examples:
  saga run orchestrator
  saga run worker payment
  saga run pricing
  saga run all                                     every role, each a process; Ctrl-C stops them
  SAGA_BROKERS=kafka:9092 SAGA_DATABASE_URL=postgresql://... saga run worker locking

\b
Addresses come from the environment (SAGA_*), else from a running `saga up`. SIGTERM or Ctrl-C lets the role finish what
it holds; a second one ends it at once.
"""


@click.command(name="run", epilog=_EXAMPLES)
@click.argument("role", metavar="ROLE")
@click.argument("name", required=False, metavar="[NAME]")
def command(role: str, name: str | None) -> None:
    """Run ROLE in the foreground: orchestrator, worker NAME, pricing, provider, collector, mailbox, or all.

    The broker and the database must be there already: `saga up` starts them with everything else.
    """
    parent = os.environ.pop("SAGA_PARENT", "")
    if parent:
        die_with_parent(int(parent))
    role = _resolve(role, name)
    if role == "all":
        from saga.stacks.supervise import run_all

        run_all()
    else:
        _run_one(role)


def _resolve(role: str, name: str | None) -> str:
    """The role meant. Raises :class:`UsageError` naming those there are."""
    from saga.runtime import role_names

    if role == "worker":
        if name not in _WORKERS:
            raise UsageError(f"name a worker: {', '.join(_WORKERS)} (for example `saga run worker payment`)")
        return name
    if name is not None:
        raise UsageError(f"`saga run {role}` takes no second word; did you mean `saga run worker {name}`?")
    if role != "all" and role not in role_names():
        raise UsageError(f"there is no role {role!r}; the roles are {', '.join(role_names())}, and all")
    return role


def _run_one(role: str) -> None:
    import uvloop

    from saga.logging import configure_logging
    from saga.stacks.environment import resolve_settings

    settings = resolve_settings()
    configure_logging(settings, role=role)
    uvloop.run(_serve(role, settings))


async def _serve(role: str, settings: Settings) -> None:
    import asyncio
    import logging
    import signal

    from saga.runtime import Runtime, load_role
    from saga.telemetry.setup import start

    log = logging.getLogger("saga.run")
    # The collector tells nobody about itself: told to itself, its last words would wait for a server that has stopped.
    told = settings.model_copy(update={"otlp_endpoint": ""}) if role == "collector" else settings
    telemetry = start(role, told)
    runtime = Runtime(role, settings, telemetry, on_ready=_announce)

    def stop() -> None:
        if runtime.stopping.is_set():
            os._exit(130)  # asked twice: whoever asks does not want to wait
        runtime.stopping.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)
    try:
        log.info("starting")
        await load_role(role)(runtime)
        log.info("stopped")
    except SagaError:
        raise
    except Exception as error:
        # The interpreter's own traceback would pass no redaction.
        log.exception("the role failed")
        raise SagaError(f"{role} failed ({type(error).__name__}); its log says how") from None
    finally:
        await asyncio.to_thread(telemetry.shutdown)


def _announce() -> None:
    """Tell the supervisor, if there is one, that this role serves."""
    # Everything made so far lives as long as the process: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    path = os.environ.get("SAGA_READY_FILE")
    if path:
        Path(path).touch()
