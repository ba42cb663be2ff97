-- name: count_answers
-- what: how many messages the workers have handled
SELECT (SELECT count(*) FROM {{inventory}}.inbox) + (SELECT count(*) FROM {{locking}}.inbox)
     + (SELECT count(*) FROM {{payment}}.inbox) + (SELECT count(*) FROM {{notification}}.inbox);

-- name: answers_differ
-- what: a command whose outcome, as the saga has it, is not what its worker answered, or that no worker remembers
WITH kept AS (
    SELECT message_id, epoch, reply_type FROM {{inventory}}.inbox
    UNION ALL SELECT message_id, epoch, reply_type FROM {{locking}}.inbox
    UNION ALL SELECT message_id, epoch, reply_type FROM {{payment}}.inbox
), meaning (step, is_undo, outcome, reply_type) AS (VALUES
    ('check_availability', false, 'done', 'booking.AvailabilityFound.v1'),
    ('check_availability', false, 'refused', 'booking.AvailabilityRefused.v1'),
    ('acquire_lock', false, 'done', 'booking.LockAcquired.v1'),
    ('acquire_lock', false, 'refused', 'booking.LockRefused.v1'),
    ('acquire_lock', true, 'done', 'booking.LockReleased.v1'),
    ('process_payment', false, 'done', 'booking.PaymentProcessed.v1'),
    ('process_payment', false, 'refused', 'booking.PaymentDeclined.v1'),
    ('process_payment', true, 'done', 'booking.PaymentRefunded.v1'),
    ('confirm', false, 'done', 'booking.ConfirmationIssued.v1'),
    ('confirm', false, 'refused', 'booking.ConfirmationRefused.v1'),
    ('confirm', true, 'done', 'booking.InventoryRestored.v1')
)
SELECT ran.saga_id,
       CASE WHEN kept.message_id IS NULL THEN format('%s is %s, but no worker remembers it', command_id, outcome)
            ELSE format('%s is %s at epoch %s, but its worker answered %s to epoch %s', command_id, outcome, ran.epoch,
                        kept.reply_type, kept.epoch)
       END AS detail
FROM ran
LEFT JOIN kept ON kept.message_id = ran.command_id
LEFT JOIN meaning USING (step, is_undo, outcome)
WHERE ran.outcome IN ('done', 'refused')
  AND (kept.message_id IS NULL OR kept.epoch <> ran.epoch OR kept.reply_type IS DISTINCT FROM meaning.reply_type);

-- name: not_asked_for
-- what: a command that a worker carried out and that the saga never gave
WITH kept AS (
    SELECT saga_id, message_id, worker FROM {{inventory}}.inbox
    UNION ALL SELECT saga_id, message_id, worker FROM {{locking}}.inbox WHERE reply_type IS NOT NULL
    UNION ALL SELECT saga_id, message_id, worker FROM {{payment}}.inbox
)
SELECT kept.saga_id, format('%s carried out %s, which the saga never asked for', kept.worker, kept.message_id) AS detail
FROM kept
LEFT JOIN told t ON t.id = kept.saga_id
WHERE (t.id IS NOT NULL OR $1::bigint = 0) AND NOT EXISTS (SELECT FROM ran WHERE ran.command_id = kept.message_id);

-- name: confirmed_but_not_sold
-- what: a confirmed saga whose nights, room or code are not those in the inventory
WITH sold AS (
    SELECT t.id, count(n.night) AS nights
    FROM told t
    LEFT JOIN {{inventory}}.sold_nights n
      ON n.booking_id = t.id AND n.property_id = t.property_id AND n.room_id = t.room_id
     AND n.night >= t.check_in AND n.night < t.check_out
    WHERE t.status = 'CONFIRMED'
    GROUP BY t.id
), issued AS (
    SELECT booking_id AS id, count(*) AS count, min(code) AS code, min(nights) AS nights,
           min(reservation_id) AS reservation_id, string_agg(code || ' of ' || nights || ' nights', ', ') AS codes
    FROM {{inventory}}.confirmations
    WHERE state = 'issued'
    GROUP BY booking_id
)
SELECT t.id AS saga_id,
       format('it is CONFIRMED with code %s for %s nights, but %s of them are sold to it, and its confirmations are [%s]',
              t.code, t.check_out - t.check_in, sold.nights, c.codes) AS detail
