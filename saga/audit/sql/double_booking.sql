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
-- what: two live locks on one room with a night in common
SELECT a.booking_id AS saga_id,
       format('room %s of %s is locked by %s for %s and by %s (booking %s) for %s at once', a.room_id, a.property_id,
              a.reservation_id, a.stay, b.reservation_id, b.booking_id, b.stay) AS detail
FROM {{locking}}.locks a
JOIN {{locking}}.locks b
  ON b.property_id = a.property_id AND b.room_id = a.room_id AND b.stay && a.stay
 AND b.reservation_id > a.reservation_id
WHERE a.released_at IS NULL AND b.released_at IS NULL;

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
-- what: two confirmed sagas that were given the same room for a common night, by their own states
SELECT a.id AS saga_id,
       format('room %s of %s was given to it for %s to %s and to booking %s for %s to %s', a.room_id, a.property_id,
              a.check_in, a.check_out, b.id, b.check_in, b.check_out) AS detail
FROM told a
JOIN told b
  ON b.property_id = a.property_id AND b.room_id = a.room_id AND b.check_in < a.check_out AND a.check_in < b.check_out
 AND b.id > a.id
WHERE a.status = 'CONFIRMED' AND b.status = 'CONFIRMED'
