-- name: claim
-- what: claim letters that nobody has sent or is sending; what is due for the same booking is no longer worth telling
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        AS a (message_id, booking_id, kind, mail_id)
), outdated AS (
    UPDATE {{notification}}.notifications n SET outcome = 'superseded', event = NULL
    FROM asked a
    WHERE n.booking_id = a.booking_id AND n.outcome = 'due' AND n.message_id <> a.message_id
)
INSERT INTO {{notification}}.notifications AS n
    (message_id, booking_id, kind, mail_id, outcome, claimed_by, claimed_until)
SELECT a.message_id, a.booking_id, a.kind, a.mail_id, 'sending', $5, clock_timestamp() + make_interval(secs => $6)
FROM asked a
ORDER BY a.message_id
ON CONFLICT (message_id) DO UPDATE
SET claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until, attempts = n.attempts + 1
WHERE n.outcome = 'sending' AND n.event IS NULL
  AND (n.claimed_by = excluded.claimed_by OR n.claimed_until < clock_timestamp() OR NOT EXISTS (
      -- Whoever claimed it has died: it beats no more.
      SELECT FROM {{notification}}.exporters e
      WHERE e.writer = n.claimed_by AND e.beat_at > clock_timestamp() - interval '5 seconds'
  ))
RETURNING n.message_id;

-- name: outcomes
-- what: how far these letters are
SELECT message_id, outcome FROM {{notification}}.notifications WHERE message_id = ANY ($1::text[]);

-- name: tell
-- what: letters were sent, or refused for good; the event with the address goes
UPDATE {{notification}}.notifications n
SET outcome = a.outcome, sent_at = CASE WHEN a.outcome = 'sent' THEN clock_timestamp() END,
    attempts = n.attempts + a.tries - 1, event = NULL, next_attempt_at = NULL
FROM unnest($1::text[], $2::text[], $3::integer[]) AS a (message_id, outcome, tries)
WHERE n.message_id = a.message_id AND n.outcome = 'sending';

-- name: defer
-- what: letters could not be sent now: keep them, unless they are out of date or, as for mail servers, three days old
WITH asked AS (
    SELECT a.*, n.created_at < clock_timestamp() - interval '3 days' AS late, EXISTS (
        SELECT FROM {{notification}}.notifications later
        WHERE later.booking_id = n.booking_id AND later.created_at > n.created_at
    ) AS outdated
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[])
         AS a (message_id, event_type, event, parent, first_span, pause_s)
    JOIN {{notification}}.notifications n USING (message_id)
)
UPDATE {{notification}}.notifications n
SET outcome = CASE WHEN a.outdated THEN 'superseded' WHEN a.late THEN 'abandoned' ELSE 'due' END,
    event = CASE WHEN NOT (a.outdated OR a.late) THEN a.event END,
    event_type = a.event_type, parent = a.parent, first_span = a.first_span,
    next_attempt_at = clock_timestamp() + make_interval(secs => a.pause_s)
FROM asked a
WHERE n.message_id = a.message_id AND n.outcome = 'sending';

-- name: claim_due
-- what: claim letters whose time has come, those first that wait longest
WITH ready AS (
    SELECT message_id FROM {{notification}}.notifications n
    WHERE n.event IS NOT NULL AND n.next_attempt_at <= clock_timestamp()
      AND (n.outcome = 'due' OR n.claimed_until < clock_timestamp() OR NOT EXISTS (
          SELECT FROM {{notification}}.exporters e
          WHERE e.writer = n.claimed_by AND e.beat_at > clock_timestamp() - interval '5 seconds'
      ))
    ORDER BY n.next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE {{notification}}.notifications n
SET outcome = 'sending', claimed_by = $2, claimed_until = clock_timestamp() + make_interval(secs => $3),
    attempts = n.attempts + 1
FROM ready WHERE n.message_id = ready.message_id
RETURNING n.message_id, n.booking_id, n.attempts, n.event_type, n.event, n.parent, n.first_span;

-- name: next_due
-- what: in how many seconds a letter will be due (negative: it is); null when none waits
SELECT extract(epoch FROM min(next_attempt_at) - clock_timestamp())::float8
FROM {{notification}}.notifications WHERE event IS NOT NULL;
