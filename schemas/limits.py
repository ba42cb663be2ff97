"""Every limit on what a message may hold, in one place. Lengths are characters, sizes are bytes."""

MAX_MESSAGE_BYTES = 65_536
MAX_ID = 64
MAX_NAME = 120
MAX_EMAIL = 254
MAX_TOKEN = 128
MAX_REASON = 200
MAX_GUESTS = 20
MAX_NIGHTS = 60
MAX_OFFERS = 5
MAX_AMOUNT_MINOR = 100_000_000
LOCK_TTL_MS = 600_000
