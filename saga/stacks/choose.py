"""Which stack to run on: the one asked for, or the best one that this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from saga.errors import StackUnavailable, UsageError
from saga.stacks.base import Endpoints, Progress, Stack, silent
from saga.stacks.env import EnvStack
from saga.stacks.local import EMBEDDED, KAFKA, LocalStack
from saga.stacks.testcontainers import TestcontainersStack

Purpose = Literal["demo", "tests"]

# Tests want the most real thing there is; a demo wants to be quick, and never to touch somebody's cluster by accident.
_ORDER: Mapping[Purpose, tuple[str, ...]] = {
    "tests": ("compose", "env", "testcontainers", "kafka", "embedded"),
    "demo": ("embedded", "kafka", "testcontainers"),
}
NAMES = ("auto", "compose", "env", "testcontainers", "kafka", "embedded")


class ComposeStack:
    """``compose.yaml``, which is still to come: says so."""

    name = "compose"
    parts = frozenset({"kafka", "postgres", "docker"})

    def availability(self) -> str | None:
        return "it arrives with compose.yaml, in a later release; use testcontainers, kafka or embedded meanwhile"

    def start(self, progress: Progress = silent) -> Endpoints:
        raise StackUnavailable(f"the compose stack cannot run here: {self.availability()}")

    def stop(self) -> None:
        """Nothing: it never started."""

    def restart_broker(self) -> None:
        raise StackUnavailable(f"the compose stack cannot run here: {self.availability()}")

    def restart_database(self) -> None:
        raise StackUnavailable(f"the compose stack cannot run here: {self.availability()}")

    def pids(self) -> Mapping[str, int]:
        return {}


_STACKS: Mapping[str, Callable[[], Stack]] = {
    "compose": ComposeStack,
    "env": EnvStack,
    "testcontainers": TestcontainersStack,
    "kafka": lambda: LocalStack(KAFKA),
    "embedded": lambda: LocalStack(EMBEDDED),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A stack and why it was taken; ``passed_over`` holds, by name, what stood in the way of better ones."""

    stack: Stack
    reason: str
    passed_over: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"stack: {self.stack.name} ({self.reason})"]
        return "\n".join([*lines, *(f"  not {name}: {why}" for name, why in self.passed_over.items())])


def choose(name: str | None = None, purpose: Purpose = "demo", *, require: frozenset[str] = frozenset()) -> Choice:
    """The stack called ``name`` (``None``: ``SAGA_STACK``, else ``auto``), not yet started.

    ``auto`` takes the first of the purpose's order that can run here and has every part of ``require``. Raises
    :class:`UsageError` for a name that is none, :class:`StackUnavailable` when what was asked for cannot run here.
    """
    asked, origin = (name, "asked for") if name else (os.environ.get("SAGA_STACK") or "auto", "SAGA_STACK")
    if asked not in NAMES:
        raise UsageError(f"there is no stack {asked!r}; the stacks are {', '.join(NAMES)}")
    if asked == "auto":
        return _best(purpose, require)
    stack = _STACKS[asked]()
    reason = stack.availability()
    if reason is not None:
        raise StackUnavailable(f"the {asked} stack cannot run here: {reason}")
    if not require <= stack.parts:
        raise StackUnavailable(f"the {asked} stack lacks {_listed(require - stack.parts)}, which is required")
    return Choice(stack, origin, {})


def _best(purpose: Purpose, require: frozenset[str]) -> Choice:
    passed_over: dict[str, str] = {}
    for name in _ORDER[purpose]:
        stack = _STACKS[name]()
        lacking = require - stack.parts
        why = stack.availability() or (f"it lacks {_listed(lacking)}, which is required" if lacking else None)
        if why is None:
            best = "the default" if purpose == "demo" else "the most real one that this machine has"
            return Choice(stack, "the next best" if purpose == "demo" and passed_over else best, passed_over)
        passed_over[name] = why
    reasons = "\n".join(f"  {name}: {why}" for name, why in passed_over.items())
    raise StackUnavailable(f"no stack can run here:\n{reasons}")


def _listed(parts: frozenset[str]) -> str:
    return " and ".join(sorted(parts))
