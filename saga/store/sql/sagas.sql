-- name: load
-- what: the present states of sagas, with the database's time; a row per asked id, empty where there is no such saga
SELECT asked.id, s.definition, s.version, s.state, clock.now_us
FROM unnest($1::text[]) AS asked(id)
CROSS JOIN (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us) AS clock
LEFT JOIN {{saga}}.sagas s ON s.id = asked.id;

-- name: due
-- what: sagas whose time has come, locked so that no other sweeper takes them too
SELECT s.id, s.definition, s.version, s.state,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
FROM {{saga}}.sagas s
WHERE s.wake_us <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
ORDER BY s.wake_us
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: save
-- what: compare-and-set each saga on its epoch, log what was applied to those saved; returns their ids and the time
WITH moved AS (
    SELECT *
    FROM json_to_recordset($1::json)
         AS m(id text, expected int, definition text, version int, status text, step text, epoch int, error_type text,
              trace_id text, started_us bigint, updated_us bigint, ended_us bigint, wake_us bigint, state text)
), updated AS (
    UPDATE {{saga}}.sagas s
    SET status = m.status, step = m.step, epoch = m.epoch, error_type = m.error_type, updated_us = m.updated_us,
        ended_us = m.ended_us, state = m.state,
        -- An alarm only moves forward in time when the sweeper has heard it: a step then touches no index (HOT), and the
        -- price is one idle look at a saga that is slow anyway.
        wake_us = CASE WHEN m.wake_us IS NULL THEN NULL ELSE least(s.wake_us, m.wake_us) END
    FROM moved m
    WHERE m.expected > 0 AND s.id = m.id AND s.epoch = m.expected
    RETURNING s.id
), inserted AS (
    INSERT INTO {{saga}}.sagas (id, definition, version, status, step, epoch, error_type, trace_id, started_us,
                                updated_us, ended_us, wake_us, state)
    SELECT m.id, m.definition, m.version, m.status, m.step, m.epoch, m.error_type, m.trace_id, m.started_us,
           m.updated_us, m.ended_us, m.wake_us, m.state
    FROM moved m
    WHERE m.expected = 0
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), saved AS (
    SELECT id FROM updated UNION ALL SELECT id FROM inserted
), logged AS (
    INSERT INTO {{saga}}.history (saga_id, epoch, message_id, message_type, origin_topic, origin_partition,
                                  origin_offset, decided_us, status, writer, batch, spans)
    SELECT h.saga_id, h.epoch, h.message_id, h.message_type, h.origin_topic, h.origin_partition, h.origin_offset,
           h.decided_us, h.status, $2, $3, h.spans
    FROM json_to_recordset($4::json)
         AS h(saga_id text, epoch int, message_id text, message_type text, origin_topic text, origin_partition int,
              origin_offset bigint, decided_us bigint, status text, spans text)
    JOIN saved ON saved.id = h.saga_id
)
SELECT id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us FROM saved;

-- name: snooze
-- what: the sweeper has looked at these sagas; it shall look again at these times
UPDATE {{saga}}.sagas s SET wake_us = n.wake_us
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS n(id, epoch, wake_us)
WHERE s.id = n.id AND s.epoch = n.epoch;

-- name: settle
-- what: the last words of these ended sagas have been published and recorded: the sweeper may forget them
UPDATE {{saga}}.sagas SET wake_us = NULL
WHERE id = ANY($1::text[]) AND status NOT IN ('RUNNING', 'COMPENSATING');

-- name: applied
-- what: which of these records have been applied to these sagas
SELECT h.origin_topic, h.origin_partition, h.origin_offset
FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) AS asked(saga_id, topic, number, place)
JOIN {{saga}}.history h ON h.saga_id = asked.saga_id AND h.origin_topic = asked.topic
                       AND h.origin_partition = asked.number AND h.origin_offset = asked.place;

-- name: counts
-- what: how many sagas wait for somebody, by status
SELECT status, count(*)::int AS count
FROM {{saga}}.sagas
WHERE status IN ('RUNNING', 'COMPENSATING', 'NEEDS_ATTENTION')
GROUP BY status;

-- name: unexported
-- what: spans of the batches that a dead writer committed after the last one it is known to have exported
SELECT spans FROM {{saga}}.history
WHERE writer = $1 AND batch > $2 AND committed_at >= $3
