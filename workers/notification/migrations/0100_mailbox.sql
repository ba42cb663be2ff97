-- The development mailbox's own table: every e-mail it was handed, once per delivery, so that a duplicate shows.
CREATE TABLE mailbox (
    mail_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text NOT NULL,
    booking_id  text NOT NULL,
    kind        text NOT NULL,
    recipient   text NOT NULL,
    content     bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX mailbox_by_booking ON mailbox (booking_id);
