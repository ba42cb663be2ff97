-- name: charged
-- what: write what charges came to; one that is undone or decided already stays as it is, an unknown one is settled
INSERT INTO {{payment}}.payments AS p
    (command_id, booking_id, reservation_id, state, amount_minor, currency, transaction_id, card_last_four, reason)
SELECT * FROM json_to_recordset($1::json)
    AS a (command_id text, booking_id text, reservation_id text, state text, amount_minor bigint, currency text,
          transaction_id text, card_last_four text, reason text)
ORDER BY a.command_id
ON CONFLICT (command_id) DO UPDATE
SET state = excluded.state, transaction_id = excluded.transaction_id, card_last_four = excluded.card_last_four,
    reason = excluded.reason, decided_at = clock_timestamp()
WHERE p.state = 'unknown';

-- name: undo
-- what: write what undos came to: refunded, or voided; a charge that was declined stays declined
INSERT INTO {{payment}}.payments AS p
    (command_id, undo_command_id, booking_id, reservation_id, state, amount_minor, currency, transaction_id, refund_id,
     refunded_minor, undone_at)
SELECT a.*, clock_timestamp()
FROM json_to_recordset($1::json)
    AS a (command_id text, undo_command_id text, booking_id text, reservation_id text, state text, amount_minor bigint,
          currency text, transaction_id text, refund_id text, refunded_minor bigint)
ORDER BY a.command_id
ON CONFLICT (command_id) DO UPDATE
SET state = CASE WHEN p.state IN ('declined', 'rejected') THEN p.state ELSE excluded.state END,
    amount_minor = CASE WHEN excluded.state = 'refunded' THEN excluded.amount_minor ELSE p.amount_minor END,
    transaction_id = coalesce(p.transaction_id, excluded.transaction_id), refund_id = excluded.refund_id,
    refunded_minor = excluded.refunded_minor, undo_command_id = excluded.undo_command_id, undone_at = excluded.undone_at
WHERE p.undone_at IS NULL;
