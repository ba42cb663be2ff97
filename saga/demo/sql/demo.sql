-- name: letters
-- what: how many e-mails about these bookings have reached the mailbox
SELECT count(*)::int FROM {{notification}}.mailbox WHERE booking_id = ANY($1::text[])
