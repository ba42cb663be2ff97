-- name: search
-- what: for each question: is the property known, is the stay past, and the first rooms on the ring with no sold night
SELECT a.n::integer - 1 AS n, p.property_id IS NOT NULL AS known, a.check_in < current_date - 1 AS past,
       found.room_id, found.room_type, held.found IS NOT NULL AS held
FROM unnest($1::text[], $2::date[], $3::date[], $4::integer[], $5::text[], $6::integer[], $7::integer[])
     WITH ORDINALITY AS a (property_id, check_in, check_out, guests, room_type, wanted, start, n)
LEFT JOIN LATERAL (
    SELECT property_id FROM {{inventory}}.properties WHERE property_id = a.property_id LIMIT 1
) p ON true
LEFT JOIN LATERAL (
    SELECT * FROM (
        (SELECT r.room_id, r.room_type, r.place - a.start::bigint AS distance
         FROM {{inventory}}.rooms r
         WHERE r.property_id = a.property_id AND r.place >= a.start AND r.capacity >= a.guests
           AND (a.room_type IS NULL OR r.room_type = a.room_type)
           AND NOT EXISTS (
               SELECT FROM {{inventory}}.sold_nights s
               WHERE s.property_id = r.property_id AND s.room_id = r.room_id
                 AND s.night >= a.check_in AND s.night < a.check_out
               OFFSET 0  -- one probe of the primary key per room, and only until enough are found
           )
         ORDER BY r.place
         LIMIT a.wanted)
        UNION ALL
        (SELECT r.room_id, r.room_type, r.place - a.start::bigint + 4294967296 AS distance
         FROM {{inventory}}.rooms r
         WHERE r.property_id = a.property_id AND r.place < a.start AND r.capacity >= a.guests
           AND (a.room_type IS NULL OR r.room_type = a.room_type)
           AND NOT EXISTS (
               SELECT FROM {{inventory}}.sold_nights s
               WHERE s.property_id = r.property_id AND s.room_id = r.room_id
                 AND s.night >= a.check_in AND s.night < a.check_out
               OFFSET 0
           )
         ORDER BY r.place
         LIMIT a.wanted)
    ) both_arcs
    LIMIT a.wanted
) found ON true
LEFT JOIN LATERAL (
    -- A held room is offered last, not never: its hold may end, and who is too late is told so by the lock.
    SELECT true AS found FROM {{locking}}.locks l
    WHERE l.room = hashtextextended(a.property_id || '/' || found.room_id, 0)
      AND l.stay && daterange(a.check_in, a.check_out)
      AND l.released_at IS NULL AND (l.expires_at IS NULL OR l.expires_at > clock_timestamp())
    LIMIT 1
) held ON true
ORDER BY a.n, found.distance;
