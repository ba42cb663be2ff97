-- What confirmation did under each command. Whoever comes first with a command id has it: the confirmation, or its undo
-- (state 'restored' without a code), which makes the late confirmation impossible.
CREATE TABLE confirmations (
    confirm_command_id text PRIMARY KEY,
    booking_id         text NOT NULL,
    reservation_id     text NOT NULL,
    state              text NOT NULL CHECK (state IN ('issued', 'refused', 'restored')),
    code               text UNIQUE CHECK (code ~ '^BK-[0-9A-HJKMNP-TV-Z]{8}$'),
    nights             integer NOT NULL DEFAULT 0 CHECK (nights >= 0),
    reason             text NOT NULL DEFAULT '',
    decided_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    restored_at        timestamptz,
    CHECK (state <> 'issued' OR (code IS NOT NULL AND nights > 0)),
    CHECK (state <> 'refused' OR (code IS NULL AND reason <> '')),
    CHECK ((state = 'restored') = (restored_at IS NOT NULL))
);
