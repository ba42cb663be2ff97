-- What guests were told: one row per event. The address is never kept, except in the event itself while a letter is due
-- and has to be written again; it goes as soon as the letter does.
CREATE TABLE notifications (
    message_id      text PRIMARY KEY,
    booking_id      text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('confirmed', 'failed', 'cancelled')),
    channel         text NOT NULL DEFAULT 'email' CHECK (channel IN ('email')),
    mail_id         text NOT NULL,
    outcome         text NOT NULL
                    CHECK (outcome IN ('sending', 'sent', 'refused', 'due', 'superseded', 'abandoned')),
    attempts        integer NOT NULL DEFAULT 1 CHECK (attempts >= 0),
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at         timestamptz,
    claimed_by      text,
    claimed_until   timestamptz,
    next_attempt_at timestamptz,
    event_type      text,
    event           text,
    parent          text,
    first_span      text,
    CHECK ((outcome = 'sent') = (sent_at IS NOT NULL)),
    CHECK (outcome <> 'sending' OR (claimed_by IS NOT NULL AND claimed_until IS NOT NULL)),
    CHECK (outcome <> 'due' OR (event IS NOT NULL AND next_attempt_at IS NOT NULL)),
    CONSTRAINT address_only_while_needed CHECK (event IS NULL OR outcome IN ('due', 'sending'))
) WITH (fillfactor = 80);
CREATE INDEX notifications_by_booking ON notifications (booking_id);
-- The queue of what could not be sent at once: nearly always empty.
CREATE INDEX notifications_due ON notifications (next_attempt_at) WHERE event IS NOT NULL;
