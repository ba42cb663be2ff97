"""The language in which a saga is declared, and the rules a declaration must keep.

A step is *read-only* (nothing to undo), *compensatable* (its undo is declared with it), the *pivot* (once it has
committed the saga has succeeded; while its outcome is unknown it is undone like a compensatable step), or *retriable*
(it follows the pivot and is repeated until it succeeds). The vocabulary is that of Garcia-Molina's sagas as Richardson
sharpened it; the sentence shape (``step(..).sends(..).on(..).undone_by(..)``) is Eventuate Tram's. A definition that
could not be undone is refused when its module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from saga.engine.state import State
from saga.errors import InvalidDefinition
from saga.telemetry.spans import Attributes
from schemas.base import Message

D = TypeVar("D", bound=BaseModel)
D_contra = TypeVar("D_contra", bound=BaseModel, contravariant=True)
M = TypeVar("M", bound=Message)


class StepKind(StrEnum):
    """How a step can be taken back."""

    READ_ONLY = "read-only"
    COMPENSATABLE = "compensatable"
    PIVOT = "pivot"
    RETRIABLE = "retriable"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a command without a reply is sent again: exponential, capped, jittered. All in seconds.

    The jitter is derived from the command id, so the machine stays a pure function.
    """

    first_s: float = 2.0
    factor: float = 2.0
    cap_s: float = 15.0
    jitter: float = 0.2

    def delay_us(self, command_id: str, attempt: int) -> int:
        """Microseconds to wait after ``attempt`` (1 is the first) before the next."""
        # The exponent is bounded because a retriable step is repeated for ever.
        base = min(self.cap_s, self.first_s * self.factor ** min(max(attempt, 1) - 1, 63))
        digest = blake2b(f"{command_id}:{attempt}".encode(), digest_size=4).digest()
        spread = int.from_bytes(digest, "big") / 0xFFFF_FFFF * 2 - 1
        return int(base * (1 + self.jitter * spread) * 1_000_000)


@dataclass(frozen=True, slots=True)
class Done(Generic[D]):
    """The step did what was asked."""

    data: D


@dataclass(frozen=True, slots=True)
class Refused(Generic[D]):
    """The step did nothing and never will: the saga fails with ``error_type`` (low cardinality) and ``reason``."""

    data: D
    error_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Again(Generic[D]):
    """The step did nothing, and another execution with ``data`` may succeed (the next offer)."""

    data: D


@dataclass(frozen=True, slots=True)
class Unknown(Generic[D]):
    """Nobody can say whether the step did anything: it is undone, and the saga fails."""

    data: D
    error_type: str
    reason: str


Answer = Done[D] | Refused[D] | Again[D] | Unknown[D]


@dataclass(frozen=True, slots=True)
class CommandRef:
    """Identity of the command being built; ``undoes`` is set on undos."""

    saga_id: str
    command_id: str
    undoes: str = ""


class Build(Protocol[D_contra]):
    """Makes a command's body from the saga's data."""

    def __call__(self, data: D_contra, ref: CommandRef, /) -> Message: ...


@dataclass(frozen=True, slots=True)
class Undo(Generic[D]):
    """How a step is taken back. Undos have no refusal: they are repeated until done, then parked for a person."""

    name: str
    topic: str
    build: Build[D]
    replies: frozenset[type[Message]]
    retry: Retry
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Step(Generic[D]):
    """One step, built up by the sentence ``step(..).sends(..).on(..).undone_by(..)``."""

    name: str
    kind: StepKind
    topic: str = ""
    build: Build[D] | None = None
    replies: Mapping[type[Message], Callable[[D, Any], Answer[D]]] = field(default_factory=dict)
    undo: Undo[D] | None = None
    retry: Retry = Retry()
    deadline_s: float = 20.0
    max_runs: int = 1

    def sends(self, build: Build[D], *, to: str) -> Step[D]:
        """The command, and the topic it goes to."""
        return replace(self, build=build, topic=to)

    def on(self, reply: type[M], answer: Callable[[D, M], Answer[D]]) -> Step[D]:
        """What a reply means."""
        return replace(self, replies={**self.replies, reply: answer})

    def within(self, deadline_s: float, *, retry: Retry | None = None, runs: int = 1) -> Step[D]:
        """How long one execution may take, when its command is repeated, and how many executions there may be.

        A retriable step is never given up, so of these only ``retry`` concerns it.
        """
        return replace(self, deadline_s=deadline_s, retry=retry or self.retry, max_runs=runs)

    def undone_by(
        self,
        name: str,
        build: Build[D],
        *,
        to: str,
        on: type[Message],
        retry: Retry | None = None,
        deadline_s: float = 120.0,
    ) -> Step[D]:
        """The undo: its name, command, topic and the one reply that says it is done."""
        return replace(
            self, undo=Undo(name, to, build, frozenset({on}), retry or Retry(first_s=1.0, cap_s=20.0), deadline_s)
        )


def read_only(name: str) -> Step[Any]:
    """A step that changes nothing."""
    return Step(name, StepKind.READ_ONLY)


def compensatable(name: str) -> Step[Any]:
    """A step that can be taken back; needs ``undone_by``."""
    return Step(name, StepKind.COMPENSATABLE)


def pivot(name: str) -> Step[Any]:
    """The step after which the saga has succeeded; needs ``undone_by`` for the time its outcome is unknown."""
    return Step(name, StepKind.PIVOT)


def retriable(name: str) -> Step[Any]:
    """A step after the pivot: never refused, never undone, repeated until it is done."""
    return Step(name, StepKind.RETRIABLE)


