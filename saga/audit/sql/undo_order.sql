-- name: count_rollbacks
-- what: how many sagas were rolled back
SELECT count(*) FROM {{saga}}.sagas
WHERE started_us >= $1::bigint AND jsonb_typeof(state::jsonb -> 'rollback') = 'object';

-- name: undos_differ
-- what: undos that are not the exact reverse of the undoable steps that were done or whose outcome is unknown
WITH told AS MATERIALIZED (
    SELECT id, status, definition || '/' || version || '/' AS steps, state::jsonb AS state
    FROM {{saga}}.sagas
    WHERE started_us >= $1::bigint
), attempted AS (
    SELECT t.id, array_agg(run ->> 'command_id' ORDER BY n DESC) AS commands
    FROM told t, jsonb_array_elements(t.state -> 'runs') WITH ORDINALITY AS r (run, n)
    WHERE run ->> 'outcome' IN ('done', 'unknown') AND t.steps || (run ->> 'step') = ANY ($2::text[])
    GROUP BY t.id
), undone AS (
    SELECT t.id, array_agg(undo ->> 'undoes' ORDER BY n) AS commands, bool_and(undo ->> 'outcome' = 'done') AS done
    FROM told t, jsonb_array_elements(t.state -> 'undos') WITH ORDINALITY AS u (undo, n)
    GROUP BY t.id
), judged AS (
    SELECT t.id, t.status, jsonb_typeof(t.state -> 'rollback') = 'object' AS rolled_back,
           coalesce(a.commands, '{}') AS attempted, coalesce(u.commands, '{}') AS undone, coalesce(u.done, true) AS done
    FROM told t LEFT JOIN attempted a USING (id) LEFT JOIN undone u USING (id)
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
    SELECT message_id, committed_at FROM {{inventory}}.inbox WHERE message_id LIKE '%.undo'
    UNION ALL SELECT message_id, committed_at FROM {{locking}}.inbox WHERE message_id LIKE '%.undo'
    UNION ALL SELECT message_id, committed_at FROM {{payment}}.inbox WHERE message_id LIKE '%.undo'
), asked AS (
    SELECT s.id, undo ->> 'command_id' AS command_id, n
    FROM {{saga}}.sagas s, jsonb_array_elements(s.state::jsonb -> 'undos') WITH ORDINALITY AS u (undo, n)
    WHERE s.started_us >= $1::bigint
), timed AS (
    SELECT a.id, a.command_id, k.committed_at,
           lag(a.command_id) OVER saga AS before, lag(k.committed_at) OVER saga AS before_at
    FROM asked a JOIN kept k ON k.message_id = a.command_id
    WINDOW saga AS (PARTITION BY a.id ORDER BY a.n)
)
SELECT id AS saga_id,
       format('%s was carried out at %s, before %s at %s', command_id, committed_at, before, before_at) AS detail
FROM timed
WHERE committed_at < before_at;

-- name: done_after_its_undo
-- what: a lock or a confirmation that took effect after its undo, which should have forbidden it
SELECT d.saga_id,
       format('%s took effect at %s, after its undo at %s', d.message_id, d.committed_at, u.committed_at) AS detail
FROM (
    SELECT saga_id, message_id, committed_at FROM {{inventory}}.inbox
    WHERE reply_type = 'booking.ConfirmationIssued.v1'
    UNION ALL
    SELECT saga_id, message_id, committed_at FROM {{locking}}.inbox
    WHERE reply_type = 'booking.LockAcquired.v1'
) d
JOIN (
    SELECT message_id, committed_at FROM {{inventory}}.inbox WHERE message_id LIKE '%.undo'
    UNION ALL SELECT message_id, committed_at FROM {{locking}}.inbox WHERE message_id LIKE '%.undo'
) u ON u.message_id = d.message_id || '.undo'
JOIN {{saga}}.sagas s ON s.id = d.saga_id AND s.started_us >= $1::bigint
WHERE d.committed_at > u.committed_at
