-- name: count_sagas
-- what: how many sagas there are
SELECT count(*) FROM {{saga}}.sagas WHERE started_us >= $1::bigint;

-- name: past_deadline
-- what: a saga that still runs although its deadline has passed
SELECT id AS saga_id,
       format('it is RUNNING at %s, %s s past its deadline', step, round((now_us - deadline_us) / 1e6)) AS detail
FROM (
    SELECT id, step, (state::jsonb ->> 'deadline_us')::bigint AS deadline_us,
           (extract(epoch FROM now()) * 1e6)::bigint AS now_us
    FROM {{saga}}.sagas
    WHERE status = 'RUNNING' AND started_us >= $1::bigint
) live
WHERE now_us > deadline_us + $2::bigint;

-- name: unanswered
-- what: a command that was given no answer although its time is up
SELECT id AS saga_id, format('%s has had no answer, %s s past its deadline', step, round((now_us - due_us) / 1e6)) AS detail
FROM (
    SELECT id, step, (state::jsonb #>> '{timer,deadline_us}')::bigint AS due_us,
           (extract(epoch FROM now()) * 1e6)::bigint AS now_us
    FROM {{saga}}.sagas
    WHERE status IN ('RUNNING', 'COMPENSATING') AND started_us >= $1::bigint
) live
WHERE now_us > due_us + $2::bigint;

-- name: unattended
-- what: a saga whose alarm has gone off and that no sweeper has looked at
SELECT id AS saga_id,
       CASE WHEN wake_us IS NULL THEN format('it is %s and nothing will ever wake it', status)
            ELSE format('it is %s and has been due for %s s', status, round(extract(epoch FROM now()) - wake_us / 1e6))
       END AS detail
FROM {{saga}}.sagas
WHERE started_us >= $1::bigint
  AND (wake_us < (extract(epoch FROM now()) * 1e6)::bigint - $2::bigint
       OR wake_us IS NULL AND status IN ('RUNNING', 'COMPENSATING'));

-- name: applied_twice
-- what: one record, or one message, that moved a saga on twice
SELECT saga_id, format('message %s was applied %s times', message_id, count(*)) AS detail
FROM {{saga}}.history
WHERE message_id IS NOT NULL AND decided_us >= $1::bigint
GROUP BY saga_id, message_id
HAVING count(*) > 1;

-- name: record_applied_twice
-- what: one record that moved sagas on twice
SELECT min(saga_id) AS saga_id,
       format('record %s/%s/%s was applied %s times', origin_topic, origin_partition, origin_offset, count(*)) AS detail
FROM {{saga}}.history
WHERE origin_topic IS NOT NULL AND decided_us >= $1::bigint
GROUP BY origin_topic, origin_partition, origin_offset
HAVING count(*) > 1 AND count(DISTINCT message_id) > 1