@dataclass(frozen=True, slots=True)
class Definition(Generic[D]):
    """A whole saga. Checked when made; raises :class:`InvalidDefinition`.

    ``name`` prefixes its spans and metrics (``booking.create``). ``announce`` makes the event that tells the world of
    a terminal state; ``describe`` the attributes of the root span; ``source`` the low-cardinality origin for metrics.
    """

    name: str
    version: int
    data: type[D]
    starts_on: type[Message]
    begin: Callable[[str, Any], D]
    cancels_on: type[Message]
    steps: tuple[Step[D], ...]
    deadline_s: float
    events_topic: str
    announce: Callable[[State, D], Message | None]
    describe: Callable[[State, D], Attributes]
    source: Callable[[D], str]

    def __post_init__(self) -> None:
        check(self)

    def step(self, name: str) -> Step[D]:
        """The step called ``name``."""
        return next(step for step in self.steps if step.name == name)

    def following(self, name: str) -> Step[D] | None:
        """The step after ``name``, or None at the end."""
        index = [step.name for step in self.steps].index(name)
        return self.steps[index + 1] if index + 1 < len(self.steps) else None

    @property
    def replies(self) -> frozenset[type[Message]]:
        """Every reply type this saga understands."""
        forward = {reply for step in self.steps for reply in step.replies}
        return frozenset(forward | {reply for step in self.steps if step.undo for reply in step.undo.replies})

    def decode(self, state: State) -> D:
        """The saga's own data."""
        return state.data if isinstance(state.data, self.data) else self.data.model_validate(state.data)

    def load(self, stored: str) -> State:
        """A state from its JSON, with its data decoded once and for all."""
        state = State.model_validate_json(stored)
        return state.but(data=self.data.model_validate(state.data))


def check(definition: Definition[Any]) -> None:
    """Refuse a definition that could not be carried out, or could not be undone."""
    problems = [*_naming(definition), *_order(definition)]
    for step in definition.steps:
        problems += _completeness(step)
    if problems:
        raise InvalidDefinition(f"saga {definition.name!r} v{definition.version}: " + "; ".join(problems))


def _naming(definition: Definition[Any]) -> list[str]:
    names = [step.name for step in definition.steps] + [step.undo.name for step in definition.steps if step.undo]
    problems = [f"the name {name!r} is used twice" for name in sorted({n for n in names if names.count(n) > 1})]
    replies = [reply.__name__ for step in definition.steps for reply in step.replies]
    replies += [reply.__name__ for step in definition.steps if step.undo for reply in step.undo.replies]
    problems += [
        f"{name} answers two steps; give each its own" for name in sorted({r for r in replies if replies.count(r) > 1})
    ]
    problems += [
        f"the name {name!r} is not a plain word, but it becomes part of ids" for name in names if not _plain(name)
    ]
    for control in (definition.starts_on, definition.cancels_on):
        if control.__name__ in replies:
            problems.append(f"{control.__name__} starts or cancels the saga, so it cannot answer a step")
    if definition.starts_on is definition.cancels_on:
        problems.append(f"{definition.starts_on.__name__} both starts and cancels it, so nothing could cancel it")
    if not definition.steps:
        problems.append("it has no steps")
    if definition.deadline_s <= 0:
        problems.append("its deadline must be positive")
    return problems


def _order(definition: Definition[Any]) -> list[str]:
    kinds = [step.kind for step in definition.steps]
    problems = []
    if kinds.count(StepKind.PIVOT) > 1:
        problems.append("it has two pivots; only one step can decide")
    pivot_at = kinds.index(StepKind.PIVOT) if StepKind.PIVOT in kinds else len(kinds)
    for index, step in enumerate(definition.steps):
        if step.kind is StepKind.RETRIABLE and index < pivot_at:
            problems.append(
                f"{step.name} is retriable but comes before the pivot, so a later failure could not undo it"
            )
        if step.kind in {StepKind.COMPENSATABLE, StepKind.READ_ONLY} and index > pivot_at:
            problems.append(f"{step.name} is {step.kind} but comes after the pivot, where nothing may fail any more")
    return problems


def _completeness(step: Step[Any]) -> list[str]:
    problems = []
    if step.build is None or not step.topic:
        problems.append(f"{step.name} sends no command; add .sends(.., to=..)")
    if not step.replies:
        problems.append(f"{step.name} understands no reply; add .on(..)")
    undoable = step.kind in {StepKind.COMPENSATABLE, StepKind.PIVOT}
    if undoable and step.undo is None:
        problems.append(f"{step.name} is {step.kind} but nothing undoes it; add .undone_by(..)")
    if not undoable and step.undo is not None:
        problems.append(f"{step.name} is {step.kind}, so {step.undo.name} would never run; make it compensatable")
    if step.deadline_s <= 0 or step.max_runs < 1:
        problems.append(f"{step.name} needs a positive deadline and at least one run")
    if not _patient(step.retry):
        problems.append(f"{step.name} would be repeated without pause; {_PATIENCE}")
    if (undo := step.undo) is not None:
        if not undo.topic:
            problems.append(f"{undo.name} sends its command nowhere; name a topic")
        if undo.deadline_s <= 0:
            problems.append(f"{undo.name} needs a positive deadline")
        if not _patient(undo.retry):
            problems.append(f"{undo.name} would be repeated without pause; {_PATIENCE}")
    return problems


_PATIENCE = "a schedule needs first_s and cap_s above 0, a factor of 1 or more and a jitter from 0 to below 1"


def _patient(retry: Retry) -> bool:
    return retry.first_s > 0 and retry.cap_s > 0 and retry.factor >= 1 and 0 <= retry.jitter < 1


def _plain(name: str) -> bool:
    return name.isascii() and name.isidentifier()
