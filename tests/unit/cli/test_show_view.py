"""What ``saga show`` tells of a saga in every situation, and that it never tells what the state must keep to itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st

from saga.booking import DEFINITION
from saga.cli.show_text import lines
from saga.cli.show_view import View
from saga.engine.state import State, Status
from saga.store.reading import Input, Stored, Summary
from saga.telemetry.messaging import Origin
from saga.telemetry.redaction import redact_text
from saga.traces.model import Trace, TraceSpan
from schemas import commands, replies
from tests.support.bookings import a_booking, cancellation, confirmed, declined, forward, locked, offers
from tests.support.sentences import DEADLINE, SAGA_DEADLINE, Story, given

TOKEN, ADDRESS, GUEST = "tok_visa_secret", "ada.lovelace@example.org", "Ada Lovelace"
UNDOS = {
    commands.RestoreInventory: replies.InventoryRestored(booking_id="bk-1", nights=3),
    commands.RefundPayment: replies.PaymentRefunded(booking_id="bk-1", refunded_minor=1, currency="EUR"),
}


def begun() -> Story:
    return given(a_booking(payment_token=TOKEN, email=ADDRESS, guest_name=GUEST))


def rolled_back() -> Story:
    return begun().when(offers("101", "102"), locked(), declined())


STORIES: dict[str, Callable[[], Story]] = {
    "just begun": begun,
    "paying": lambda: begun().when(*forward(2)),
    "confirmed": lambda: begun().when(*forward(4)),
    "declined": rolled_back,
    "timed out": lambda: begun().when(*forward(2), SAGA_DEADLINE),
    "cancelled after all": lambda: begun().when(*forward(4), cancellation(f"write to {ADDRESS}, not 4242424242424242")),
    "no reply": lambda: begun().when(DEADLINE),
}


def view_of(story: Story, trace: Trace | None = None) -> View:
    return view_of_state(story.saga, story.now_us, trace)


def view_of_state(state: State, now_us: int, trace: Trace | None = None) -> View:
    pending = state.pending
    summary = Summary(
        state.id,
        state.status,
        pending.step if pending else "",
        state.error_type,
        state.trace.trace_id,
        state.started_us,
        now_us,
        state.ended_us,
    )
    history = (
        Input(1, "m-1", "booking.BookingRequested.v1", Origin("booking.requests", 2, 7), now_us, Status.RUNNING, "o-1"),
        Input(2, None, "tick", None, now_us, Status.RUNNING, "o-1"),
    )
    return View(Stored(summary, DEFINITION, state, now_us), history, trace)


def written(view: View) -> str:
    return click.unstyle("\n".join(lines(view, messages=True)))


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_neither_text_nor_json_tells_token_address_name_or_card(story: Callable[[], Story]) -> None:
    view = view_of(story())
    assert TOKEN in view.state.model_dump_json()
    for told in (written(view), json.dumps(view.as_json())):
        assert all(secret not in told for secret in (TOKEN, ADDRESS, GUEST, "4242424242424242"))


@for_any(text=st.text(max_size=80))
def test_a_reason_that_anybody_wrote_is_redacted(text: str) -> None:
    state = begun().saga.model_copy(update={"reason": f"{ADDRESS} {text}", "error_type": "cancelled"})
    view = view_of_state(state, state.started_us)
    assert ADDRESS not in written(view)
    assert redact_text(view.reason) == view.reason


def test_a_confirmed_booking_tells_what_was_given() -> None:
    view = view_of(begun().when(*forward(3), confirmed("CODE42")))
    told = view.as_json()
    assert told["status"] == "CONFIRMED"
    assert told["booking"]["confirmation_code"] == "CODE42"
    assert told["booking"]["total"] == "420.00 EUR"
    assert [step["step"] for step in told["steps"]] == [step.name for step in DEFINITION.steps]
    assert {step["outcome"] for step in told["steps"]} == {"done"}
    assert (told["undos"], told["rollback"], told["waiting"]) == ([], None, None)


def test_a_rollback_tells_what_is_undone_and_what_it_waits_for() -> None:
    told = view_of(rolled_back()).as_json()
    assert (told["status"], told["error_type"]) == ("COMPENSATING", "payment_declined")
    assert [(undo["undo"], undo["outcome"]) for undo in told["undos"]] == [("release_lock", "pending")]
    assert told["undos"][0]["undoes"] == told["steps"][1]["command_id"]
    assert told["waiting"]["command_id"] == told["undos"][0]["command_id"]
    assert told["rollback"]["target"] == "FAILED"


def test_the_text_names_every_step_undo_and_record() -> None:
    text = written(view_of(rolled_back()))
    for word in ("check_availability", "acquire_lock", "process_payment", "release_lock", "waits for", "declined"):
        assert word in text
    assert "booking.requests/2/7" in text


def test_records_sent_are_known_from_their_spans() -> None:
    story = begun()
    command_id = story.said[0].envelope.id
    attributes: dict[str, str | int] = {
        "messaging.destination.name": "booking.commands.availability",
        "messaging.destination.partition.id": "1",
        "messaging.kafka.offset": 12,
        "messaging.message.id": command_id,
    }
    start_ns = story.now_us * 1_000 + 1_000
    span = TraceSpan(1, 2, 3, "send x", "producer", "orchestrator", start_ns, start_ns + 1, attributes)
    foreign = TraceSpan(1, 4, 3, "send y", "producer", "publisher", start_ns, start_ns + 1, attributes)
    messages = view_of(story, Trace.of(1, [span, foreign])).messages()
    (sent,) = [message for message in messages if message.sent]
    assert (sent.what, sent.topic, sent.partition, sent.offset) == (
        *("check_availability", "booking.commands.availability", "1", 12),
    )
