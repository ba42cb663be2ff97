-- name: find
-- what: one saga with its whole state, and the database's time
SELECT s.id, s.definition, s.version, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us,
       s.ended_us, s.state, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
FROM {{saga}}.sagas s
WHERE s.id = $1;

-- name: outcomes
-- what: how these sagas stand; those that do not exist are left out
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.id = ANY($1::text[]);

-- name: page
-- what: sagas that started since a time and before a place in the order, newest first
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.started_us >= $1 AND (s.started_us, s.id) < ($2, $3)
ORDER BY s.started_us DESC, s.id DESC
LIMIT $4;

-- name: page_of_status
-- what: the same, only some statuses
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.started_us >= $1 AND (s.started_us, s.id) < ($2, $3)
  AND s.status = ANY($5::text[])
ORDER BY s.started_us DESC, s.id DESC
LIMIT $4;

-- name: page_unsettled
-- what: the same, only statuses that wait for somebody, of whom there are few
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.started_us >= $1 AND (s.started_us, s.id) < ($2, $3)
  AND s.status IN ('RUNNING', 'COMPENSATING', 'NEEDS_ATTENTION') AND s.status = ANY($5::text[])
ORDER BY s.started_us DESC, s.id DESC
LIMIT $4;

-- name: page_troubled
-- what: the same, only statuses of those that did not go straight through
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.started_us >= $1 AND (s.started_us, s.id) < ($2, $3)
  AND s.status NOT IN ('RUNNING', 'CONFIRMED') AND s.status = ANY($5::text[])
ORDER BY s.started_us DESC, s.id DESC
LIMIT $4;

-- name: page_of_error
-- what: the same, only some error types
SELECT s.id, s.status, s.step, s.error_type, s.trace_id, s.started_us, s.updated_us, s.ended_us
FROM {{saga}}.sagas s
WHERE s.started_us >= $1 AND (s.started_us, s.id) < ($2, $3)
  AND s.status NOT IN ('RUNNING', 'CONFIRMED') AND s.status = ANY($5::text[]) AND s.error_type = ANY($6::text[])
ORDER BY s.started_us DESC, s.id DESC
LIMIT $4;

-- name: history
-- what: every input that was applied to a saga, in order
SELECT h.epoch, h.message_id, h.message_type, h.origin_topic, h.origin_partition, h.origin_offset, h.decided_us,
       h.status, h.writer
FROM {{saga}}.history h
WHERE h.saga_id = $1
ORDER BY h.epoch;

-- name: clock
-- what: the database's time, in microseconds since the epoch
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us;

-- name: lodgings
-- what: what the catalogue has to offer: rooms by property and type
SELECT r.property_id, r.room_type, min(r.capacity)::int AS capacity, count(*)::int AS rooms
FROM {{inventory}}.rooms r
WHERE $1::text[] IS NULL OR r.property_id = ANY($1::text[])
GROUP BY r.property_id, r.room_type
ORDER BY r.property_id, r.room_type;
