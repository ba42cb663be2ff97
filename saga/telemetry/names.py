"""Every name that operators see: attributes, events and metrics, in one place. Span names of the saga itself derive
from its definition (``booking.create``); those of steps are given where the step is carried out, from here."""

from __future__ import annotations

NAMESPACE = "booking"
DOMAIN = "reservations"
SCOPE = "booking-saga"

# --- messaging conventions (semantic conventions 1.44) ----------------------------------------------------------------
MESSAGING_SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
GROUP = "messaging.consumer.group.name"
OFFSET = "messaging.kafka.offset"
KEY = "messaging.kafka.message.key"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
CLIENT_ID = "messaging.client.id"
ERROR_TYPE = "error.type"

# --- the saga's own attributes ----------------------------------------------------------------------------------------
SAGA_COMPENSATION = "saga.compensation"
SAGA_COMPENSATES = "saga.compensates"
SAGA_STEP = "saga.step"
SAGA_ATTEMPT = "saga.attempt"
SAGA_DROPPED = "saga.dropped"
"""On a process span: why the message changed nothing (``stale_reply``, ``duplicate_request``, ...)."""

# --- metrics ----------------------------------------------------------------------------------------------------------
STEP_DURATION = "saga.step.duration"
COMPENSATIONS = "saga.compensations"
ACTIVE = "saga.active"
NEEDS_ATTENTION = "saga.needs_attention"
STALE_MESSAGES = "saga.stale_replies"
REDELIVERIES = "saga.redeliveries"
RETRIES = "saga.retries"
DEAD_LETTERS = "saga.dead_letters"
CONSUMER_LAG = "saga.consumer.lag"
SPANS_DROPPED = "saga.spans.dropped"
SPANS_RECOVERED = "saga.spans.recovered"
EPOCH_CONFLICTS = "saga.epoch_conflicts"
LOCK_CONTENTIONS = "booking.lock.contentions"
GATEWAY_DURATION = "payment.gateway.duration"
PAYMENT_DECLINES = "payment.declines"
NOTIFICATIONS = "notification.sent"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"
OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"


def attempts(name: str) -> str:
    """Counter of a saga's outcomes: ``booking.attempts``."""
    return f"{name}.attempts"


def duration(name: str) -> str:
    """Histogram of a saga's duration: ``booking.duration_ms``."""
    return f"{name}.duration_ms"
