-- name: count_charges
-- what: how many charges were captured, by our own record
SELECT count(*) FROM {{payment}}.payments
WHERE state IN ('captured', 'refunded') AND decided_at >= to_timestamp($1::bigint / 1e6);

-- name: captured_twice
-- what: a booking for which the provider captured more than one charge
SELECT booking_id AS saga_id,
       format('the provider captured %s charges: %s', count(*), string_agg(charge_id, ', ' ORDER BY charge_id)) AS detail
FROM {{provider}}.charges
WHERE status = 'captured' AND created_at >= to_timestamp($1::bigint / 1e6)
GROUP BY booking_id
HAVING count(*) > 1;

-- name: recorded_twice
-- what: a booking for which our own record has more than one charge
SELECT booking_id AS saga_id,
       format('%s payments were captured: %s', count(*), string_agg(command_id, ', ' ORDER BY command_id)) AS detail
FROM {{payment}}.payments
WHERE state IN ('captured', 'refunded') AND decided_at >= to_timestamp($1::bigint / 1e6)
GROUP BY booking_id
HAVING count(*) > 1
