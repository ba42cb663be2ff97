"""Keep services running until told to stop: what ends by itself is started again, unless it keeps doing so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from saga.errors import StackError
from saga.stacks import environment
from saga.stacks.choose import choose
from saga.stacks.environment import Environment, Process
from saga.stacks.prepare import prepare
from saga.stacks.processes import started_at
from saga.stacks.services import ROLES, Services

if TYPE_CHECKING:
    from saga.stacks.base import Endpoints, Progress, Stack

_POLL_S = 0.25
_ENDS = 5
_WITHIN_S = 60.0

_log = logging.getLogger(__name__)


def supervise(services: Services, stack: Stack | None = None) -> None:
    """Watch until interrupted (Ctrl-C or SIGTERM, which arrive as exceptions).

    Raises :class:`StackError` when a role ends five times within a minute, or when broker or database end.
    """
    ends: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_ENDS))
    expected = set(stack.pids()) if stack is not None else set()
    while True:
        time.sleep(_POLL_S)
        for name, code in services.exited().items():
            times = ends[name]
            times.append(time.monotonic())
            if len(times) == _ENDS and times[-1] - times[0] < _WITHIN_S:
                raise StackError(f"{name} keeps ending (code {code}); see {services.log(name)}")
            _log.warning("%s ended with code %s and is started again", name, code)
            services.revive(name)
        lost = expected - set(stack.pids()) if stack is not None else set()
        if lost:
            raise StackError(f"{' and '.join(sorted(lost))} ended by itself; everything else is stopped with it")


def run_all(progress: Progress | None = None) -> None:
    """``saga run all``: every role on the broker and database of the settings, in child processes of this one.

    The small collector runs only where the settings name no other (``SAGA_OTLP_ENDPOINT``).
    """
    from saga.logging import configure_logging

    settings = environment.resolve_settings()
    configure_logging(settings, role="supervisor")
    roles = [role for role in ROLES if role != "collector" or not settings.otlp_endpoint]
    variables = environment.variables_of(settings, everything=True)
    if not settings.otlp_endpoint:
        del variables["SAGA_OTLP_ENDPOINT"]
    tell: Progress = progress or _log.info
    with Services(variables, environment.home() / "run" / str(os.getpid()), roles=roles, progress=tell) as services:
        _log.info("all %s roles are ready; their logs are in %s", len(roles), services.log("orchestrator").parent)
        supervise(services)


@contextlib.contextmanager
def running_environment(
    name: str | None, *, seed: bool | None, progress: Progress
) -> Iterator[tuple[Environment, Services, Stack]]:
    """Everything, running, for as long as the context lasts, and written down for the other verbs.

    ``name`` chooses the stack as for a demo; ``seed`` ``None`` loads the sample catalogue on stacks that begin empty.
    Raises :class:`StackError`, leaving nothing behind.
    """
    choice = choose(name, "demo")
    progress(f"stack {choice.stack.name}: {choice.reason}")
    endpoints = choice.stack.start(progress)
    try:
        variables = {**inherited(), **endpoints.environment()}
        services = Services(variables, environment.home() / "logs", progress=progress)
        fresh = choice.stack.name != "env"
        asyncio.run(prepare(services.settings, seed=fresh if seed is None else seed, progress=progress))
        progress("starting the services")
        with services:
            state = _describe(choice.stack, endpoints, services)
            environment.write(state)
            progress("everything runs")
            yield state, services, choice.stack
    finally:
        choice.stack.stop()


def inherited() -> dict[str, str]:
    """The ``SAGA_*`` settings of this process's own environment, for services that it starts."""
    return environment.variables_of(environment.checked_settings())


def _describe(stack: Stack, endpoints: Endpoints, services: Services) -> Environment:
    """The state that the other verbs read. The database is named by host and port: its URL may hold a password."""
    settings = services.settings
    database = urlsplit(endpoints.database_url)
    where = {"postgres": f"{database.hostname}:{database.port or 5432}"}
    where |= {"kafka": endpoints.brokers, "tansu": endpoints.brokers}
    where |= {"collector": settings.otlp_endpoint, "pricing": settings.pricing_url, "provider": settings.provider_url}
    where["mailbox"] = f"{settings.smtp_host}:{settings.smtp_port}"
    own = stack.pids() or {"kafka": 0, "postgres": 0}  # run by others: nothing to signal
    processes = [
        Process(name, pid, started_at(pid) if pid else 0.0, address=where.get(name, "")) for name, pid in own.items()
    ]
    processes += [
        Process(name, pid, started_at(pid), log=str(services.log(name)), address=where.get(name, ""))
        for name, pid in services.pids().items()
    ]
    supervisor = Process("supervisor", os.getpid(), started_at(os.getpid()))
    return Environment(stack.name, endpoints.description, supervisor, services.environment, tuple(processes))
