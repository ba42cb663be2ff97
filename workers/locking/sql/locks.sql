-- name: acquire
-- what: (CTEs) hold rooms where no night is sold, no live lock overlaps and no undo came first
held AS (
    INSERT INTO {{locking}}.locks
        (reservation_id, lock_command_id, booking_id, property_id, room_id, stay, state, acquired_at, expires_at)
    SELECT a.reservation_id, a.command_id, a.booking_id, a.property_id, a.room_id, daterange(a.check_in, a.check_out),
           'held', clock_timestamp(), clock_timestamp() + a.ttl_ms * interval '1 millisecond'
    FROM json_to_recordset($1::json)
         AS a (n int, reservation_id text, command_id text, booking_id text, property_id text, room_id text,
               check_in date, check_out date, ttl_ms int)
    WHERE NOT EXISTS (
        SELECT FROM {{inventory}}.sold_nights s
        WHERE s.property_id = a.property_id AND s.room_id = a.room_id AND s.night >= a.check_in AND s.night < a.check_out
        OFFSET 0  -- one probe of the primary key per lock, never a join with the whole table
    )
    ORDER BY a.property_id, a.room_id, a.n  -- the same order everywhere, against deadlocks; then first come, first served
    ON CONFLICT DO NOTHING
    RETURNING reservation_id, lock_command_id, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_ms
), expected AS (
    SELECT lock_command_id AS message_id, jsonb_build_object('expires_at_ms', expires_ms) AS patch FROM held
);

-- name: explain
-- what: why locks were not taken: a row of their own, a sold night, or a live lock in the way
SELECT a.reservation_id, own.state AS own_state,
       own.state = 'held' AND own.expires_at <= clock_timestamp() AS own_expired,
       (extract(epoch FROM coalesce(own.expires_at, own.acquired_at)) * 1000)::bigint AS expires_ms,
       own.released_by, sold.found IS NOT NULL AS sold,
       rival.reservation_id AS rival, rival.state AS rival_state,
       rival.state = 'held' AND rival.expires_at <= clock_timestamp() AS rival_expired
FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[])
     AS a (reservation_id, property_id, room_id, check_in, check_out)
LEFT JOIN {{locking}}.locks own ON own.reservation_id = a.reservation_id
LEFT JOIN LATERAL (
    SELECT true AS found FROM {{inventory}}.sold_nights s
    WHERE s.property_id = a.property_id AND s.room_id = a.room_id AND s.night >= a.check_in AND s.night < a.check_out
    LIMIT 1
) sold ON true
LEFT JOIN LATERAL (
    SELECT l.reservation_id, l.state, l.expires_at FROM {{locking}}.locks l
    WHERE l.room = hashtextextended(a.property_id || '/' || a.room_id, 0)
      AND l.stay && daterange(a.check_in, a.check_out)
      AND l.released_at IS NULL AND l.reservation_id <> a.reservation_id
    ORDER BY l.state = 'held' AND l.expires_at <= clock_timestamp(), l.acquired_at
    LIMIT 1
) rival ON true;

-- name: expire
-- what: release the expired holds that stand in the way of these stays; returns them
UPDATE {{locking}}.locks l
SET state = 'released', released_at = clock_timestamp(), released_by = 'expiry'
FROM unnest($1::text[], $2::text[], $3::date[], $4::date[]) AS a (property_id, room_id, check_in, check_out)
WHERE l.room = hashtextextended(a.property_id || '/' || a.room_id, 0)
  AND l.stay && daterange(a.check_in, a.check_out)
  AND l.released_at IS NULL AND l.state = 'held' AND l.expires_at <= clock_timestamp()
RETURNING l.reservation_id;

-- name: release
-- what: release these locks, or record that they must never be taken; returns those that were held
WITH undone AS (
    INSERT INTO {{locking}}.locks AS l (reservation_id, lock_command_id, booking_id, state, released_at, released_by)
    SELECT a.reservation_id, a.undoes, a.booking_id, 'released', clock_timestamp(), 'undo'
    FROM unnest($1::text[], $2::text[], $3::text[]) AS a (reservation_id, undoes, booking_id)
    ORDER BY a.reservation_id
    ON CONFLICT (reservation_id) DO UPDATE
    SET state = 'released', released_at = clock_timestamp(), released_by = 'undo', expires_at = NULL
    WHERE l.released_at IS NULL
    RETURNING l.reservation_id, l.room_id
)
SELECT reservation_id FROM undone WHERE room_id IS NOT NULL;

-- name: promote
-- what: locks of confirmed bookings stay for good; returns those that were held
UPDATE {{locking}}.locks SET state = 'confirmed', confirmed_at = clock_timestamp(), expires_at = NULL
WHERE reservation_id = ANY ($1::text[]) AND state = 'held'
RETURNING reservation_id;
