"""What ``saga show`` may tell of a booking: an allow-list, for the stored state holds a token and an address.

Free text that somebody else wrote passes the redaction as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saga.booking import Booking
from saga.cli.wording import amount, moment
from saga.engine.state import Run, State
from saga.store.reading import Input, Stored
from saga.telemetry import names
from saga.telemetry.redaction import redact_text, redact_value
from saga.traces.model import Trace, TraceSpan


@dataclass(frozen=True, slots=True)
class Message:
    """One record that this saga received or sent. ``what`` is its type; of those ``sent``, which are known from their
    spans only, the name of the step or undo."""

    at_us: int
    sent: bool
    what: str
    topic: str
    partition: str
    offset: int | None
    message_id: str


@dataclass(frozen=True, slots=True)
class View:
    """One booking. ``trace`` None: it was not asked for; ``notes`` say what is to be known about the trace."""

    stored: Stored
    history: Sequence[Input]
    trace: Trace | None = None
    trace_source: str = ""
    notes: Sequence[str] = field(default=())

    @property
    def state(self) -> State:
        """The saga's state."""
        return self.stored.state

    @property
    def booking(self) -> Mapping[str, str]:
        """What was asked for and given, in words; no token, no address, no guest's name."""
        data = self.stored.definition.decode(self.state)
        return booking_facts(data) if isinstance(data, Booking) else {}

    @property
    def reason(self) -> str:
        """Why it did not come to what was asked for."""
        return redact_text(self.state.reason)

    def undo_name(self, run: Run) -> str:
        """What the undo of a step is called."""
        undo = self.stored.definition.step(run.step).undo
        return undo.name if undo is not None else run.step

    def messages(self) -> list[Message]:
        """Every record this saga received (from its history) or sent (from its trace, as far as it is known)."""
        received = [
            Message(
                at_us=one.decided_us,
                sent=False,
                what=one.message_type,
                topic=one.origin.topic if one.origin else "",
                partition=str(one.origin.partition) if one.origin else "",
                offset=one.origin.offset if one.origin else None,
                message_id=one.message_id or "",
            )
            for one in self.history
        ]
        commands = {run.command_id: run.step for run in self.state.runs}
        commands |= {run.command_id: self.undo_name(run) for run in self.state.undos}
        sent = [] if self.trace is None else [_sent(span, commands) for span in self.trace.spans if _is_ours(span)]
        return sorted([*received, *sent], key=lambda message: message.at_us)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        summary, state = self.stored.summary, self.state
        told: dict[str, Any] = {
            "booking_id": summary.id,
            "status": summary.status.value,
            "step": summary.step,
            "error_type": state.error_type,
            "reason": self.reason,
            "started_at": moment(state.started_us),
            "ended_at": moment(state.ended_us) if state.ended_us else None,
            "duration_ms": (state.ended_us - state.started_us) / 1_000 if state.ended_us else None,
            "deadline_at": moment(state.deadline_us),
            "definition": f"{state.definition}.v{state.version}",
            "epoch": state.epoch,
            "booking": dict(self.booking),
            "steps": [_run(run) for run in state.runs],
            "undos": [{"undo": self.undo_name(run), **_run(run), "undoes": run.undoes} for run in state.undos],
            "rollback": self._rollback(),
            "waiting": self._waiting(),
            "history": [_input(one) for one in self.history],
            "messages": [_message(message) for message in self.messages()],
            "trace": self._trace(),
        }
        return told

    def _rollback(self) -> dict[str, Any] | None:
        rollback = self.state.rollback
        if rollback is None:
            return None
        return {
            "reason": redact_text(rollback.reason),
            "target": rollback.target.value,
            "started_at": moment(rollback.started_us),
            "ended_at": moment(rollback.ended_us) if rollback.ended_us else None,
            "done": list(rollback.done),
            "todo": list(rollback.todo),
            "after": rollback.ended_as.value if rollback.ended_as else None,
        }

    def _waiting(self) -> dict[str, Any] | None:
        run, timer = self.state.pending, self.state.timer
        if run is None or timer is None or not self.state.status.live:
            return None
        return {
            "command_id": run.command_id,
            "next_attempt_at": moment(timer.next_attempt_us),
            "deadline_at": None if timer.deadline_us is None else moment(timer.deadline_us),
        }

    def _trace(self) -> dict[str, Any]:
        told: dict[str, Any] = {"trace_id": self.state.trace.trace_id}
        if self.trace is None:
            return told
        told["read_from"] = self.trace_source
        told["notes"] = list(self.notes)
        told["orphans"] = len(self.trace.orphans)
        told["spans"] = [_span(span) for _, span in self.trace.walk()]
        return told


