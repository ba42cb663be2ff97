-- name: count_charges
-- what: how many charges were captured
SELECT count(*) FROM {{provider}}.charges
WHERE status = 'captured' AND created_at >= to_timestamp($1::bigint / 1e6);

-- name: charge_without_saga
-- what: a charge for a booking that nobody asked for
SELECT c.booking_id AS saga_id,
       format('charge %s of %s %s belongs to no saga', c.charge_id, c.amount, c.currency) AS detail
FROM {{provider}}.charges c
WHERE c.status = 'captured' AND c.created_at >= to_timestamp($1::bigint / 1e6)
  AND NOT EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = c.booking_id);

-- name: confirmed_without_charge
-- what: a confirmed booking that does not hold exactly one unrefunded charge
SELECT t.id AS saga_id, format('it is CONFIRMED with %s unrefunded charges, not one', count(c.charge_id)) AS detail
FROM told t
LEFT JOIN ({{provider}}.charges c LEFT JOIN {{provider}}.refunds r ON r.charge_id = c.charge_id)
       ON c.booking_id = t.id AND c.status = 'captured' AND r.charge_id IS NULL
WHERE t.status = 'CONFIRMED'
GROUP BY t.id
HAVING count(c.charge_id) <> 1;

-- name: charged_something_else
-- what: a confirmed booking whose charge is not the one, or not the price, that the saga knows
SELECT t.id AS saga_id,
       format('it is CONFIRMED at %s %s under transaction %s, but charge %s took %s %s', t.amount_minor, t.currency,
              t.transaction_id, c.charge_id, c.amount, c.currency) AS detail
FROM told t
JOIN {{provider}}.charges c ON c.booking_id = t.id AND c.status = 'captured'
WHERE t.status = 'CONFIRMED'
  AND (c.amount, c.currency, c.charge_id) IS DISTINCT FROM (t.amount_minor, t.currency, t.transaction_id);

-- name: money_kept
-- what: a charge that was not refunded although the booking was not given, or is parked, and that for a day
SELECT t.id AS saga_id,
       format('it is %s, but charge %s keeps %s %s', t.status, c.charge_id, c.amount, c.currency) AS detail
FROM told t
JOIN {{provider}}.charges c ON c.booking_id = t.id AND c.status = 'captured'
LEFT JOIN {{provider}}.refunds r ON r.charge_id = c.charge_id
WHERE r.charge_id IS NULL
  AND (t.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       OR t.status = 'NEEDS_ATTENTION'
          AND (c.created_at < now() - interval '1 day' OR NOT t.todo ? c.idempotency_key));

-- name: refund_differs
-- what: a refund that does not give back the whole charge
SELECT c.booking_id AS saga_id,
       format('charge %s took %s, but refund %s gave back %s', c.charge_id, c.amount, r.refund_id, r.amount) AS detail
FROM {{provider}}.refunds r
JOIN {{provider}}.charges c ON c.charge_id = r.charge_id
WHERE r.amount <> c.amount AND c.created_at >= to_timestamp($1::bigint / 1e6)
