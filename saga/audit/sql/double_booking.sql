-- name: count_nights
-- what: how many nights are sold, plus how many locks are live
SELECT (SELECT count(*) FROM {{inventory}}.sold_nights)
     + (SELECT count(*) FROM {{locking}}.locks WHERE released_at IS NULL);

-- name: night_sold_twice
-- what: a night of a room that is sold more than once
SELECT min(booking_id) AS saga_id,
       format('room %s of %s is sold %s times for the night of %s: to %s', room_id, property_id, count(*), night,
              string_agg(booking_id, ', ' ORDER BY booking_id)) AS detail
FROM {{inventory}}.sold_nights
GROUP BY property_id, room_id, night
HAVING count(*) > 1;

-- name: locks_overlap
-- what: a live lock that has a night in common with an earlier one on its room
SELECT booking_id AS saga_id,
       format('room %s of %s is locked by %s for %s, and by %s (booking %s) at once', room_id, property_id,
              reservation_id, stay, earlier, earlier_booking) AS detail
FROM (
    SELECT booking_id, property_id, room_id, reservation_id, stay, lag(reservation_id) OVER room AS earlier,
           lag(booking_id) OVER room AS earlier_booking,
           max(upper(stay)) OVER (room ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken_until
    FROM {{locking}}.locks
    WHERE released_at IS NULL
    WINDOW room AS (PARTITION BY property_id, room_id ORDER BY lower(stay), reservation_id)
) AS live
WHERE lower(stay) < taken_until;

-- name: lock_on_sold_night
-- what: a live lock on a night that another booking has bought (a walk-in may: the desk does not look at locks)
SELECT l.booking_id AS saga_id,
       format('room %s of %s is locked by %s for %s, but %s is sold to booking %s', l.room_id, l.property_id,
              l.reservation_id, l.stay, min(n.night), n.booking_id) AS detail
FROM {{locking}}.locks l
JOIN {{inventory}}.sold_nights n
  ON n.property_id = l.property_id AND n.room_id = l.room_id AND n.night >= lower(l.stay) AND n.night < upper(l.stay)
 AND n.booking_id <> l.booking_id
WHERE l.released_at IS NULL AND (l.expires_at IS NULL OR l.expires_at > now())
  AND EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = n.booking_id)
GROUP BY l.booking_id, l.room_id, l.property_id, l.reservation_id, l.stay, n.booking_id;

-- name: confirmed_twice
-- what: a confirmed saga that was given a room which an earlier one has for a common night, by their own states
SELECT id AS saga_id,
       format('room %s of %s was given to it from %s to %s, but also to booking %s', room_id, property_id, check_in,
              check_out, earlier) AS detail
FROM (
    SELECT id, property_id, room_id, check_in, check_out, lag(id) OVER room AS earlier,
           max(check_out) OVER (room ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken_until
    FROM told
    WHERE status = 'CONFIRMED'
    WINDOW room AS (PARTITION BY property_id, room_id ORDER BY check_in, id)
) AS given
WHERE check_in < taken_until
