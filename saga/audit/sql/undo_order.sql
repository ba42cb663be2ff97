-- name: count_rollbacks
-- what: how many sagas were rolled back
SELECT count(*) FROM told WHERE rolled_back;

-- name: undos_differ
-- what: undos that are not the exact reverse of the undoable steps that were done or whose outcome is unknown
WITH attempted AS (
    SELECT t.id, array_agg(r.command_id ORDER BY r.n DESC) AS commands
    FROM told t JOIN ran r ON r.saga_id = t.id
    WHERE NOT r.is_undo AND r.outcome IN ('done', 'unknown') AND t.steps || r.step = ANY ($2::text[])
    GROUP BY t.id
), undone AS (
    SELECT saga_id AS id, array_agg(undoes ORDER BY n) AS commands, bool_and(outcome = 'done') AS done
    FROM ran
    WHERE is_undo
    GROUP BY saga_id
), judged AS (
    SELECT t.id, t.status, t.rolled_back, coalesce(a.commands, '{}') AS attempted, coalesce(u.commands, '{}') AS undone,
           coalesce(u.done, true) AS done
    FROM told t LEFT JOIN attempted a USING (id) LEFT JOIN undone u USING (id)
    WHERE t.started_us >= $1::bigint
)
SELECT id AS saga_id,
       format('it is %s; to undo, in this order: [%s]; undone: [%s]%s', status, array_to_string(attempted, ', '),
              array_to_string(undone, ', '), CASE WHEN done THEN '' ELSE ', the last without an answer' END) AS detail
FROM judged
WHERE CASE
    WHEN status IN ('FAILED', 'TIMED_OUT', 'CANCELLED') THEN undone <> attempted OR NOT done
    WHEN status IN ('COMPENSATING', 'NEEDS_ATTENTION')
        THEN NOT rolled_back OR undone <> attempted[1:cardinality(undone)]
    ELSE rolled_back OR undone <> '{}'
END;

-- name: undos_out_of_time
-- what: undos that the workers carried out in another order than the saga asked for
WITH kept AS (
    SELECT message_id, committed_at FROM {{inventory}}.inbox
    UNION ALL SELECT message_id, committed_at FROM {{locking}}.inbox
    UNION ALL SELECT message_id, committed_at FROM {{payment}}.inbox
), timed AS (
    SELECT r.saga_id, r.command_id, k.committed_at,
           lag(r.command_id) OVER saga AS before, lag(k.committed_at) OVER saga AS before_at
    FROM ran r JOIN kept k ON k.message_id = r.command_id
    WHERE r.is_undo
    WINDOW saga AS (PARTITION BY r.saga_id ORDER BY r.n)
)
SELECT saga_id, format('%s was carried out at %s, before %s at %s', command_id, committed_at, before, before_at) AS detail
FROM timed
WHERE committed_at < before_at;

-- name: done_after_its_undo
-- what: a lock or a confirmation that took effect after its undo, which should have forbidden it
WITH kept AS (
    SELECT message_id, reply_type, committed_at FROM {{inventory}}.inbox
    UNION ALL SELECT message_id, reply_type, committed_at FROM {{locking}}.inbox
)
SELECT r.saga_id, format('%s took effect at %s, after its undo at %s', r.undoes, d.committed_at, u.committed_at) AS detail
FROM ran r
JOIN kept u ON u.message_id = r.command_id
JOIN kept d ON d.message_id = r.undoes
WHERE r.is_undo AND d.committed_at > u.committed_at
  AND d.reply_type IN ('booking.ConfirmationIssued.v1', 'booking.LockAcquired.v1')
