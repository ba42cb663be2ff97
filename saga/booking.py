"""The booking saga: which steps there are, what undoes them, and what each reply means.

This is the only module of the engine's package that knows what a booking is. To add a step, add a sentence to
``DEFINITION`` and a worker that answers its command; see ``docs/extending.md``.
"""

from __future__ import annotations

from datetime import date
from hashlib import blake2b
from typing import Literal

from pydantic import BaseModel, ConfigDict

from saga.engine.definition import (
    Again,
    Answer,
    CommandRef,
    Definition,
    Done,
    Refused,
    Retry,
    Unknown,
    compensatable,
    pivot,
    read_only,
)
from saga.engine.state import State, Status
from saga.telemetry.spans import Attribute, Attributes
from schemas import commands, events, limits, replies, requests, topics
from schemas.base import Message


class Booking(BaseModel):
    """What the saga knows about one booking; grows with each reply."""

    model_config = ConfigDict(frozen=True)

    booking_id: str
    user_id: str
    property_id: str
    check_in: date
    check_out: date
    guests: int
    room_type: str | None
    currency: str
    payment_token: str
    card_last_four: str | None
    email: str
    guest_name: str
    source: str
    offers: tuple[replies.Offer, ...] = ()
    offer: int = 0
    reservation_id: str = ""
    transaction_id: str = ""
    confirmation_code: str = ""

    @property
    def chosen(self) -> replies.Offer:
        """The offer being tried."""
        return self.offers[self.offer]


def _begin(key: str, request: requests.BookingRequested) -> Booking:
    return Booking(
        booking_id=key,
        user_id=request.user_id,
        property_id=request.property_id,
        check_in=request.check_in,
        check_out=request.check_out,
        guests=request.guests,
        room_type=request.room_type,
        currency=request.currency,
        payment_token=request.payment_token,
        card_last_four=request.card_last_four,
        email=request.email,
        guest_name=request.guest_name,
        source=request.source,
    )


def reservation_of(lock_command_id: str) -> str:
    """The reservation that a lock command is about; derived, so that an undo can name it before any reply came."""
    return "rsv-" + blake2b(lock_command_id.encode(), digest_size=8).hexdigest()


# --- commands ---------------------------------------------------------------------------------------------------------


def _check_availability(booking: Booking, _: CommandRef) -> Message:
    return commands.CheckAvailability(
        booking_id=booking.booking_id,
        property_id=booking.property_id,
        check_in=booking.check_in,
        check_out=booking.check_out,
        guests=booking.guests,
        room_type=booking.room_type,
        currency=booking.currency,
    )


def _acquire_lock(booking: Booking, ref: CommandRef) -> Message:
    return commands.AcquireLock(
        booking_id=booking.booking_id,
        reservation_id=reservation_of(ref.command_id),
        property_id=booking.property_id,
        room_id=booking.chosen.room_id,
        check_in=booking.check_in,
        check_out=booking.check_out,
    )


def _release_lock(booking: Booking, ref: CommandRef) -> Message:
    return commands.ReleaseLock(
        booking_id=booking.booking_id, reservation_id=reservation_of(ref.undoes), undoes=ref.undoes
    )


def _process_payment(booking: Booking, _: CommandRef) -> Message:
    return commands.ProcessPayment(
        booking_id=booking.booking_id,
        reservation_id=booking.reservation_id,
        amount_minor=booking.chosen.total_minor,
        currency=booking.chosen.currency,
        payment_token=booking.payment_token,
        card_last_four=booking.card_last_four,
    )


def _refund_payment(booking: Booking, ref: CommandRef) -> Message:
    return commands.RefundPayment(
        booking_id=booking.booking_id,
        reservation_id=booking.reservation_id,
        amount_minor=booking.chosen.total_minor,
        currency=booking.chosen.currency,
        undoes=ref.undoes,
    )


def _confirm(booking: Booking, _: CommandRef) -> Message:
    return commands.ConfirmBooking(
        booking_id=booking.booking_id,
        reservation_id=booking.reservation_id,
        property_id=booking.property_id,
        room_id=booking.chosen.room_id,
        check_in=booking.check_in,
        check_out=booking.check_out,
        guests=booking.guests,
    )


def _restore_inventory(booking: Booking, ref: CommandRef) -> Message:
    return commands.RestoreInventory(
        booking_id=booking.booking_id, reservation_id=booking.reservation_id, undoes=ref.undoes
    )


# --- what replies mean ------------------------------------------------------------------------------------------------


def _offers_found(booking: Booking, reply: replies.AvailabilityFound) -> Answer[Booking]:
    return Done(booking.model_copy(update={"offers": reply.offers}))


def _nothing_available(booking: Booking, reply: replies.AvailabilityRefused) -> Answer[Booking]:
    return Refused(booking, reply.reason, reply.reason.replace("_", " "))


def _locked(booking: Booking, reply: replies.LockAcquired) -> Answer[Booking]:
    return Done(booking.model_copy(update={"reservation_id": reply.reservation_id}))


def _lock_refused(booking: Booking, reply: replies.LockRefused) -> Answer[Booking]:
    if booking.offer + 1 < min(len(booking.offers), MAX_LOCK_TRIES):
        return Again(booking.model_copy(update={"offer": booking.offer + 1}))
    return Refused(booking, "lock_contention", "Lock contention")


