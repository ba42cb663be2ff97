-- name: put_sources
-- what: remember who sends spans
INSERT INTO {{traces}}.sources (id, service, resource, scope)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[])
ON CONFLICT (id) DO NOTHING;

-- name: put_chunks
-- what: append spans, grouped by trace and source, to the partition in use
INSERT INTO {{traces}}.chunks (slot, trace_id, source, spans)
SELECT (SELECT slot FROM {{traces}}.ring), * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]);

-- name: chunks_of_trace
-- what: everything known of one trace, oldest first
SELECT c.spans, s.service, s.resource, s.scope
FROM {{traces}}.chunks c JOIN {{traces}}.sources s ON s.id = c.source
WHERE c.trace_id = $1
ORDER BY c.received_at;

-- name: chunks_of_traces
-- what: everything known of several traces, oldest first
SELECT c.trace_id, c.spans, s.service, s.resource, s.scope
FROM {{traces}}.chunks c JOIN {{traces}}.sources s ON s.id = c.source
WHERE c.trace_id = ANY($1::bytea[])
ORDER BY c.received_at;

-- name: find
-- what: traces that were received lately, newest first, that a service took part in and whose spans hold some bytes
SELECT c.trace_id
FROM {{traces}}.chunks c
WHERE c.received_at >= $1
  AND ($2::text IS NULL OR c.source IN (SELECT id FROM {{traces}}.sources WHERE service = $2))
  AND ($3::bytea IS NULL OR position($3 IN c.spans) > 0)
GROUP BY c.trace_id
ORDER BY max(c.received_at) DESC
LIMIT $4;

-- name: put_metrics
-- what: keep the latest point of each time series
INSERT INTO {{traces}}.metrics AS m (service, instance, name, attributes, kind, unit, point)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $7::jsonb[])
ON CONFLICT (service, instance, name, attributes)
DO UPDATE SET kind = excluded.kind, unit = excluded.unit, point = excluded.point, received_at = now();

-- name: metrics
-- what: the latest points, of all services and names or of one
SELECT service, instance, name, attributes, kind, unit, point, received_at
FROM {{traces}}.metrics
WHERE ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR name = $2)
ORDER BY name, service, instance, attributes;

-- name: ring
-- what: the partition in use, its age in seconds and its size in bytes; locked until the transaction ends
SELECT slot,
       extract(epoch FROM now() - opened_at)::float8 AS age_s,
       pg_table_size(format('%s_%s', '{{traces}}.chunks', slot)::regclass) AS bytes
FROM {{traces}}.ring
FOR UPDATE;

-- name: empty_first
-- what: forget everything in partition 0
TRUNCATE {{traces}}.chunks_0;

-- name: empty_second
-- what: forget everything in partition 1
TRUNCATE {{traces}}.chunks_1;

-- name: empty_third
-- what: forget everything in partition 2
TRUNCATE {{traces}}.chunks_2;

-- name: empty_fourth
-- what: forget everything in partition 3
TRUNCATE {{traces}}.chunks_3;

-- name: turn
-- what: write to another partition from now on
UPDATE {{traces}}.ring SET slot = $1, opened_at = now();

-- name: prune_metrics
-- what: forget time series that nobody has reported for a day
DELETE FROM {{traces}}.metrics WHERE received_at < now() - interval '1 day';
