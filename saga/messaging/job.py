"""What a worker is asked, and what it tells: the vocabulary between a worker and the runtime that feeds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from saga.database import Connection
from saga.engine.envelope import Envelope
from saga.engine.narration import ANNOUNCEMENT, observer_span_id, step_span_id
from saga.errors import TransientFailure
from saga.telemetry import names
from saga.telemetry.spans import Attribute, Attributes, Kind, SpanContext, SpanEvent, SpanRecord
from schemas.base import Message

M_co = TypeVar("M_co", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Job(Generic[M_co]):
    """One message for a worker to act on. ``body`` is typed; ``id`` is the idempotency key of whatever is done."""

    envelope: Envelope
    body: M_co
    started_ns: int
    worker: str = ""

    @property
    def id(self) -> str:
        """The command's (or event's) id."""
        return self.envelope.id

    @property
    def attempt(self) -> int:
        """Which sending of the command this is, from 1."""
        return self.envelope.saga.attempt if self.envelope.saga else 1

    @property
    def span_context(self) -> SpanContext | None:
        """The step's span: a child of the saga's root (or rollback), with an id an undo can derive and link to."""
        headers = self.envelope.saga
        parent = headers.parent if headers and headers.parent else self.envelope.context
        if parent is None:
            return None
        if headers is not None and headers.step == ANNOUNCEMENT:
            return parent.child(observer_span_id(self.id, self.worker))
        return parent.child(step_span_id(self.id, self.attempt))


@dataclass(frozen=True, slots=True)
class Report:
    """What the step's span shall say. ``error`` becomes the status description, ``error_type`` its ``error.type``."""

    name: str
    attributes: Attributes = field(default_factory=dict)
    kind: Kind = "internal"
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    error_type: str | None = None


NO_SPAN = Report("")
"""The report of a job that did nothing worth a span, such as an event that asks nothing of this worker."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job: the reply (None for events, which nobody waits on), its span, and rows to store with it.

    ``tell`` is called once all of it is committed, to count it: what is rolled back and repeated must not count twice.
    """

    reply: Message | None
    report: Report
    row: Any = None
    tell: Callable[[], None] | None = None


class AttemptFailed(TransientFailure):
    """A failure to act that shall be seen in the trace all the same: ``report`` is what the attempt's span says."""

    def __init__(self, failure: TransientFailure, report: Report) -> None:
        super(TransientFailure, self).__init__(str(failure))
        self.error_type = failure.error_type
        self.report = report


@dataclass(frozen=True, slots=True)
class Write:
    """A data-modifying statement of a call worker, with its rows as its one parameter ``$1::json``.

    Where two processes carried out the same message, both write and one of them is remembered as having handled it: so
    writing again what has been written must change nothing.
    """

    sql: str
    rows: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a batch is expected to come to: then effect, replies and inbox are one statement, all of it or nothing.

    ``ctes`` are the common table expressions of the effect, with its rows as ``$1::json``. The last is called
    ``expected`` and has a row ``(message_id text, patch jsonb)`` for each job that went as expected; ``patch`` (or
    null) is merged into the job's reply: what only the database can know. ``results`` are the jobs' results if all of
    them did, in order.
    """

    ctes: str
    rows: str
    results: Sequence[Result]


class BatchHandler(Protocol):
    """A worker whose whole effect is in its database: a poll is carried out as one set, in one transaction."""

    @property
    def handles(self) -> frozenset[type[Message]]:
        """The messages it acts on."""
        ...

    async def carry_out(self, connection: Connection, jobs: Sequence[Job[Any]]) -> Sequence[Result]:
        """Do ``jobs`` in the open transaction; one result each, in order. May be rolled back and repeated."""
        ...


@runtime_checkable
class ExpectingHandler(Protocol):
    """A batch handler may also say in advance what a few messages nearly always come to."""

    def expect(self, jobs: Sequence[Job[Any]]) -> Expectation | None:
        """What ``jobs``, all of different sagas, are expected to come to; None where nothing is."""
        ...


class CallHandler(Protocol):
    """A worker that calls the outside world: jobs run concurrently, one at a time per saga."""

    @property
    def handles(self) -> frozenset[type[Message]]:
        """The messages it acts on."""
        ...

    async def call(self, job: Job[Any]) -> Result:
        """Do ``job`` outside any transaction; must be idempotent under ``job.id``.

        Raises :class:`saga.errors.TransientFailure` to have the orchestrator's retry schedule send the command again;
        :class:`AttemptFailed` where spans of the attempt are out already, so that they have a parent.
        """
        ...

    def writes(self, done: Sequence[tuple[Job[Any], Result]]) -> Sequence[Write]:
        """What ``done`` left to write; it becomes part of the statement that also remembers the jobs as handled."""
        ...


def step_span(job: Job[Any], report: Report, end_ns: int) -> SpanRecord | None:
    """The span of a step: what the worker reports, with the identity, links and marks of its command."""
    context = job.span_context
    if context is None or report is NO_SPAN:
        return None
    headers = job.envelope.saga
    attributes: dict[str, Attribute] = {f"{names.NAMESPACE}.id": job.envelope.key, **report.attributes}
    links: tuple[SpanContext, ...] = ()
    if headers is not None:
        if job.attempt > 1:
            attributes[names.SAGA_ATTEMPT] = job.attempt
        if headers.undoes is not None:
            attributes[names.SAGA_COMPENSATION] = True
            attributes[names.SAGA_COMPENSATES] = headers.step
            links = (headers.undoes,)
    if report.error_type is not None:
        attributes[names.ERROR_TYPE] = report.error_type
    return SpanRecord(
        report.name,
        report.kind,
        context,
        headers.parent if headers and headers.parent else job.envelope.context,
        job.started_ns,
        max(end_ns, job.started_ns + 1),
        attributes,
        report.error,
        report.events,
        links,
    )
