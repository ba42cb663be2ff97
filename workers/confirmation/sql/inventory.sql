-- name: confirm
-- what: (CTEs) claim commands with their codes and sell their nights; `got` has each claim with the nights it got
asked AS (
    SELECT * FROM json_to_recordset($1::json)
        AS a (n int, command_id text, booking_id text, reservation_id text, property_id text, room_id text,
              check_in date, check_out date, guests int, code text)
), claimed AS (
    INSERT INTO {{inventory}}.confirmations (confirm_command_id, booking_id, reservation_id, state, code, nights)
    SELECT command_id, booking_id, reservation_id, 'issued', code, check_out - check_in FROM asked
    WHERE check_out > check_in
    ORDER BY command_id
    ON CONFLICT DO NOTHING
    RETURNING confirm_command_id
), sold AS (
    INSERT INTO {{inventory}}.sold_nights (property_id, room_id, night, booking_id)
    SELECT a.property_id, a.room_id, a.check_in + night, a.booking_id
    FROM asked a
    JOIN claimed c ON c.confirm_command_id = a.command_id
    CROSS JOIN LATERAL (
        SELECT FROM {{inventory}}.rooms r
        WHERE r.property_id = a.property_id AND r.room_id = a.room_id AND r.capacity >= a.guests
        LIMIT 1
    ) fitting
    CROSS JOIN LATERAL generate_series(0, a.check_out - a.check_in - 1) AS night
    ORDER BY a.property_id, a.room_id, a.n, night  -- everywhere the same; then first come, first served
    ON CONFLICT DO NOTHING
    RETURNING booking_id
), counted AS (
    SELECT booking_id, count(*)::integer AS nights FROM sold GROUP BY booking_id
), got AS (
    SELECT a.command_id, coalesce(counted.nights, 0) AS nights, a.check_out - a.check_in AS wanted
    FROM claimed c
    JOIN asked a ON a.command_id = c.confirm_command_id
    LEFT JOIN counted ON counted.booking_id = a.booking_id
), expected AS (
    SELECT command_id AS message_id, NULL::jsonb AS patch FROM got WHERE nights = wanted
);

-- name: take_back
-- what: give up the nights and the claims of bookings that could not have all of their nights
WITH given_back AS (
    DELETE FROM {{inventory}}.sold_nights s
    USING unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::date[])
          AS a (booking_id, property_id, room_id, check_in, check_out)
    WHERE s.property_id = a.property_id AND s.room_id = a.room_id AND s.night >= a.check_in AND s.night < a.check_out
      AND s.booking_id = a.booking_id
)
DELETE FROM {{inventory}}.confirmations WHERE confirm_command_id = ANY ($6::text[]);

-- name: refuse
-- what: remember refusals; the reason is that the nights are sold, or else that no such room takes so many guests
INSERT INTO {{inventory}}.confirmations (confirm_command_id, booking_id, reservation_id, state, reason)
SELECT a.command_id, a.booking_id, a.reservation_id, 'refused',
       CASE WHEN a.check_out > a.check_in AND EXISTS (
           SELECT FROM {{inventory}}.rooms r
           WHERE r.property_id = a.property_id AND r.room_id = a.room_id AND r.capacity >= a.guests
       ) THEN 'sold' ELSE 'invalid' END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::date[], $7::date[], $8::integer[])
     AS a (command_id, booking_id, reservation_id, property_id, room_id, check_in, check_out, guests)
ORDER BY a.command_id
ON CONFLICT DO NOTHING;

-- name: decided
-- what: what became of these commands
SELECT confirm_command_id, state, code, reason FROM {{inventory}}.confirmations
WHERE confirm_command_id = ANY ($1::text[]);

-- name: bury
-- what: these confirmations are undone, or must never be made
INSERT INTO {{inventory}}.confirmations AS c
    (confirm_command_id, booking_id, reservation_id, state, restored_at)
SELECT a.undoes, a.booking_id, a.reservation_id, 'restored', clock_timestamp()
FROM unnest($1::text[], $2::text[], $3::text[]) AS a (undoes, booking_id, reservation_id)
ORDER BY a.undoes
ON CONFLICT (confirm_command_id) DO UPDATE SET state = 'restored', restored_at = clock_timestamp()
WHERE c.state <> 'restored';

-- name: restore
-- what: give back the nights sold to these bookings; returns how many each had
WITH given_back AS (
    DELETE FROM {{inventory}}.sold_nights WHERE booking_id = ANY ($1::text[]) RETURNING booking_id
)
SELECT booking_id, count(*)::integer AS nights FROM given_back GROUP BY booking_id;

-- name: sell_at_desk
-- what: sell all free nights of a stay to somebody at the front desk; returns how many they got
WITH sold AS (
    INSERT INTO {{inventory}}.sold_nights (property_id, room_id, night, booking_id)
    SELECT r.property_id, r.room_id, $3::date + night, $5
    FROM {{inventory}}.rooms r CROSS JOIN LATERAL generate_series(0, $4::date - $3::date - 1) AS night
    WHERE r.property_id = $1 AND r.room_id = $2
    ORDER BY night
    ON CONFLICT DO NOTHING
    RETURNING night
)
SELECT count(*)::integer FROM sold;
