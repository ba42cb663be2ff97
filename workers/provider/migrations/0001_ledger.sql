-- The simulated payment provider's ledger. One row per idempotency key, whoever came first with it: a charge, or the
-- void of a charge that had not arrived (status 'voided'), which makes the late charge impossible.
CREATE TABLE charges (
    idempotency_key text PRIMARY KEY CHECK (length(idempotency_key) BETWEEN 1 AND 256),
    charge_id       text NOT NULL,
    status          text NOT NULL CHECK (status IN ('captured', 'declined', 'voided')),
    booking_id      text,
    fingerprint     text NOT NULL,
    amount          bigint NOT NULL CHECK (amount >= 0),
    currency        text NOT NULL,
    card_brand      text NOT NULL,
    card_last_four  text NOT NULL CHECK (length(card_last_four) <= 4),
    decline_code    text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (status = 'voided' OR (booking_id IS NOT NULL AND amount > 0))
);
CREATE UNIQUE INDEX charges_by_id ON charges (charge_id);
-- At most one captured charge per booking, refunded or not: a second one is never right.
CREATE UNIQUE INDEX one_captured_charge_per_booking ON charges (booking_id) WHERE status = 'captured';

CREATE TABLE refunds (
    charge_id  text PRIMARY KEY REFERENCES charges (charge_id),
    refund_id  text NOT NULL UNIQUE,
    amount     bigint NOT NULL CHECK (amount > 0),
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE refunds IS 'a charge is refunded once, in full';
