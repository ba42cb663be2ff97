-- name: capture
-- what: write charges whose key (and, if captured, whose booking) is new; returns those that were written
INSERT INTO {{provider}}.charges
    (idempotency_key, charge_id, status, booking_id, fingerprint, amount, currency, card_brand, card_last_four, decline_code)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
                     $9::text[], $10::text[]) AS asked (idempotency_key)
ORDER BY asked.idempotency_key
ON CONFLICT DO NOTHING
RETURNING idempotency_key, fingerprint, extract(epoch FROM created_at)::float8;

-- name: bury
-- what: void keys whose charge has not arrived
INSERT INTO {{provider}}.charges
    (idempotency_key, charge_id, status, booking_id, fingerprint, amount, currency, card_brand, card_last_four, decline_code)
SELECT key, id, 'voided', booking_id, '', 0, '', '', '', ''
FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (key, id, booking_id)
ORDER BY key
ON CONFLICT DO NOTHING;

-- name: refund_by_key
-- what: refund in full what was captured under these keys and is not refunded yet
INSERT INTO {{provider}}.refunds (charge_id, refund_id, amount, reason)
SELECT c.charge_id, 're_' || substr(c.charge_id, 4), c.amount, asked.reason
FROM unnest($1::text[], $2::text[]) AS asked (key, reason)
JOIN {{provider}}.charges c ON c.idempotency_key = asked.key AND c.status = 'captured'
ORDER BY c.charge_id
ON CONFLICT DO NOTHING;

-- name: refund_by_charge
-- what: refund in full these captured charges unless they are refunded already
INSERT INTO {{provider}}.refunds (charge_id, refund_id, amount, reason)
SELECT c.charge_id, 're_' || substr(c.charge_id, 4), c.amount, asked.reason
FROM unnest($1::text[], $2::text[]) AS asked (charge_id, reason)
JOIN {{provider}}.charges c ON c.charge_id = asked.charge_id AND c.status = 'captured'
ORDER BY c.charge_id
ON CONFLICT DO NOTHING;

-- name: by_key
-- what: charges and their refunds by idempotency key
SELECT c.idempotency_key, c.charge_id, c.status, c.booking_id, c.fingerprint, c.amount, c.currency, c.card_brand,
       c.card_last_four, c.decline_code, extract(epoch FROM c.created_at)::float8 AS created,
       r.refund_id, coalesce(r.amount, 0) AS refunded
FROM {{provider}}.charges c LEFT JOIN {{provider}}.refunds r USING (charge_id)
WHERE c.idempotency_key = ANY($1::text[]);

-- name: by_charge
-- what: charges and their refunds by charge id
SELECT c.idempotency_key, c.charge_id, c.status, c.booking_id, c.fingerprint, c.amount, c.currency, c.card_brand,
       c.card_last_four, c.decline_code, extract(epoch FROM c.created_at)::float8 AS created,
       r.refund_id, coalesce(r.amount, 0) AS refunded
FROM {{provider}}.charges c LEFT JOIN {{provider}}.refunds r USING (charge_id)
WHERE c.charge_id = ANY($1::text[]);
