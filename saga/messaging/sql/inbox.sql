-- name: known
-- what: what this worker answered to those of the messages it has handled before
SELECT message_id, saga_id, epoch, step, attempt, reply_type, reply, context, baggage, replied_us, spans
FROM {{owner}}.inbox
WHERE worker = $1 AND message_id = ANY($2::text[]);

-- name: keep
-- what: remember messages as handled, with their replies; returns those that nobody else remembered first
INSERT INTO {{owner}}.inbox (message_id, worker, saga_id, message_type, epoch, step, attempt, reply_type, reply, context,
                             baggage, replied_us, writer, batch, spans)
SELECT r.message_id, $1, r.saga_id, r.message_type, r.epoch, r.step, r.attempt, r.reply_type, r.reply, r.context,
       r.baggage, r.replied_us, $2, $3, r.spans
FROM json_to_recordset($4::json)
     AS r(message_id text, saga_id text, message_type text, epoch int, step text, attempt int, reply_type text,
          reply text, context text, baggage text, replied_us bigint, spans text)
ON CONFLICT (message_id, worker) DO NOTHING
RETURNING message_id;

-- name: keep_as_expected
-- what: (follows the CTE `expected`) remember messages that went as expected, all of them, or fail: division by zero
kept AS (
    INSERT INTO {{owner}}.inbox (message_id, worker, saga_id, message_type, epoch, step, attempt, reply_type, reply,
                                 context, baggage, replied_us, writer, batch, spans)
    SELECT r.message_id, $1, r.saga_id, r.message_type, r.epoch, r.step, r.attempt, r.reply_type,
           coalesce((r.reply::jsonb || e.patch)::text, r.reply), r.context, r.baggage, r.replied_us, $2, $3, r.spans
    FROM json_to_recordset($4::json)
         AS r(message_id text, saga_id text, message_type text, epoch int, step text, attempt int, reply_type text,
              reply text, context text, baggage text, replied_us bigint, spans text)
    JOIN expected e ON e.message_id = r.message_id
    ON CONFLICT (message_id, worker) DO NOTHING
    RETURNING message_id
), sure AS (
    SELECT 1 / (count(*) = $5::int)::int AS all_kept FROM kept
)
SELECT e.message_id, e.patch FROM sure LEFT JOIN expected e ON sure.all_kept = 1;

-- name: unexported
-- what: spans of the batches that a dead writer committed after the last one it is known to have exported
SELECT spans FROM {{owner}}.inbox
WHERE writer = $1 AND batch > $2 AND committed_at >= $3
