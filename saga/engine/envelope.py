"""A message with everything that travels beside its body. Knows neither Kafka nor HTTP."""

from __future__ import annotations

from dataclasses import dataclass, replace

from saga.telemetry.spans import SpanContext, derive_span_id
from schemas.base import Message


@dataclass(frozen=True, slots=True)
class SagaHeaders:
    """What ties a command, its reply and their spans to one step of one saga.

    ``epoch`` is the saga's epoch when the command was first issued; a reply must name the same one. ``parent`` is the
    span under which the step's own span belongs, ``undoes`` the span of the step that an undo takes back.
    """

    epoch: int
    step: str
    attempt: int = 1
    command_id: str = ""
    parent: SpanContext | None = None
    undoes: SpanContext | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message. ``context`` is the span that sent it; ``time_us`` microseconds since the epoch."""

    id: str
    key: str
    body: Message
    time_us: int
    source: str = ""
    context: SpanContext | None = None
    baggage: str = ""
    saga: SagaHeaders | None = None

    @property
    def type_name(self) -> str:
        """The canonical ``ce_type``."""
        return type(self.body).type_name()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published: ``envelope.context`` is its send span, whose parent is ``parent``."""

    topic: str
    envelope: Envelope
    parent: SpanContext | None


def outgoing(topic: str, envelope: Envelope, parent: SpanContext | None) -> Outgoing:
    """Give a message its send span: the same message and attempt always get the same span id, so that sending it again
    after a crash does not make a second span."""
    attempt = envelope.saga.attempt if envelope.saga else 1
    span_id = derive_span_id(envelope.id, str(attempt), "send")
    context = parent.child(span_id) if parent else None
    return Outgoing(topic, replace(envelope, context=context), parent)
