-- Reservation locks. One row per lock command, whoever came first with it: the lock, or its undo (state 'released'
-- without a room), which makes the late lock impossible. A reservation id derives from its lock command's id, so the one
-- key stands for both; a second unique index would turn the race of a lock with its undo into an error.
CREATE TABLE locks (
    reservation_id  text PRIMARY KEY,
    lock_command_id text NOT NULL,
    booking_id      text NOT NULL,
    property_id     text,
    room_id         text,
    -- Property and room as one number: comparing texts in the exclusion constraint cost five times as much per lock. Two
    -- rooms with the same 64 bits would only keep each other from being locked, never be sold twice.
    room            bigint GENERATED ALWAYS AS (hashtextextended(property_id || '/' || room_id, 0)) STORED,
    stay            daterange,
    state           text NOT NULL CHECK (state IN ('held', 'confirmed', 'released')),
    acquired_at     timestamptz,
    expires_at      timestamptz,
    confirmed_at    timestamptz,
    released_at     timestamptz,
    released_by     text CHECK (released_by IN ('undo', 'expiry')),
    CONSTRAINT released_says_when CHECK ((state = 'released') = (released_at IS NOT NULL)),
    CONSTRAINT released_says_why CHECK ((state = 'released') = (released_by IS NOT NULL)),
    CONSTRAINT held_expires CHECK (state <> 'held' OR expires_at IS NOT NULL),
    CONSTRAINT confirmed_never_expires CHECK (state <> 'confirmed' OR expires_at IS NULL),
    CONSTRAINT live_is_whole CHECK (
        released_at IS NOT NULL
        OR (property_id IS NOT NULL AND room_id IS NOT NULL AND stay IS NOT NULL AND NOT isempty(stay)
            AND NOT lower_inf(stay) AND NOT upper_inf(stay) AND acquired_at IS NOT NULL)
    ),
    -- No two live locks (held or confirmed: both have no released_at) overlap. The predicate leaves state alone, so that
    -- promoting a lock touches no index.
    CONSTRAINT no_overlapping_live_locks EXCLUDE USING gist (room WITH =, stay WITH &&) WHERE (released_at IS NULL)
) WITH (fillfactor = 70);

CREATE FUNCTION refuse_resurrection() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE EXCEPTION ''lock % is released for good'', OLD.reservation_id; END';

-- Called only for what must never happen; the condition itself costs next to nothing.
CREATE TRIGGER released_is_final BEFORE UPDATE ON locks FOR EACH ROW
WHEN (OLD.released_at IS NOT NULL AND NEW.released_at IS NULL) EXECUTE FUNCTION refuse_resurrection();
