"""What a role is given when it runs: settings, telemetry, and the way to know that it should stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.settings import Settings
    from saga.telemetry.setup import Telemetry

_GROUP = "booking_saga.roles"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Handed to a role's ``run``; the role works until ``stopping`` is set, then finishes what it holds and returns."""

    role: str
    settings: Settings
    telemetry: Telemetry
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    on_ready: Callable[[], None] = lambda: None

    def ready(self) -> None:
        """Say that this role serves: its topics are assigned, its port is open."""
        self.on_ready()


Role = Callable[[Runtime], Awaitable[None]]


def role_names() -> tuple[str, ...]:
    """Every role that is installed, in a stable order."""
    return tuple(sorted(point.name for point in entry_points(group=_GROUP)))


def load_role(name: str) -> Role:
    """The entry point of a role. Raises :class:`UsageError` for a name nobody has."""
    for point in entry_points(group=_GROUP):
        if point.name == name:
            role: Role = point.load()
            return role
    raise UsageError(f"there is no role {name!r}; the roles are {', '.join(role_names())}")
