-- name: keep
-- what: keep e-mails that were received
INSERT INTO {{notification}}.mailbox (message_id, booking_id, kind, recipient, content)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[]);

-- name: received
-- what: e-mails for a booking (for every booking where it is null), oldest first
SELECT message_id, booking_id, kind, recipient, content
FROM {{notification}}.mailbox
WHERE $1::text IS NULL OR booking_id = $1
ORDER BY mail_id;
