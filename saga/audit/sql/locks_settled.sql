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
SELECT s.id AS saga_id,
       format('it is %s, but its lock %s on room %s is still held (until %s)', s.status, l.reservation_id, l.room_id,
              l.expires_at) AS detail
FROM {{locking}}.locks l
JOIN {{saga}}.sagas s ON s.id = l.booking_id
WHERE l.state = 'held' AND s.started_us >= $1::bigint
  AND (s.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       -- The worker promotes the lock when it hears of the confirmation, a moment later.
       OR s.status = 'CONFIRMED' AND s.updated_us < extract(epoch FROM now()) * 1e6 - $2::bigint
       OR s.status = 'NEEDS_ATTENTION' AND NOT s.state::jsonb #> '{rollback,todo}' ? l.lock_command_id);

-- name: confirmed_lock_of_unconfirmed_saga
-- what: a lock that was confirmed, and kept, for a booking that was not given
SELECT s.id AS saga_id,
       format('it is %s, but its lock %s on room %s is confirmed', s.status, l.reservation_id, l.room_id) AS detail
FROM {{locking}}.locks l
JOIN {{saga}}.sagas s ON s.id = l.booking_id
WHERE l.state = 'confirmed' AND s.started_us >= $1::bigint
  AND (s.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       OR s.status = 'NEEDS_ATTENTION' AND NOT s.state::jsonb #> '{rollback,todo}' ? l.lock_command_id)