def booking_facts(booking: Booking) -> dict[str, str]:
    """The fields of a booking that anyone on call may read."""
    facts = {
        "user_id": booking.user_id,
        "source": booking.source,
        "property_id": booking.property_id,
        "check_in": booking.check_in.isoformat(),
        "check_out": booking.check_out.isoformat(),
        "guests": str(booking.guests),
        "room_type": booking.room_type or "",
        "card_last_four": booking.card_last_four or "",
        "reservation_id": booking.reservation_id,
        "transaction_id": booking.transaction_id,
        "confirmation_code": booking.confirmation_code,
    }
    if booking.offers:
        facts["offers"] = str(len(booking.offers))
        facts["offer_tried"] = str(booking.offer + 1)
        facts["room_id"] = booking.chosen.room_id
        facts["room_type"] = booking.chosen.room_type
        facts["total"] = amount(booking.chosen.total_minor, booking.chosen.currency)
    return {name: redact_text(value) for name, value in facts.items() if value}


def _run(run: Run) -> dict[str, Any]:
    return {
        "step": run.step,
        "command_id": run.command_id,
        "attempts": run.attempt,
        "outcome": run.outcome.value,
        "sent_at": moment(run.sent_us),
        "ended_at": moment(run.ended_us) if run.ended_us else None,
    }


def _input(one: Input) -> dict[str, Any]:
    return {
        "epoch": one.epoch,
        "message_type": one.message_type,
        "message_id": one.message_id,
        "topic": one.origin.topic if one.origin else None,
        "partition": one.origin.partition if one.origin else None,
        "offset": one.origin.offset if one.origin else None,
        "decided_at": moment(one.decided_us),
        "status": one.status.value,
        "by": one.writer,
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "at": moment(message.at_us),
        "direction": "sent" if message.sent else "received",
        "what": message.what,
        "topic": message.topic or None,
        "partition": int(message.partition) if message.partition.isdecimal() else None,
        "offset": message.offset,
        "message_id": message.message_id or None,
    }


def _is_ours(span: TraceSpan) -> bool:
    return span.kind == "producer" and span.service == "orchestrator" and names.DESTINATION in span.attributes


def _sent(span: TraceSpan, names_of_commands: Mapping[str, str]) -> Message:
    offset = span.attributes.get(names.OFFSET)
    message_id = str(span.attributes.get(names.MESSAGE_ID, ""))
    return Message(
        at_us=span.start_ns // 1_000,
        sent=True,
        what=names_of_commands.get(message_id, "event"),
        topic=str(span.attributes[names.DESTINATION]),
        partition=str(span.attributes.get(names.PARTITION, "")),
        offset=offset if isinstance(offset, int) else None,
        message_id=message_id,
    )


def _span(span: TraceSpan) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "span_id": f"{span.span_id:016x}",
        "parent_id": f"{span.parent_id:016x}" if span.parent_id else None,
        "start_ns": span.start_ns,
        "duration_ms": span.duration_ns / 1_000_000,
        "status": span.status,
        "message": redact_text(span.message),
        "attributes": redact_value(span.attributes),
        "events": [
            {"name": event.name, "at_ns": event.at_ns, "attributes": redact_value(event.attributes)}
            for event in span.events
        ],
        "links": [{"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}"} for link in span.links],
    }
