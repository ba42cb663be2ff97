"""The roles as processes of their own: started, watched until they serve, killed for drills, and stopped in order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from saga.errors import StackError, UsageError
from saga.stacks.base import Progress, silent
from saga.stacks.ports import free_ports
from saga.stacks.processes import Child

if TYPE_CHECKING:
    from saga.settings import Settings

# Everything else talks to these, so they come first and go last.
LISTENERS = ("collector", "pricing", "provider", "mailbox")
ROLES = (*LISTENERS, "availability", "locking", "payment", "confirmation", "notification", "orchestrator")

_TRIES = 3
_PORTS_TAKEN = ("Address already in use", "address already in use", "Errno 98")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used: CPU seconds since it began, and bytes of memory that are resident now."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where the listening roles of one set of services answer."""

    collector: int
    pricing: int
    provider: int
    mailbox: int

    @classmethod
    def choose(cls) -> _Addresses:
        return cls(*free_ports(4))

    def environment(self) -> dict[str, str]:
        return {
            "SAGA_OTLP_ENDPOINT": f"127.0.0.1:{self.collector}",
            "SAGA_PRICING_URL": f"http://127.0.0.1:{self.pricing}",
            "SAGA_PROVIDER_URL": f"http://127.0.0.1:{self.provider}",
            "SAGA_SMTP_HOST": "127.0.0.1",
            "SAGA_SMTP_PORT": str(self.mailbox),
        }


