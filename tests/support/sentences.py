"""Sentences about a saga: ``given(request).when(reply).then(command, span)``.

``then`` is exact: every message and every span of the last input must be named, in order, and nothing else may have
been said. Between any two inputs the state is stored and loaded again as JSON, so every sentence also proves that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from saga.booking import DEFINITION
from saga.engine.decision import Decision, Dropped, Fact, Verdict
from saga.engine.definition import Definition
from saga.engine.envelope import Envelope, Outgoing, SagaHeaders
from saga.engine.machine import Birth, Tick, advance
from saga.engine.state import State, Status
from saga.telemetry.spans import Attribute, SpanContext, SpanRecord
from schemas.base import Message

START_US = 1_790_000_000_000_000
"""When every story begins, in microseconds since the epoch."""
REPLY_US = 10_000
"""How long everything takes that is not told otherwise."""


@dataclass(frozen=True, slots=True)
class Later:
    """Time passes until the moment that ``until`` reads from the state; then a tick."""

    until: Callable[[State, int], int]


def after(seconds: float) -> Later:
    """So many seconds later."""
    return Later(lambda _, now_us: now_us + int(seconds * 1_000_000))


def _timer(state: State, which: str) -> int:
    assert state.timer is not None, f"nothing is awaited in {state.status}"
    moment = getattr(state.timer, which)
    assert isinstance(moment, int), f"there is no {which}"
    return moment


NEXT_ATTEMPT = Later(lambda state, _: _timer(state, "next_attempt_us"))
"""No reply until the command is due again."""
DEADLINE = Later(lambda state, _: _timer(state, "deadline_us"))
"""No reply until the pending command is given up."""
SAGA_DEADLINE = Later(lambda state, _: state.deadline_us)
"""No reply until the whole saga is given up."""

Reply = Message | Callable[[Message], Message]
"""A reply's body, or how to make it from the command's."""


@dataclass(frozen=True, slots=True)
class To:
    """A reply to the latest command of one type, rather than to the one that is awaited."""

    command: type[Message]
    reply: Reply
    attempt: int | None = None
    epoch_off_by: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """The latest message comes once more, byte for byte."""


AGAIN = Again()
Happening = Message | Callable[[Message], Message] | Later | To | Again | Envelope


@dataclass(frozen=True, slots=True)
class Says:
    """One message with these fields in its body."""

    type: type[Message]
    fields: Mapping[str, Any]
    attempt: int

    def matches(self, outgoing: Outgoing) -> bool:
        body, headers = outgoing.envelope.body, outgoing.envelope.saga
        same = type(body) is self.type and headers is not None and headers.attempt == self.attempt
        return same and all(getattr(body, name) == value for name, value in self.fields.items())


@dataclass(frozen=True, slots=True)
class Records:
    """One span with at least these attributes, and exactly this error."""

    name: str
    attributes: Mapping[str, Attribute]
    error: str | None

    def matches(self, span: SpanRecord) -> bool:
        same = span.name == self.name and span.error == self.error
        return same and all(span.attributes.get(name) == value for name, value in self.attributes.items())


@dataclass(frozen=True, slots=True)
class Stands:
    """The saga's status."""

    status: Status


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the machine made of the input."""

    verdict: Verdict
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Notes:
    """One of the facts for metrics."""

    fact: Fact


Expectation = Says | Records | Stands | Verdicts | Notes


def command(expected: type[Message], attempt: int = 1, **fields: Any) -> Says:
    """A command is sent."""
    return Says(expected, fields, attempt)


def event(expected: type[Message], **fields: Any) -> Says:
    """The world is told."""
    return Says(expected, fields, 1)


def span(name: str, attributes: Mapping[str, Attribute] | None = None, *, error: str | None = None) -> Records:
    """A span is recorded."""
    return Records(name, attributes or {}, error)


def dropped(reason: str) -> Verdicts:
    """The input is dropped and counted."""
    return Verdicts(Verdict.STALE, reason)


REPEATED = Verdicts(Verdict.REPEATED)
"""What led to the present state came again."""
IDLE = Verdicts(Verdict.IDLE)
"""Nothing is due."""


@dataclass
class Story:
    """A saga being told. Holds everything said so far, for tests that look closer than a sentence does."""

    definition: Definition[Any]
    state: State | None = None
    now_us: int = START_US
    birth: Birth = field(default_factory=Birth)
    decision: Decision = field(default_factory=lambda: Decision(Verdict.IDLE, None))
    inputs: list[tuple[Envelope | Tick, int]] = field(default_factory=list)
    said: list[Outgoing] = field(default_factory=list)
    recorded: list[SpanRecord] = field(default_factory=list)

    @property
    def saga(self) -> State:
        """The state, of which there is one."""
        assert self.state is not None, "the saga has not begun"
        return self.state

    def feed(self, message: Envelope | Tick) -> Decision:
        """Decide on one input at the present time, and keep what follows."""
        self.decision = advance(self.definition, self.state, message, self.now_us, self.birth)
        self.inputs.append((message, self.now_us))
        self.said += self.decision.emits
        self.recorded += self.decision.spans
        self.state = self.decision.state
        if self.state is not None:
            stored = self.definition.load(self.state.model_dump_json())
            assert stored == self.state, "a state must survive being stored"
            self.state = stored
        return self.decision

    def when(self, *happenings: Happening) -> Story:
        """These things happen, one after the other."""
        for happening in happenings:
            if isinstance(happening, Later):
                self.now_us = max(self.now_us, happening.until(self.saga, self.now_us))
                self.feed(Tick())
                continue
            self.now_us += REPLY_US
            self.feed(self._message(happening))
        return self

    def then(self, *expectations: Expectation) -> Story:
        """Exactly these messages and spans came of the last input, and the saga stands so."""
        told = self._told()
        says = [expected for expected in expectations if isinstance(expected, Says)]
        records = [expected for expected in expectations if isinstance(expected, Records)]
        assert len(says) == len(self.decision.emits), f"expected {len(says)} messages\n{told}"
        for said, outgoing in zip(says, self.decision.emits, strict=True):
            assert said.matches(outgoing), f"expected {said}\n{told}"
        assert len(records) == len(self.decision.spans), f"expected {len(records)} spans\n{told}"
        for record, found in zip(records, self.decision.spans, strict=True):
            assert record.matches(found), f"expected {record}\n{told}"
        for expected in expectations:
            if isinstance(expected, Stands):
                assert self.saga.status is expected.status, f"expected {expected.status}\n{told}"
            if isinstance(expected, Verdicts):
                assert self.decision.verdict is expected.verdict, f"expected {expected.verdict}\n{told}"
                if expected.reason is not None:
                    assert self.decision.facts == (Dropped(expected.reason),), told
            if isinstance(expected, Notes):
                assert expected.fact in self.decision.facts, f"expected {expected.fact}\n{told}"
        return self

    def reply_to(self, outgoing: Outgoing, reply: Reply, attempt: int | None = None, epoch_off_by: int = 0) -> Envelope:
        """A worker's reply to one message, echoing its saga headers."""
        asked = outgoing.envelope
        assert asked.saga is not None
        body = reply if isinstance(reply, Message) else reply(asked.body)
        headers = SagaHeaders(
            asked.saga.epoch + epoch_off_by,
            asked.saga.step,
            attempt or asked.saga.attempt,
            asked.saga.command_id,
            asked.saga.parent,
        )
        return Envelope(f"{asked.id}.reply", asked.key, body, self.now_us, "/booking/worker", None, "", headers)

    def latest(self, kind: type[Message]) -> Outgoing:
        """The latest message of one type."""
        return next(outgoing for outgoing in reversed(self.said) if type(outgoing.envelope.body) is kind)

    def spans(self, name: str) -> list[SpanRecord]:
        """Every span of that name, in the order recorded."""
        return [recorded for recorded in self.recorded if recorded.name == name]

    def path(self) -> list[str]:
        """The names of all messages said, in order."""
        return [type(outgoing.envelope.body).__name__ for outgoing in self.said]

    def _message(self, happening: Message | Callable[[Message], Message] | To | Again | Envelope) -> Envelope:
        if isinstance(happening, Envelope):
            return happening
        if isinstance(happening, Again):
            return next(message for message, _ in reversed(self.inputs) if isinstance(message, Envelope))
        if isinstance(happening, To):
            asked = self.latest(happening.command)
            return self.reply_to(asked, happening.reply, happening.attempt, happening.epoch_off_by)
        if isinstance(happening, self.definition.starts_on | self.definition.cancels_on):
            return asked_for(happening, key=self.saga.id if self.state else "bk-1", at_us=self.now_us)
        pending = self.saga.pending
        assert pending is not None, f"nothing is awaited in {self.saga.status}; use To(command, reply)"
        return self.reply_to(next(o for o in reversed(self.said) if o.envelope.id == pending.command_id), happening)

    def _told(self) -> str:
        lines = [f"verdict {self.decision.verdict}, facts {self.decision.facts}"]
        if self.state is not None:
            lines.append(f"state {self.state.status} epoch {self.state.epoch}")
        lines += [f"said {o.envelope.body!r} attempt {o.envelope.saga and o.envelope.saga.attempt}" for o in self.said]
        lines += [f"recorded {s.name} {dict(s.attributes)} error={s.error!r}" for s in self.decision.spans]
        return "\n".join(lines)


def asked_for(
    body: Message, key: str = "bk-1", *, message_id: str = "", context: SpanContext | None = None, at_us: int = START_US
) -> Envelope:
    """A record of ``booking.requests``; its id depends on its content, unless given."""
    return Envelope(message_id or f"{key}.{type(body).__name__}", key, body, at_us, "/test", context)


def given(
    request: Message | Envelope | None = None, *, definition: Definition[Any] = DEFINITION, birth: Birth | None = None
) -> Story:
    """A story that begins with a request; without one, a saga that does not exist."""
    story = Story(definition, birth=birth or Birth())
    if request is not None:
        story.feed(request if isinstance(request, Envelope) else asked_for(request))
    return story
