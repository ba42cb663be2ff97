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

-- name: unexported
-- what: spans of the batches that a dead writer committed after the last one it is known to have exported
SELECT spans FROM {{owner}}.inbox
WHERE writer = $1 AND batch > $2 AND committed_at >= $3
