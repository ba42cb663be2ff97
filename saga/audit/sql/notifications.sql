-- name: count_notifications
-- what: how many letters were written, plus how many e-mails the development mailbox was handed
SELECT (SELECT count(*) FROM {{notification}}.notifications) + (SELECT count(*) FROM {{notification}}.mailbox);

-- name: contradicts
-- what: a letter about an end that the saga never came to
SELECT n.booking_id AS saga_id,
       format('%s was told as "%s", but the saga never came to that', n.message_id, n.kind) AS detail
FROM {{notification}}.notifications n
LEFT JOIN {{saga}}.sagas s ON s.id = n.booking_id
LEFT JOIN {{saga}}.history h ON h.saga_id = n.booking_id AND n.message_id = h.saga_id || '.' || lower(h.status)
WHERE coalesce(s.started_us >= $1::bigint, $1::bigint = 0)
GROUP BY n.message_id
HAVING n.kind IS DISTINCT FROM max(
    CASE h.status WHEN 'CONFIRMED' THEN 'confirmed' WHEN 'CANCELLED' THEN 'cancelled' WHEN 'FAILED' THEN 'failed'
                  WHEN 'TIMED_OUT' THEN 'failed' END);

-- name: handled_without_letter
-- what: an event that the notification worker has handled without leaving a record of its letter
SELECT i.saga_id, format('%s was handled, but there is no record of a letter', i.message_id) AS detail
FROM {{notification}}.inbox i
LEFT JOIN {{saga}}.sagas s ON s.id = i.saga_id
LEFT JOIN {{notification}}.notifications n ON n.message_id = i.message_id
WHERE n.message_id IS NULL AND coalesce(s.started_us >= $1::bigint, $1::bigint = 0);

-- name: mail_without_letter
-- what: an e-mail that was delivered although the notification worker never wrote that letter for that booking
SELECT m.booking_id AS saga_id, format('e-mail %s says "%s", but no such letter was written', m.message_id, m.kind) AS detail
FROM {{notification}}.mailbox m
LEFT JOIN {{saga}}.sagas s ON s.id = m.booking_id
LEFT JOIN {{notification}}.notifications n
       ON n.mail_id = m.message_id AND n.booking_id = m.booking_id AND n.kind = m.kind
WHERE n.message_id IS NULL AND coalesce(s.started_us >= $1::bigint, $1::bigint = 0);

-- name: mailed_twice
-- what: a letter that was delivered more often than the worker, when it had to doubt, tried
SELECT m.booking_id AS saga_id,
       format('letter %s was delivered %s times in %s attempts', n.message_id, count(*), n.attempts) AS detail
FROM {{notification}}.mailbox m
JOIN {{notification}}.notifications n ON n.mail_id = m.message_id
JOIN {{saga}}.sagas s ON s.id = m.booking_id AND s.started_us >= $1::bigint
GROUP BY m.booking_id, n.message_id
HAVING count(*) > n.attempts
