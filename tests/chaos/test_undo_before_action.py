"""An undo that overtakes its action is kept in mind, and the action is refused when it comes: by the real processes.

The undo is put on the topic before the booking is asked for, so the late action is the saga's own.
"""

from __future__ import annotations

from itertools import islice

from saga.audit import AuditOptions, audit
from saga.booking import reservation_of
from saga.engine.envelope import Envelope, SagaHeaders, outgoing
from saga.engine.state import Outcome, Status
from saga.generate import ALL_CONFIRMED
from saga.messaging.kafka import KafkaPublisher
from saga.messaging.wire import encode
from saga.store.reading import Stored
from saga.telemetry.spans import SpanContext
from schemas import commands, topics
from schemas.base import Message
from tests.support.chaos import House, until
from tests.support.orchestration import telemetry


async def _undo_first(house: House, topic: str, step: str, undo: type[Message], **more: object) -> Stored:
    """Have the first command of ``step`` undone before there is a booking, then ask for the booking; how it ended."""
    booking = next(islice(house.guests(ALL_CONFIRMED), 1))
    action = f"{booking.key}.{step}.1"
    reservation = reservation_of(f"{booking.key}.acquire_lock.1")
    body = undo.model_validate({"booking_id": booking.key, "reservation_id": reservation, "undoes": action, **more})
    context = SpanContext(0xABC, 0xDEF)
    headers = SagaHeaders(1, step, 1, f"{action}.undo", context, context)
    envelope = Envelope(f"{action}.undo", booking.key, body, 1, "/tests", saga=headers)
    told = telemetry("tests")
    publisher = KafkaPublisher(house.settings, "tests", told.spans, told.meters)
    await publisher.start()
    try:
        await publisher.publish([encode(outgoing(topic, envelope, context), house.settings.topic_prefix)])
    finally:
        await publisher.close()
    owner = {topics.LOCKING: "locking", topics.PAYMENT: "payment", topics.CONFIRMATION: "inventory"}[topic]

    async def carried_out() -> bool:
        return await house.count(f"{{{owner}}}.inbox WHERE message_id = $1", f"{action}.undo") == 1

    await until(carried_out, "the undo is carried out, though there is nothing to undo")
    await house.ended(await house.book([booking]))
    found = await house.reader.find(booking.key)
    assert found is not None
    refused = next(run for run in found.state.runs if run.command_id == action)
    assert refused.outcome is Outcome.REFUSED, "the late action is refused"
    await _nothing_else_is_wrong(house, booking.key)
    return found


async def _nothing_else_is_wrong(house: House, key: str) -> None:
    """The audit finds the undo that no saga asked for, and its reply without a saga; about the booking nothing else."""
    report = await audit(house.settings, AuditOptions(wait_s=5.0, traces=False, deep_sample=0))
    found = [violation.detail for violation in report.violations if violation.saga_id == key]
    assert len(found) <= 1, found
    assert all("which the saga never asked for" in detail for detail in found), found


async def test_a_lock_released_before_it_is_acquired_is_refused_and_the_next_room_is_had(house: House) -> None:
    found = await _undo_first(house, topics.LOCKING, "acquire_lock", commands.ReleaseLock)
    locks = await house.ask("SELECT room_id, state FROM {locking}.locks WHERE booking_id = $1", found.state.id)
    assert found.state.status is Status.CONFIRMED
    assert sorted((lock["room_id"] is not None, lock["state"]) for lock in locks) == [
        (False, "released"),
        (True, "confirmed"),
    ]


async def test_a_payment_undone_before_it_is_made_is_refused_by_the_provider_too(house: House) -> None:
    found = await _undo_first(
        house, topics.PAYMENT, "process_payment", commands.RefundPayment, amount_minor=1, currency="EUR"
    )
    charges = await house.ask("SELECT status FROM {provider}.charges WHERE booking_id = $1", found.state.id)
    assert (found.state.status, found.state.error_type) == (Status.FAILED, "payment_declined")
    assert [charge["status"] for charge in charges] == ["voided"]


async def test_a_confirmation_undone_before_it_is_made_is_refused_and_the_money_goes_back(house: House) -> None:
    found = await _undo_first(house, topics.CONFIRMATION, "confirm", commands.RestoreInventory)
    sold = await house.count("{inventory}.sold_nights WHERE booking_id = $1", found.state.id)
    refunds = "{provider}.refunds JOIN {provider}.charges USING (charge_id) WHERE booking_id = $1"
    assert (found.state.status, found.state.error_type) == (Status.FAILED, "confirmation_refused")
    assert (sold, await house.count(refunds, found.state.id)) == (0, 1)
