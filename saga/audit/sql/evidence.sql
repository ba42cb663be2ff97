-- name: now
-- what: the database's time, microseconds since the epoch
SELECT (extract(epoch FROM now()) * 1e6)::bigint;

-- name: schemas
-- what: which of these schemas exist
SELECT nspname FROM pg_namespace WHERE nspname = ANY ($1::text[]);

-- name: statuses
-- what: how many sagas there are by status, and how many of them undid something
SELECT t.status, count(*)::int AS count, count(u.saga_id)::int AS compensated
FROM told t LEFT JOIN (SELECT DISTINCT saga_id FROM ran WHERE is_undo AND outcome = 'done') u ON u.saga_id = t.id
GROUP BY t.status;

-- name: live
-- what: how many sagas are still on their way
SELECT count(*)::int FROM {{saga}}.sagas WHERE status IN ('RUNNING', 'COMPENSATING') AND started_us >= $1::bigint;

-- name: sagas
-- what: the latest sagas, with their states
SELECT id, definition, version, status, epoch, trace_id, started_us, updated_us, state
FROM {{saga}}.sagas
WHERE started_us >= $1::bigint
ORDER BY started_us DESC
LIMIT $2::bigint;

-- name: states
-- what: these sagas as they are now
SELECT id, definition, version, status, epoch, trace_id, started_us, updated_us, state
FROM {{saga}}.sagas
WHERE id = ANY ($1::text[]);

-- name: histories
-- what: what was applied to these sagas, in order
SELECT saga_id, epoch, message_id, message_type, origin_topic, origin_partition, origin_offset, decided_us, status
FROM {{saga}}.history
WHERE saga_id = ANY ($1::text[])
ORDER BY saga_id, epoch;

-- name: spans_kept
-- what: the spans that stand for the committed work of these sagas; whether it was a command's
SELECT saga_id, false AS command, spans FROM {{saga}}.history WHERE saga_id = ANY ($1::text[])
UNION ALL
SELECT saga_id, reply_type IS NOT NULL AS command, spans FROM {{inventory}}.inbox WHERE saga_id = ANY ($1::text[])
UNION ALL
SELECT saga_id, reply_type IS NOT NULL AS command, spans FROM {{locking}}.inbox WHERE saga_id = ANY ($1::text[])
UNION ALL
SELECT saga_id, reply_type IS NOT NULL AS command, spans FROM {{payment}}.inbox WHERE saga_id = ANY ($1::text[])
UNION ALL
SELECT saga_id, reply_type IS NOT NULL AS command, spans FROM {{notification}}.inbox WHERE saga_id = ANY ($1::text[]);

-- name: announced
-- what: the ends that sagas have come to, each of which is announced once; all of them where no ids are given
SELECT saga_id, array_agg(DISTINCT status) AS statuses, max(decided_us) AS latest_us
FROM {{saga}}.history
WHERE status IN ('CONFIRMED', 'FAILED', 'TIMED_OUT', 'CANCELLED') AND decided_us >= $1::bigint
  AND ($2::text[] IS NULL OR saga_id = ANY ($2))
GROUP BY saga_id;

-- name: unknown
-- what: which of these ids no saga has
SELECT id FROM unnest($1::text[]) AS asked (id) WHERE NOT EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = asked.id);

-- name: same_traces
-- what: every saga that is part of these traces, with its reserved spans
SELECT trace_id, status, state::jsonb #>> '{trace,root_span_id}' AS root, state::jsonb #>> '{trace,publisher_span_id}' AS publisher,
       state::jsonb #>> '{rollback,span_id}' AS rollback
FROM {{saga}}.sagas
WHERE trace_id = ANY ($1::text[]);

-- name: silent
-- what: how many processes have gone silent whose last spans a successor may still have to emit
SELECT count(*)::int
FROM (
    SELECT beat_at FROM {{saga}}.exporters
    UNION ALL SELECT beat_at FROM {{inventory}}.exporters
    UNION ALL SELECT beat_at FROM {{locking}}.exporters
    UNION ALL SELECT beat_at FROM {{payment}}.exporters
    UNION ALL SELECT beat_at FROM {{notification}}.exporters
) AS processes
WHERE beat_at < clock_timestamp() - interval '3 seconds';

-- name: traces_kept_since
-- what: since when traces are kept, in microseconds: 0 where none was ever forgotten, null where there is none
SELECT CASE
    WHEN min(received_at) IS NULL THEN NULL
    -- The ring of partitions has come round: what was in those ahead is older than it seems to begin.
    WHEN max(slot) > (SELECT slot FROM {{traces}}.ring) THEN (extract(epoch FROM min(received_at)) * 1e6)::bigint
    ELSE 0
END
FROM (
    (SELECT slot, received_at FROM {{traces}}.chunks WHERE slot = 0 LIMIT 1)
    UNION ALL (SELECT slot, received_at FROM {{traces}}.chunks WHERE slot = 1 LIMIT 1)
    UNION ALL (SELECT slot, received_at FROM {{traces}}.chunks WHERE slot = 2 LIMIT 1)
    UNION ALL (SELECT slot, received_at FROM {{traces}}.chunks WHERE slot = 3 LIMIT 1)
) AS oldest
