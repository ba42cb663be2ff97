-- name: count_locks
-- what: how many locks there are, released ones included
SELECT count(*) FROM {{locking}}.locks
WHERE coalesce(acquired_at, released_at) >= to_timestamp($1::bigint / 1e6);

-- name: lock_without_saga
-- what: a lock for a booking that nobody asked for
SELECT l.booking_id AS saga_id, format('lock %s (%s) belongs to no saga', l.reservation_id, l.state) AS detail
FROM {{locking}}.locks l
WHERE coalesce(l.acquired_at, l.released_at) >= to_timestamp($1::bigint / 1e6)
  AND NOT EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = l.booking_id);

-- name: hold_without_live_saga
-- what: a lock that is still held though its saga has ended
SELECT t.id AS saga_id,
       format('it is %s, but its lock %s on room %s is still held (until %s)', t.status, l.reservation_id, l.room_id,
              l.expires_at) AS detail
FROM {{locking}}.locks l
JOIN told t ON t.id = l.booking_id
WHERE l.state = 'held'
  AND (t.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       -- The worker promotes the lock when it hears of the confirmation, a moment later.
       OR t.status = 'CONFIRMED' AND t.updated_us < extract(epoch FROM now()) * 1e6 - $2::bigint
       OR t.status = 'NEEDS_ATTENTION' AND NOT t.todo ? l.lock_command_id)
  AND t.started_us >= $1::bigint;

-- name: confirmed_lock_of_unconfirmed_saga
-- what: a lock that was confirmed, and kept, for a booking that was not given
SELECT t.id AS saga_id,
       format('it is %s, but its lock %s on room %s is confirmed', t.status, l.reservation_id, l.room_id) AS detail
FROM {{locking}}.locks l
JOIN told t ON t.id = l.booking_id
WHERE l.state = 'confirmed'
  AND (t.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       OR t.status = 'NEEDS_ATTENTION' AND NOT t.todo ? l.lock_command_id)
