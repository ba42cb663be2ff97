"""The attributes and events of the workers' step spans, which operators search by; design, section 7."""

from __future__ import annotations

# --- availability -----------------------------------------------------------------------------------------------------
CHECK_IN = "booking.check_in"
CHECK_OUT = "booking.check_out"
GUESTS = "booking.guests"
PROPERTY_ID = "booking.property_id"
AVAILABLE_COUNT = "booking.available_count"
AVAILABILITY_REFUSED = "booking.availability_refused"
"""Why there are no offers: ``no_availability``, ``unknown_property`` or ``invalid_stay``."""
NOT_PRICED = "offers_not_priced"
"""Event: rooms were found, but the pricing engine has no price for them."""
NOT_PRICED_REASON = "booking.not_priced_reason"

# --- locking ----------------------------------------------------------------------------------------------------------
RESERVATION_ID = "booking.reservation_id"
LOCK_TYPE = "booking.lock_type"
LOCK_ACQUIRED = "booking.lock_acquired"
LOCK_TTL_MS = "booking.lock_ttl_ms"
LOCK_UNDONE = "booking.lock_undone"
"""True where the lock was refused because its undo had come first."""
LOCK_WAS_HELD = "booking.lock_was_held"
LOCK_PROMOTED = "booking.lock_promoted"
CONTENTION = "lock_contention"
CONTENTION_REASON = "booking.contention_reason"
COMPETING_RESERVATION = "booking.competing_reservation"

# --- payment ----------------------------------------------------------------------------------------------------------
PAYMENT_METHOD = "payment.method"
PAYMENT_CURRENCY = "payment.currency"
CARD_LAST_FOUR = "payment.card_last_four"
TRANSACTION_ID = "payment.transaction_id"
PAYMENT_STATUS = "payment.status"
GATEWAY_LATENCY_MS = "payment.gateway_latency_ms"
PAYMENT_ATTEMPT = "payment.attempt"
REFUND_ID = "payment.refund_id"
DECLINED = "payment_declined"
DECLINE_REASON = "payment.decline_reason"
RETRY = "payment_retry"
RETRY_REASON = "payment.retry_reason"
RETRY_DELAY_MS = "payment.retry_delay_ms"

# --- confirmation -----------------------------------------------------------------------------------------------------
CONFIRMATION_CODE = "booking.confirmation_code"
REFUSAL_REASON = "booking.refusal_reason"
NIGHTS_RESTORED = "booking.nights_restored"

# --- notification -----------------------------------------------------------------------------------------------------
CHANNEL = "notification.channel"
NOTIFICATION_OUTCOME = "notification.outcome"
NOTIFICATION_ATTEMPT = "notification.attempt"