class Services:
    """A set of roles on one stack, each in a process of its own that ends with this one.

    ``environment`` holds ``SAGA_*`` variables, such as :meth:`Endpoints.environment` gives, and wins over this
    process's own; for the listening roles whose addresses it does not hold, free ports are added.
    ``directory`` takes logs and readiness files. A process has a *name*: its role, or ``role:suffix`` for one more of
    the same (``orchestrator:2``). Usable as a context manager, which stops everything at its end. Calls block.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        directory: Path,
        *,
        roles: Sequence[str] = ROLES,
        progress: Progress = silent,
        deadline_s: float = 90.0,
        command: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self._given = dict(environment)
        self._directory = directory
        self._roles = tuple(roles)
        self._progress = progress
        self._deadline_s = deadline_s
        self._command = command or _command
        self._addresses: dict[str, str] = {}
        self._children: dict[str, Child] = {}
        self._extra: dict[str, dict[str, str]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The ``SAGA_*`` variables that lead anybody to this stack and these services. Holds the database URL."""
        return {**self._given, **self._addresses}

    @property
    def settings(self) -> Settings:
        """:attr:`environment` as settings, for the process that supervises."""
        from saga.settings import Settings

        fields = {name.removeprefix("SAGA_").lower(): value for name, value in self.environment.items()}
        return Settings(**{name: value for name, value in fields.items() if name in Settings.model_fields})  # type: ignore[arg-type]  # pydantic converts the strings

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all roles and return once all serve. Raises :class:`StackError`, leaving none running.

        The listeners are ready before the others start; if somebody takes one of their ports meanwhile, all of them
        start again on other ports.
        """
        listeners = [role for role in self._roles if role in LISTENERS]
        others = [role for role in self._roles if role not in LISTENERS]
        try:
            for attempt in range(1, _TRIES + 1):
                self._addresses = self._choose(listeners)
                try:
                    self.start_some(listeners)
                    break
                except StackError as error:
                    self.stop()
                    if attempt == _TRIES or not any(words in str(error) for words in _PORTS_TAKEN):
                        raise
            self.start_some(others)
        except BaseException:
            self.stop()
            raise

    def start_some(self, names: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
        """Start these processes side by side and wait until all serve; ``environment`` is for them alone.

        Raises :class:`StackError` for one that ends or is late, with the end of its log; the others keep running.
        """
        names = list(names)
        for name in names:
            self._launch(name, environment or {})
        self._await_ready(names)

    def launch(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Start one process and do not wait for it (one that will kill itself at a fault point may never be ready)."""
        self._launch(name, environment or {})

    def revive(self, name: str) -> None:
        """Start one that has ended again, as it was started before, and do not wait for it."""
        self._launch(name, self._extra.get(name, {}))

    def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop it if it runs and start it again; with ``environment`` given that replaces what it was started with."""
        extra = self._extra.get(name, {}) if environment is None else environment
        self._child(name).stop()
        self.start_some([name], extra)

    def kill(self, name: str) -> None:
        """SIGKILL: as a crash would."""
        self._child(name).kill()

    def child(self, name: str) -> Child:
        """The process itself, to send it signals or read its log. Raises :class:`UsageError` for an unknown name."""
        return self._child(name)

    def stop(self) -> None:
        """Stop all, those last started first; each is asked, given time, then killed. Harmless when none runs."""
        names = list(self._children)
        working = [name for name in names if _role(name) not in LISTENERS]
        # The collector goes last: whoever stops sends it what is left of its spans.
        collecting = [name for name in names if _role(name) == "collector"]
        listening = [name for name in names if name not in working and name not in collecting]
        for names in (working, listening, collecting):
            running = [self._children[name] for name in reversed(names) if self._children[name].running]
            for child in running:
                child.terminate()
            deadline = time.monotonic() + 15
            for child in running:
                if not child.wait(max(0.1, deadline - time.monotonic())):
                    child.kill()

    def exited(self) -> dict[str, int]:
        """Those that have ended, with their exit codes (negative: the signal)."""
        codes = {name: child.exit_code for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def pids(self) -> dict[str, int]:
        """Those that run now."""
        return {name: child.pid for name, child in self._children.items() if child.running}

    def usage(self) -> dict[str, Usage]:
        """CPU time and memory of those that run now, by name."""
        import psutil

        used: dict[str, Usage] = {}
        for name, pid in self.pids().items():
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    used[name] = Usage(times.user + times.system, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return used

    def log(self, name: str) -> Path:
        """Where a process writes its log."""
        return self._directory / f"{name.replace(':', '-')}.log"

    def _choose(self, listeners: Sequence[str]) -> dict[str, str]:
        """Free ports for the listeners whose addresses were not given."""
        chosen = _Addresses.choose().environment()
        by_role = {
            "collector": ("SAGA_OTLP_ENDPOINT",),
            "pricing": ("SAGA_PRICING_URL",),
            "provider": ("SAGA_PROVIDER_URL",),
            "mailbox": ("SAGA_SMTP_HOST", "SAGA_SMTP_PORT"),
        }
        wanted = [name for role in listeners for name in by_role[role] if not self._given.keys() >= {*by_role[role]}]
        return {name: chosen[name] for name in wanted}

    def _launch(self, name: str, extra: Mapping[str, str]) -> None:
        running = self._children.get(name)
        if running is not None and running.running:
            raise UsageError(f"{name} runs already; stop it first, or name another {_role(name)}:2")
        self._directory.mkdir(parents=True, exist_ok=True)
        if name not in self._children:
            self.log(name).unlink(missing_ok=True)  # an earlier run's
        ready = self._ready_file(name)
        ready.unlink(missing_ok=True)
        # People read these files, when something went wrong.
        readable = {"SAGA_LOG_FORMAT": os.environ.get("SAGA_LOG_FORMAT") or "console"}
        own = {
            "SAGA_READY_FILE": str(ready),
            "SAGA_PARENT": str(os.getpid()),
            "SAGA_INSTANCE": name.replace(":", "-"),  # the same after a restart: a consumer group knows it again
            "PYTHONUNBUFFERED": "1",
        }
        self._extra[name] = dict(extra)
        self._children[name] = Child(
            name,
            self._command(_role(name)),
            log=self.log(name),
            environment={**os.environ, **readable, **self.environment, **own, **extra},
            direct=True,
        )

    def _await_ready(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + self._deadline_s
        waiting = list(names)
        while waiting:
            for name in list(waiting):
                child = self._children[name]
                if self._ready_file(name).exists():
                    waiting.remove(name)
                    self._progress(f"{name} is ready")
                elif (code := child.exit_code) is not None:
                    raise StackError(f"{name} ended with code {code} before it was ready:\n{child.last_lines()}")
            if waiting and time.monotonic() > deadline:
                late = waiting[0]
                raise StackError(
                    f"{', '.join(waiting)} not ready within {self._deadline_s:.0f} s; the end of {late}'s log, "
                    f"{self.log(late)}:\n{self._children[late].last_lines()}"
                )
            time.sleep(0.02)

    def _ready_file(self, name: str) -> Path:
        return self._directory / f"{name.replace(':', '-')}.ready"

    def _child(self, name: str) -> Child:
        if name not in self._children:
            raise UsageError(f"there is no process {name!r}; there are {', '.join(self._children) or 'none'}")
        return self._children[name]


def _role(name: str) -> str:
    return name.partition(":")[0]


def _command(role: str) -> Sequence[str]:
    return [sys.executable, "-m", "saga.cli.main", "run", role]