def _paid(booking: Booking, reply: replies.PaymentProcessed) -> Answer[Booking]:
    known = {"transaction_id": reply.transaction_id, "card_last_four": reply.card_last_four or booking.card_last_four}
    return Done(booking.model_copy(update=known))


def _declined(booking: Booking, reply: replies.PaymentDeclined) -> Answer[Booking]:
    return Refused(booking, "payment_declined", f"payment declined: {reply.reason}")


def _payment_unknown(booking: Booking, reply: replies.PaymentUnknown) -> Answer[Booking]:
    return Unknown(booking, "payment_unknown", f"payment outcome unknown: {reply.reason}")


def _confirmed(booking: Booking, reply: replies.ConfirmationIssued) -> Answer[Booking]:
    return Done(booking.model_copy(update={"confirmation_code": reply.confirmation_code}))


def _confirmation_refused(booking: Booking, reply: replies.ConfirmationRefused) -> Answer[Booking]:
    return Refused(booking, "confirmation_refused", f"confirmation refused: {reply.reason}")


# --- what the world is told -------------------------------------------------------------------------------------------


def _announce(state: State, booking: Booking) -> Message | None:
    common = {
        "booking_id": booking.booking_id,
        "user_id": booking.user_id,
        "property_id": booking.property_id,
        "check_in": booking.check_in,
        "check_out": booking.check_out,
        "guests": booking.guests,
        "email": booking.email,
        "guest_name": booking.guest_name,
        "source": booking.source,
    }
    if state.status is Status.CONFIRMED:
        return events.BookingConfirmed(
            **common,
            confirmation_code=booking.confirmation_code,
            reservation_id=booking.reservation_id,
            room_id=booking.chosen.room_id,
            room_type=booking.chosen.room_type,
            total_minor=booking.chosen.total_minor,
            currency=booking.chosen.currency,
        )
    compensated = state.rollback is not None
    if state.status is Status.CANCELLED:
        return events.BookingCancelled(**common, reason=state.reason or "cancelled", compensated=compensated)
    if state.status in {Status.FAILED, Status.TIMED_OUT}:
        status: Literal["FAILED", "TIMED_OUT"] = "FAILED" if state.status is Status.FAILED else "TIMED_OUT"
        return events.BookingFailed(
            **common,
            status=status,
            error_type=state.error_type,
            reason=state.reason[: limits.MAX_REASON],
            compensated=compensated,
        )
    return None  # NEEDS_ATTENTION: nothing is settled yet, so nothing is said


def _describe(_: State, booking: Booking) -> Attributes:
    known: dict[str, Attribute] = {
        "booking.id": booking.booking_id,
        "booking.user_id": booking.user_id,
        "booking.source": booking.source,
    }
    if booking.confirmation_code:
        known["booking.confirmation_code"] = booking.confirmation_code
    return known


MAX_LOCK_TRIES = 3
"""How many offers are tried before contention fails the booking."""

DEFINITION = Definition(
    name="booking",
    version=1,
    data=Booking,
    starts_on=requests.BookingRequested,
    begin=_begin,
    cancels_on=requests.BookingCancellationRequested,
    # Well under the lock's ten minutes, so no hold outlives its saga.
    deadline_s=120.0,
    steps=(
        read_only("check_availability")
        .sends(_check_availability, to=topics.AVAILABILITY)
        .on(replies.AvailabilityFound, _offers_found)
        .on(replies.AvailabilityRefused, _nothing_available)
        .within(30.0, retry=Retry(first_s=5.0)),
        compensatable("acquire_lock")
        .sends(_acquire_lock, to=topics.LOCKING)
        .on(replies.LockAcquired, _locked)
        .on(replies.LockRefused, _lock_refused)
        .within(30.0, retry=Retry(first_s=5.0), runs=MAX_LOCK_TRIES)
        .undone_by("release_lock", _release_lock, to=topics.LOCKING, on=replies.LockReleased),
        compensatable("process_payment")
        .sends(_process_payment, to=topics.PAYMENT)
        .on(replies.PaymentProcessed, _paid)
        .on(replies.PaymentDeclined, _declined)
        .on(replies.PaymentUnknown, _payment_unknown)
        .within(45.0, retry=Retry(first_s=10.0))
        .undone_by("refund_payment", _refund_payment, to=topics.PAYMENT, on=replies.PaymentRefunded, deadline_s=300.0),
        pivot("confirm")
        .sends(_confirm, to=topics.CONFIRMATION)
        .on(replies.ConfirmationIssued, _confirmed)
        .on(replies.ConfirmationRefused, _confirmation_refused)
        .within(30.0, retry=Retry(first_s=5.0))
        .undone_by("restore_inventory", _restore_inventory, to=topics.CONFIRMATION, on=replies.InventoryRestored),
    ),
    events_topic=topics.EVENTS,
    announce=_announce,
    describe=_describe,
    source=lambda booking: booking.source,
)

DEFINITIONS = {(DEFINITION.name, DEFINITION.version): DEFINITION}
"""Every version that a running saga may still be on."""
