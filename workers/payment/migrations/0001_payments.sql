-- Our own record of the money, one row per payment command. Whoever comes first with a command id has the row: the
-- charge, or its undo (state 'voided'), after which the charge is refused.
CREATE TABLE payments (
    command_id      text PRIMARY KEY,
    booking_id      text NOT NULL,
    reservation_id  text NOT NULL,
    state           text NOT NULL
                    CHECK (state IN ('captured', 'declined', 'rejected', 'unknown', 'refunded', 'voided')),
    amount_minor    bigint NOT NULL CHECK (amount_minor >= 0),
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    transaction_id  text,
    card_last_four  text CHECK (card_last_four ~ '^[0-9]{4}$'),
    reason          text NOT NULL DEFAULT '',
    refund_id       text,
    refunded_minor  bigint NOT NULL DEFAULT 0 CHECK (refunded_minor IN (0, amount_minor)),
    undo_command_id text,
    decided_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone_at       timestamptz,
    CHECK (state <> 'captured' OR (transaction_id IS NOT NULL AND undone_at IS NULL)),
    CHECK ((state = 'refunded') = (refund_id IS NOT NULL AND refunded_minor = amount_minor)),
    CHECK ((undone_at IS NULL) = (undo_command_id IS NULL))
);
CREATE INDEX payments_by_booking ON payments (booking_id);
-- A booking has at most one charge that keeps money.
CREATE UNIQUE INDEX one_captured_charge_per_booking ON payments (booking_id) WHERE state = 'captured';
-- What nobody knows yet has to be looked after; there are few of these.
CREATE INDEX payments_unknown ON payments (decided_at) WHERE state = 'unknown';
