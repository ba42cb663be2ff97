"""The invariants by name and number; the first ten are those of the saga's design, in its order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold of every saga. ``sql`` names the file whose statements look for what breaks it."""

    number: int
    name: str
    description: str
    sql: str = ""


INVARIANTS = (
    Invariant(
        1,
        "no_double_booking",
        "held and sold nights never exceed one per room and night",
        "double_booking.sql",
    ),
    Invariant(2, "one_charge", "at most one captured charge per booking", "one_charge.sql"),
    Invariant(
        3,
        "charges_settled",
        "every charge is confirmed, refunded in full, or unknown and young",
        "charges_settled.sql",
    ),
    Invariant(
        4,
        "locks_settled",
        "every lock is confirmed or released; no hold without a live saga",
        "locks_settled.sql",
    ),
    Invariant(5, "records_agree", "the saga's state agrees with every worker's own record", "records_agree.sql"),
    Invariant(6, "undo_order", "undos are the exact reverse of what was attempted", "undo_order.sql"),
    Invariant(
        7,
        "delivery",
        "nothing is stuck or overdue; every request became a saga; every end was announced exactly once",
        "delivery.sql",
    ),
    Invariant(8, "notifications", "no notification contradicts the outcome or comes twice", "notifications.sql"),
    Invariant(9, "traces", "one root, one span per committed step, undos under the rollback, no orphans"),
    Invariant(10, "minimum_outcomes", "at least so many sagas were confirmed, and compensated, as was asked for"),
    Invariant(11, "fold", "replaying the recorded topics gives exactly the stored states"),
    Invariant(12, "history", "the history of every saga is gapless and ends in its stored state", "history.sql"),
)