FROM told t
JOIN sold USING (id)
LEFT JOIN issued c USING (id)
WHERE sold.nights <> t.check_out - t.check_in
   OR (c.count, c.code, c.nights, c.reservation_id)
      IS DISTINCT FROM (1, t.code, t.check_out - t.check_in, t.reservation_id);

-- name: sold_but_not_confirmed
-- what: nights sold to a saga that has ended otherwise
SELECT t.id AS saga_id,
       format('it is %s, but %s nights of room %s are sold to it', t.status, count(*), min(n.room_id)) AS detail
FROM {{inventory}}.sold_nights n
JOIN told t ON t.id = n.booking_id
WHERE t.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
   OR t.status = 'NEEDS_ATTENTION' AND NOT t.todo ? (t.id || '.confirm.1')
GROUP BY t.id, t.status;

-- name: issued_but_not_confirmed
-- what: a confirmation that stands although its saga has ended otherwise, or does not exist
SELECT c.booking_id AS saga_id, format('code %s is issued, but the saga is %s', c.code, coalesce(t.status, 'unknown')) AS detail
FROM {{inventory}}.confirmations c
LEFT JOIN told t ON t.id = c.booking_id
WHERE c.state = 'issued'
  AND (t.id IS NULL AND $1::bigint = 0
       OR t.status IN ('FAILED', 'TIMED_OUT', 'CANCELLED')
       OR t.status = 'NEEDS_ATTENTION' AND NOT t.todo ? c.confirm_command_id);

-- name: confirmed_without_lock
-- what: a confirmed saga whose lock was released by an undo, or is not on the room it was given
SELECT t.id AS saga_id,
       format('it is CONFIRMED under %s, but that lock is %s', t.reservation_id,
              coalesce(l.state || ' on room ' || l.room_id || ' for ' || l.stay::text, 'missing')) AS detail
FROM told t
LEFT JOIN {{locking}}.locks l ON l.reservation_id = t.reservation_id
WHERE t.status = 'CONFIRMED'
  AND (l.reservation_id IS NULL OR l.released_by = 'undo'
       OR (l.booking_id, l.property_id, l.room_id, l.stay)
          IS DISTINCT FROM (t.id, t.property_id, t.room_id, daterange(t.check_in, t.check_out)));

-- name: payment_differs
-- what: a saga whose end is not what the payment worker has on record
SELECT t.id AS saga_id,
       format('it is %s, but its payments are [%s]', t.status, string_agg(p.command_id || ' ' || p.state, ', ')) AS detail
FROM told t
LEFT JOIN {{payment}}.payments p ON p.booking_id = t.id
WHERE t.status IN ('CONFIRMED', 'FAILED', 'TIMED_OUT', 'CANCELLED')
GROUP BY t.id
HAVING CASE WHEN t.status = 'CONFIRMED'
    THEN count(*) FILTER (WHERE p.state = 'captured' AND p.transaction_id = t.transaction_id
                            AND p.amount_minor = t.amount_minor AND p.currency = t.currency) <> 1
         OR count(*) FILTER (WHERE p.state IN ('captured', 'unknown')) <> 1
    ELSE count(*) FILTER (WHERE p.state IN ('captured', 'unknown')) > 0
END;

-- name: provider_differs
-- what: a payment of an ended saga of which the provider's ledger says something else than the payment worker's
SELECT t.id AS saga_id,
       format('%s is %s by our record, and %s by the provider''s', coalesce(p.command_id, c.idempotency_key),
              coalesce(p.state, 'missing'), CASE WHEN r.charge_id IS NOT NULL THEN 'refunded'
                                                 ELSE coalesce(c.status, 'missing') END) AS detail
FROM told t
JOIN ({{payment}}.payments p FULL JOIN {{provider}}.charges c ON c.idempotency_key = p.command_id
      LEFT JOIN {{provider}}.refunds r ON r.charge_id = c.charge_id)
  ON t.id = coalesce(p.booking_id, c.booking_id)
WHERE t.status IN ('CONFIRMED', 'FAILED', 'TIMED_OUT', 'CANCELLED')
  AND (coalesce(p.state, '') IN ('captured', 'refunded') OR coalesce(c.status, '') = 'captured')
  AND coalesce(p.state, '') <> CASE WHEN r.charge_id IS NOT NULL THEN 'refunded' ELSE coalesce(c.status, 'missing') END
