-- name: count_sagas
-- what: how many sagas there are
SELECT count(*) FROM told;

-- name: past_deadline
-- what: a saga that still runs although its deadline has passed
SELECT id AS saga_id,
       format('it is RUNNING at %s, %s s past its deadline', step,
              round(extract(epoch FROM now()) - deadline_us / 1e6)) AS detail
FROM told
WHERE status = 'RUNNING' AND deadline_us + $2::bigint < extract(epoch FROM now()) * 1e6 AND started_us >= $1::bigint;

-- name: unanswered
-- what: a command that was given no answer although its time is up
SELECT id AS saga_id,
       format('%s has had no answer, %s s past its deadline', step, round(extract(epoch FROM now()) - due_us / 1e6))
       AS detail
FROM told
WHERE status IN ('RUNNING', 'COMPENSATING') AND due_us + $2::bigint < extract(epoch FROM now()) * 1e6
  AND started_us >= $1::bigint;

-- name: unattended
-- what: a saga whose alarm has gone off and that no sweeper has looked at
SELECT id AS saga_id,
       CASE WHEN wake_us IS NULL THEN format('it is %s and nothing will ever wake it', status)
            ELSE format('it is %s and has been due for %s s', status, round(extract(epoch FROM now()) - wake_us / 1e6))
       END AS detail
FROM told
WHERE started_us >= $1::bigint
  AND (wake_us + $2::bigint < extract(epoch FROM now()) * 1e6
       OR wake_us IS NULL AND status IN ('RUNNING', 'COMPENSATING'));

-- name: applied_twice
-- what: one message that moved a saga on twice
SELECT saga_id, format('message %s was applied %s times', message_id, count(*)) AS detail
FROM {{saga}}.history
WHERE message_id IS NOT NULL AND decided_us >= $1::bigint
GROUP BY saga_id, message_id
HAVING count(*) > 1;

-- name: record_applied_twice
-- what: one record that moved sagas on as two different messages
SELECT min(saga_id) AS saga_id,
       format('record %s/%s/%s was applied %s times', origin_topic, origin_partition, origin_offset, count(*)) AS detail
FROM {{saga}}.history
WHERE origin_topic IS NOT NULL AND decided_us >= $1::bigint
GROUP BY origin_topic, origin_partition, origin_offset
HAVING count(*) > 1 AND min(message_id) <> max(message_id)
