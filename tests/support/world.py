"""A little world of workers, for proving what holds of all of it: locks, charges and sold rooms, whatever the order.

Workers are what the project's own must be: they answer a command once and repeat that answer, and an undo that comes
before its action is remembered, so that the late action is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

from saga.engine.envelope import Envelope, Outgoing, SagaHeaders
from schemas import commands, replies
from schemas.base import Message

PRICE_MINOR = 10_000
ROOMS = ("101", "102", "103", "104", "105")

# What a worker makes of its next command, where it has a choice.
DONE, REFUSED, UNKNOWN_DONE, UNKNOWN_NOT_DONE = range(4)


@dataclass
class World:
    """Everything outside the orchestrator. ``fates`` are the workers' choices, used in turn."""

    fates: Iterator[int]
    locks: set[str] = field(default_factory=set)
    charges: set[str] = field(default_factory=set)
    sold: set[str] = field(default_factory=set)
    tombstones: set[str] = field(default_factory=set)
    undone: list[str] = field(default_factory=list)
    """Commands taken back, in the order in which their undo was first carried out."""
    ever_charged: set[str] = field(default_factory=set)
    inbox: dict[str, Envelope] = field(default_factory=dict)

    @classmethod
    def of(cls, *fates: int) -> World:
        """A world whose workers decide so, over and over."""
        return cls(cycle(fates))

    def carry_out(self, outgoing: Outgoing) -> Envelope:
        """Carry out one command and reply; a command that was seen before gets the reply that it got then."""
        asked = outgoing.envelope
        assert asked.saga is not None
        if asked.id not in self.inbox:
            headers = SagaHeaders(
                asked.saga.epoch, asked.saga.step, asked.saga.attempt, asked.saga.command_id, asked.saga.parent
            )
            body = self._answer(asked.id, asked.body)
            self.inbox[asked.id] = Envelope(f"{asked.id}.reply", asked.key, body, asked.time_us, "/world", saga=headers)
        return self.inbox[asked.id]

    def _answer(self, command_id: str, asked: Message) -> Message:
        match asked:
            case commands.CheckAvailability(booking_id=booking_id):
                return self._availability(booking_id)
            case commands.AcquireLock(booking_id=booking_id, reservation_id=reservation_id):
                reason = self._refusal(command_id, "contention")
                if reason is not None:
                    return replies.LockRefused(booking_id=booking_id, reservation_id=reservation_id, reason=reason)
                self.locks.add(command_id)
                return replies.LockAcquired(booking_id=booking_id, reservation_id=reservation_id, expires_at_ms=1)
            case commands.ProcessPayment(booking_id=booking_id):
                return self._payment(command_id, booking_id)
            case commands.ConfirmBooking(booking_id=booking_id):
                reason = self._refusal(command_id, "sold")
                if reason is not None:
                    return replies.ConfirmationRefused(booking_id=booking_id, reason=reason)
                self.sold.add(command_id)
                return replies.ConfirmationIssued(booking_id=booking_id, confirmation_code="CODE42")
            case commands.ReleaseLock(booking_id=booking_id, reservation_id=reservation_id, undoes=undoes):
                held = self._undo(undoes, self.locks)
                return replies.LockReleased(booking_id=booking_id, reservation_id=reservation_id, was_held=held)
            case commands.RefundPayment(booking_id=booking_id, undoes=undoes):
                minor = PRICE_MINOR if self._undo(undoes, self.charges) else 0
                return replies.PaymentRefunded(booking_id=booking_id, refunded_minor=minor, currency="EUR")
            case commands.RestoreInventory(booking_id=booking_id, undoes=undoes):
                return replies.InventoryRestored(booking_id=booking_id, nights=int(self._undo(undoes, self.sold)))
        raise AssertionError(f"nobody answers {asked!r}")

    def _availability(self, booking_id: str) -> Message:
        fate = next(self.fates)
        if fate == REFUSED:
            return replies.AvailabilityRefused(booking_id=booking_id, reason="no_availability")
        rooms = ROOMS[: 1 + fate + len(self.inbox) % 2]
        found = [
            replies.Offer(room_id=room, room_type="double", total_minor=PRICE_MINOR, currency="EUR") for room in rooms
        ]
        return replies.AvailabilityFound(booking_id=booking_id, offers=tuple(found))

    def _payment(self, command_id: str, booking_id: str) -> Message:
        if command_id in self.tombstones:
            return replies.PaymentDeclined(booking_id=booking_id, reason="undone")
        fate = next(self.fates)
        if fate in {DONE, UNKNOWN_DONE}:
            self.charges.add(command_id)
            self.ever_charged.add(command_id)
        if fate == DONE:
            return replies.PaymentProcessed(
                booking_id=booking_id, transaction_id="ch_1", amount_minor=PRICE_MINOR, currency="EUR"
            )
        if fate == REFUSED:
            return replies.PaymentDeclined(booking_id=booking_id, reason="insufficient_funds")
        return replies.PaymentUnknown(booking_id=booking_id, reason="provider_timeout")

    def _refusal(self, command_id: str, reason: str) -> str | None:
        if command_id in self.tombstones:
            return "undone"
        return reason if next(self.fates) == REFUSED else None

    def _undo(self, undoes: str, effects: set[str]) -> bool:
        self.undone.append(undoes)
        if undoes in effects:
            effects.remove(undoes)
            return True
        self.tombstones.add(undoes)
        return False
