-- name: count_rows
-- what: how many transitions are recorded
SELECT count(*) FROM {{saga}}.history WHERE decided_us >= $1::bigint;

-- name: gaps
-- what: a saga whose history does not number 1 to its epoch
SELECT s.id AS saga_id,
       format('its epoch is %s, but its history has %s rows, from %s to %s', s.epoch, coalesce(h.rows, 0), h.first,
              h.last) AS detail
FROM {{saga}}.sagas s
LEFT JOIN (
    SELECT saga_id, count(*) AS rows, min(epoch) AS first, max(epoch) AS last FROM {{saga}}.history GROUP BY saga_id
) h ON h.saga_id = s.id
WHERE s.started_us >= $1::bigint AND (s.epoch, s.epoch, 1) IS DISTINCT FROM (h.rows, h.last, h.first);

-- name: ends_otherwise
-- what: a saga whose last recorded status is not its own
SELECT s.id AS saga_id, format('it is %s, but its history ends in %s', s.status, h.status) AS detail
FROM {{saga}}.sagas s
JOIN {{saga}}.history h ON h.saga_id = s.id AND h.epoch = s.epoch
WHERE s.started_us >= $1::bigint AND h.status <> s.status;

-- name: columns_differ
-- what: a saga whose columns do not say what its state says
SELECT s.id AS saga_id,
       format('its row says %s at epoch %s, its state %s at epoch %s', s.status, s.epoch, j ->> 'status', j ->> 'epoch')
       AS detail
FROM {{saga}}.sagas s CROSS JOIN LATERAL (SELECT s.state::jsonb AS j) state
WHERE s.started_us >= $1::bigint
  AND (s.id, s.definition, s.version::text, s.status, s.epoch::text, s.trace_id, s.started_us::text, s.ended_us::text,
       s.error_type)
      IS DISTINCT FROM (j ->> 'id', j ->> 'definition', j ->> 'version', j ->> 'status', j ->> 'epoch',
                        j #>> '{trace,trace_id}', j ->> 'started_us', j ->> 'ended_us', j ->> 'error_type');

-- name: history_without_saga
-- what: recorded transitions of a saga that does not exist
SELECT h.saga_id, format('%s transitions are recorded of a saga that does not exist', count(*)) AS detail
FROM {{saga}}.history h
WHERE h.decided_us >= $1::bigint AND NOT EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = h.saga_id)
GROUP BY h.saga_id
