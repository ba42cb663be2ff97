"""The names of the topics, without an environment's prefix. Every record's key is the booking id."""

REQUESTS = "booking.requests"
AVAILABILITY = "booking.commands.availability"
LOCKING = "booking.commands.locking"
PAYMENT = "booking.commands.payment"
CONFIRMATION = "booking.commands.confirmation"
REPLIES = "booking.replies"
EVENTS = "booking.events"
DEAD_LETTERS = "booking.dlq"

ALL = (REQUESTS, AVAILABILITY, LOCKING, PAYMENT, CONFIRMATION, REPLIES, EVENTS, DEAD_LETTERS)
