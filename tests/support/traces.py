"""Traces made by hand, in the shape of design section 7, for what reads and draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from saga.telemetry.spans import Kind
from saga.traces.model import Status, Trace, TraceEvent, TraceLink, TraceSpan, Value

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
EPOCH_NS = 1_780_000_000_000_000_000
PUBLISHER = 0xFEED
KAFKA: Mapping[str, Value] = {"messaging.system": "kafka"}
UNDO: Mapping[str, Value] = {"saga.compensation": True}


class TraceBuilder:
    """Collects spans; times are milliseconds after the start."""

    def __init__(self) -> None:
        self.spans: list[TraceSpan] = []

    def add(
        self,
        name: str,
        service: str,
        start_ms: float,
        end_ms: float,
        parent: TraceSpan | int = 0,
        *,
        kind: Kind = "internal",
        error: str | None = None,
        events: Sequence[tuple[str, float, Mapping[str, Value]]] = (),
        links: tuple[TraceSpan, ...] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> TraceSpan:
        """One span, which is returned."""
        status: Status = "unset" if error is None else "error"
        span = TraceSpan(
            TRACE_ID,
            len(self.spans) + 1,
            parent if isinstance(parent, int) else parent.span_id,
            name,
            kind,
            service,
            EPOCH_NS + round(start_ms * 1e6),
            EPOCH_NS + round(end_ms * 1e6),
            dict(attributes or {}),
            tuple(TraceEvent(what, EPOCH_NS + round(at * 1e6), said) for what, at, said in events),
            tuple(TraceLink(TRACE_ID, target.span_id) for target in links),
            status,
            error or "",
        )
        self.spans.append(span)
        return span

    def message(self, topic: str, sender: str, receiver: str, at_ms: float, parent: TraceSpan | int) -> TraceSpan:
        """A record sent and processed: a PRODUCER under ``parent``, and a CONSUMER under that, which is returned."""
        sent = self.add(f"send {topic}", sender, at_ms, at_ms + 1.2, parent, kind="producer", attributes=KAFKA)
        return self.add(f"process {topic}", receiver, at_ms + 1.4, at_ms + 2, sent, kind="consumer", attributes=KAFKA)

    def trace(self, external_parent: int = PUBLISHER) -> Trace:
        """Everything added so far."""
        return Trace.of(TRACE_ID, self.spans, external_parent)


def _start(made: TraceBuilder, end_ms: float, status: str, error: str | None = None, **attributes: Value) -> TraceSpan:
    about: dict[str, Value] = {"booking.id": "bk-000042", "booking.status": status, **attributes}
    root = made.add("booking.create", "orchestrator", 0, end_ms, PUBLISHER, error=error, attributes=about)
    made.add("booking.accepted", "orchestrator", 0.4, 0.6, root)
    made.message("booking.commands.availability", "orchestrator", "availability", 1, root)
    checked = made.add(
        "booking.check_availability", "availability", 2.5, 9.5, root, attributes={"booking.available_count": 5}
    )
    made.message("booking.replies", "availability", "orchestrator", 9.6, root)
    client = made.add("POST /quotes", "availability", 4, 9, checked, kind="client")
    made.add("POST /quotes", "pricing", 5, 8.2, client, kind="server")
    return root


def confirmed() -> Trace:
    """A booking that went well, in 41 ms."""
    made = TraceBuilder()
    root = _start(made, 41.3, "CONFIRMED")
    made.message("booking.commands.locking", "orchestrator", "locking", 10.5, root)
    made.add("booking.acquire_lock", "locking", 12, 14.1, root)
    made.message("booking.commands.payment", "orchestrator", "payment", 15, root)
    paid = made.add("booking.process_payment", "payment", 17, 31, root, kind="client")
    call = made.add("POST /charges", "payment", 17.5, 30.5, paid, kind="client")
    made.add("POST /charges", "provider", 18.5, 29.5, call, kind="server")
    made.message("booking.commands.confirmation", "orchestrator", "confirmation", 32, root)
    made.add("booking.confirm", "confirmation", 34, 36.2, root)
    made.message("booking.events", "orchestrator", "notification", 41, root)
    made.add("booking.send_notification", "notification", 43, 58, root, kind="client")
    return made.trace()


def rolled_back() -> Trace:
    """A booking whose confirmation failed after a contended lock and a payment: undone in reverse, in 94 ms."""
    made = TraceBuilder()
    root = _start(made, 94, "FAILED", "no room left on 2026-07-01", **{"error.type": "no_inventory"})
    contended: dict[str, Value] = {"booking.contention_reason": "held", "booking.competing_reservation": "bk-000017"}
    made.add(
        "booking.acquire_lock",
        "locking",
        12,
        14.1,
        root,
        error="Lock contention",
        events=(("lock_contention", 13.2, contended),),
    )
    locked = made.add("booking.acquire_lock", "locking", 17, 19, root)
    retry: dict[str, Value] = {"attempt": 2, "error.type": "timeout"}
    paid = made.add("booking.process_payment", "payment", 22, 48, root, kind="client", events=(("retry", 33, retry),))
    for start in (22.5, 34):
        call = made.add("POST /charges", "payment", start, start + 10, paid, kind="client")
        made.add("POST /charges", "provider", start + 1, start + 9, call, kind="server")
    pivot = made.add("booking.confirm", "confirmation", 52, 54, root, error="no room left on 2026-07-01")
    why: dict[str, Value] = {"saga.rollback_reason": "no_inventory", "saga.rollback_steps": 3}
    back = made.add("booking.rollback", "orchestrator", 58, 93, root, attributes=why)
    made.message("booking.commands.confirmation", "orchestrator", "confirmation", 58.2, back)
    made.add("booking.restore_inventory", "confirmation", 61, 63, back, links=(pivot,), attributes=UNDO)
    made.message("booking.commands.payment", "orchestrator", "payment", 65, back)
    refund = made.add("booking.refund_payment", "payment", 67, 82, back, kind="client", links=(paid,), attributes=UNDO)
    call = made.add("POST /refunds", "payment", 68, 81, refund, kind="client")
    made.add("POST /refunds", "provider", 69, 80, call, kind="server")
    made.message("booking.commands.locking", "orchestrator", "locking", 84, back)
    made.add("booking.release_lock", "locking", 87, 89.5, back, links=(locked,), attributes=UNDO)
    return made.trace()


def cancelled_later() -> Trace:
    """A confirmed booking that was cancelled forty minutes afterwards."""
    made = TraceBuilder()
    made.spans = list(confirmed().spans)
    root = next(span for span in made.spans if span.name == "booking.create")
    later = 40 * 60_000.0
    back = made.add(
        "booking.rollback", "orchestrator", later, later + 30, root, attributes={"saga.rollback_reason": "cancelled"}
    )
    paid = next(span for span in made.spans if span.name == "booking.process_payment")
    made.add("booking.refund_payment", "payment", later + 5, later + 20, back, links=(paid,), attributes=UNDO)
    return made.trace()


def unfinished() -> Trace:
    """A saga that still runs: its root has not been emitted."""
    spans = [span for span in confirmed().spans if span.name != "booking.create"]
    return Trace.of(TRACE_ID, [replace(span) for span in spans[:8]], PUBLISHER)
