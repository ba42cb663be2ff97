-- name: night_sold_twice
-- what: another booking has a night of its
ALTER TABLE {{inventory}}.sold_nights DROP CONSTRAINT sold_nights_pkey;
INSERT INTO {{inventory}}.sold_nights (property_id, room_id, night, booking_id)
SELECT property_id, room_id, min(night), ':other' FROM {{inventory}}.sold_nights WHERE booking_id = ':confirmed'
GROUP BY property_id, room_id;

-- name: locks_overlap
-- what: another booking has a lock on its room
ALTER TABLE {{locking}}.locks DROP CONSTRAINT no_overlapping_live_locks;
UPDATE {{locking}}.locks o SET property_id = l.property_id, room_id = l.room_id, stay = l.stay
FROM {{locking}}.locks l WHERE o.booking_id = ':other' AND l.booking_id = ':confirmed';

-- name: lock_on_sold_night
-- what: another booking has a lock on a night that is sold to it
ALTER TABLE {{locking}}.locks DROP CONSTRAINT no_overlapping_live_locks;
UPDATE {{locking}}.locks o SET property_id = n.property_id, room_id = n.room_id, stay = daterange(n.night, n.night + 1)
FROM {{inventory}}.sold_nights n WHERE o.booking_id = ':other' AND n.booking_id = ':confirmed';

-- name: confirmed_twice
-- what: another saga believes that it was given the same room
UPDATE {{saga}}.sagas o SET state = jsonb_set(o.state::jsonb, '{data}', s.state::jsonb -> 'data')::text
FROM {{saga}}.sagas s WHERE o.id = ':other' AND s.id = ':confirmed';

-- name: captured_twice
-- what: the provider has taken money twice
DROP INDEX {{provider}}.one_captured_charge_per_booking;
INSERT INTO {{provider}}.charges (idempotency_key, charge_id, status, booking_id, fingerprint, amount, currency, card_brand,
                                  card_last_four, decline_code)
SELECT 'again', 'ch_again', status, booking_id, '', amount, currency, card_brand, card_last_four, ''
FROM {{provider}}.charges WHERE booking_id = ':confirmed';

-- name: recorded_twice
-- what: our own record has money taken twice
DROP INDEX {{payment}}.one_captured_charge_per_booking;
INSERT INTO {{payment}}.payments (command_id, booking_id, reservation_id, state, amount_minor, currency, transaction_id)
SELECT 'again', booking_id, reservation_id, state, amount_minor, currency, 'ch_again'
FROM {{payment}}.payments WHERE booking_id = ':confirmed';

-- name: charge_without_saga
-- what: money was taken for nothing
INSERT INTO {{provider}}.charges (idempotency_key, charge_id, status, booking_id, fingerprint, amount, currency, card_brand,
                                  card_last_four, decline_code)
VALUES ('stray', 'ch_stray', 'captured', 'bk-nobody', '', 100, 'EUR', 'visa', '4242', '');

-- name: confirmed_without_charge
-- what: the money of a confirmed booking was given back
INSERT INTO {{provider}}.refunds (charge_id, refund_id, amount, reason)
SELECT charge_id, 're_x', amount, 'mistake' FROM {{provider}}.charges WHERE booking_id = ':confirmed';

-- name: charged_something_else
-- what: more was taken than was agreed
UPDATE {{provider}}.charges SET amount = amount + 1 WHERE booking_id = ':confirmed';

-- name: money_kept
-- what: a cancelled booking was never refunded
DELETE FROM {{provider}}.refunds r USING {{provider}}.charges c
WHERE c.charge_id = r.charge_id AND c.booking_id = ':cancelled';

-- name: parked_for_days
-- what: a refund was parked and nobody has looked after it
DELETE FROM {{provider}}.refunds r USING {{provider}}.charges c
WHERE c.charge_id = r.charge_id AND c.booking_id = ':cancelled';
UPDATE {{provider}}.charges SET created_at = now() - interval '2 days' WHERE booking_id = ':cancelled';
UPDATE {{saga}}.sagas s
SET status = 'NEEDS_ATTENTION', state = jsonb_set(jsonb_set(state::jsonb, '{status}', '"NEEDS_ATTENTION"'), '{rollback,todo}',
    (SELECT jsonb_agg(idempotency_key) FROM {{provider}}.charges WHERE booking_id = s.id))::text
WHERE id = ':cancelled';

-- name: parked_just_now
-- what: a refund was parked a moment ago: no violation yet
DELETE FROM {{provider}}.refunds r USING {{provider}}.charges c
WHERE c.charge_id = r.charge_id AND c.booking_id = ':cancelled';
UPDATE {{saga}}.sagas s
SET status = 'NEEDS_ATTENTION', state = jsonb_set(jsonb_set(state::jsonb, '{status}', '"NEEDS_ATTENTION"'), '{rollback,todo}',
    (SELECT jsonb_agg(idempotency_key) FROM {{provider}}.charges WHERE booking_id = s.id))::text
WHERE id = ':cancelled';

-- name: refund_differs
-- what: not all of it was given back
UPDATE {{provider}}.refunds r SET amount = r.amount - 1 FROM {{provider}}.charges c
WHERE c.charge_id = r.charge_id AND c.booking_id = ':cancelled';

-- name: lock_without_saga
-- what: a lock of nobody
INSERT INTO {{locking}}.locks (reservation_id, lock_command_id, booking_id, property_id, room_id, stay, state, acquired_at,
                               expires_at)
VALUES ('rsv-stray', 'stray', 'bk-nobody', 'p', 'r', '[2030-01-01,2030-01-02)', 'held', now(), now() + interval '10 min');

-- name: hold_without_live_saga
-- what: the lock of a failed saga was never released
ALTER TABLE {{locking}}.locks DISABLE TRIGGER released_is_final, DROP CONSTRAINT no_overlapping_live_locks;
UPDATE {{locking}}.locks SET state = 'held', released_at = NULL, released_by = NULL, expires_at = now() + interval '10 min'
WHERE booking_id = ':declined';

-- name: never_promoted
-- what: the lock of a confirmed saga was never confirmed
UPDATE {{locking}}.locks SET state = 'held', expires_at = now() WHERE booking_id = ':confirmed';
UPDATE {{saga}}.sagas SET updated_us = updated_us - 3600000000 WHERE id = ':confirmed';

-- name: confirmed_lock_of_unconfirmed_saga
-- what: the lock of a failed saga is kept for good
ALTER TABLE {{locking}}.locks DISABLE TRIGGER released_is_final, DROP CONSTRAINT no_overlapping_live_locks;
UPDATE {{locking}}.locks SET state = 'confirmed', released_at = NULL, released_by = NULL, expires_at = NULL
WHERE booking_id = ':declined';

-- name: another_answer
-- what: a worker remembers another answer than the saga was given
UPDATE {{locking}}.inbox SET reply_type = 'booking.LockRefused.v1'
WHERE saga_id = ':confirmed' AND reply_type = 'booking.LockAcquired.v1';

-- name: no_answer
-- what: a worker remembers nothing of a step that is done
DELETE FROM {{payment}}.inbox WHERE saga_id = ':confirmed';

-- name: not_asked_for
-- what: a worker did something on its own
UPDATE {{payment}}.inbox SET message_id = message_id || '.of-its-own' WHERE saga_id = ':confirmed';

-- name: a_night_short
-- what: a night of a confirmed booking is not sold to it
DELETE FROM {{inventory}}.sold_nights WHERE booking_id = ':confirmed'
AND night = (SELECT min(night) FROM {{inventory}}.sold_nights WHERE booking_id = ':confirmed');

-- name: another_code
-- what: the guest was told another code than the inventory has
UPDATE {{inventory}}.confirmations SET code = 'BK-00000000' WHERE booking_id = ':confirmed';

-- name: sold_but_not_confirmed
-- what: a night is sold to a saga that failed
INSERT INTO {{inventory}}.sold_nights (property_id, room_id, night, booking_id) VALUES ('p', 'r', '2030-01-01', ':declined');

-- name: issued_but_not_confirmed
-- what: the code of a cancelled booking is still good
UPDATE {{inventory}}.confirmations SET state = 'issued', restored_at = NULL WHERE booking_id = ':cancelled';

-- name: confirmed_without_lock
-- what: the lock of a confirmed booking was undone
UPDATE {{locking}}.locks SET state = 'released', released_at = now(), released_by = 'undo', expires_at = NULL
WHERE booking_id = ':confirmed';

-- name: payment_differs
-- what: by our own record the card of a confirmed booking was declined
UPDATE {{payment}}.payments SET state = 'declined' WHERE booking_id = ':confirmed';

-- name: payment_kept
-- what: by our own record the money of a cancelled booking is still with us
UPDATE {{payment}}.payments
SET state = 'captured', refund_id = NULL, refunded_minor = 0, undo_command_id = NULL, undone_at = NULL
WHERE booking_id = ':cancelled';

-- name: provider_differs
-- what: the provider knows nothing of a refund that we have on record
DELETE FROM {{provider}}.refunds r USING {{provider}}.charges c
WHERE c.charge_id = r.charge_id AND c.booking_id = ':cancelled';

-- name: undos_swapped
-- what: the undos of a saga were not in reverse
UPDATE {{saga}}.sagas SET state = jsonb_set(jsonb_set(state::jsonb, '{undos,0}', state::jsonb #> '{undos,1}'), '{undos,1}',
                                            state::jsonb #> '{undos,0}')::text WHERE id = ':cancelled';

-- name: undo_missing
-- what: a step of a failed saga was not undone
UPDATE {{saga}}.sagas SET state = jsonb_set(state::jsonb, '{undos}', '[]')::text WHERE id = ':declined';

-- name: undone_for_nothing
-- what: a step of a confirmed saga was undone
UPDATE {{saga}}.sagas SET state = jsonb_set(state::jsonb, '{undos}', (
    SELECT state::jsonb -> 'undos' FROM {{saga}}.sagas WHERE id = ':declined'))::text WHERE id = ':confirmed';

-- name: undos_out_of_time
-- what: the workers carried the undos out in another order
UPDATE {{locking}}.inbox SET committed_at = committed_at - interval '1 hour'
WHERE saga_id = ':cancelled' AND reply_type = 'booking.LockReleased.v1';

-- name: done_after_its_undo
-- what: a lock was taken after it had been undone
UPDATE {{locking}}.inbox SET committed_at = committed_at + interval '1 hour'
WHERE saga_id = ':cancelled' AND reply_type = 'booking.LockAcquired.v1';

-- name: past_deadline
-- what: a saga has been running for a day
UPDATE {{saga}}.sagas SET status = 'RUNNING', wake_us = (extract(epoch FROM now() + interval '1 hour') * 1e6)::bigint,
    state = jsonb_set(state::jsonb || '{"status": "RUNNING"}', '{deadline_us}', to_jsonb(started_us - 86400000000))::text
WHERE id = ':declined';

-- name: unanswered
-- what: a command has had no answer for a day
UPDATE {{saga}}.sagas SET status = 'COMPENSATING', wake_us = (extract(epoch FROM now() + interval '1 hour') * 1e6)::bigint,
    state = (state::jsonb || jsonb_build_object('status', 'COMPENSATING', 'timer', jsonb_build_object(
        'next_attempt_us', started_us, 'deadline_us', started_us - 86400000000)))::text
WHERE id = ':declined';

-- name: never_woken
-- what: nothing will ever wake a live saga
UPDATE {{saga}}.sagas SET status = 'COMPENSATING', wake_us = NULL,
    state = (state::jsonb || '{"status": "COMPENSATING"}')::text
WHERE id = ':declined';

-- name: no_sweeper
-- what: a saga has been due for an hour
UPDATE {{saga}}.sagas SET wake_us = (extract(epoch FROM now() - interval '1 hour') * 1e6)::bigint WHERE id = ':confirmed';

-- name: on_its_way
-- what: a saga is live and a little late: no violation
UPDATE {{saga}}.sagas SET status = 'COMPENSATING', wake_us = (extract(epoch FROM now() - interval '5 s') * 1e6)::bigint,
    state = (state::jsonb || '{"status": "COMPENSATING"}')::text
WHERE id = ':declined';
UPDATE {{saga}}.history h SET status = 'COMPENSATING' FROM {{saga}}.sagas s
WHERE h.saga_id = ':declined' AND s.id = h.saga_id AND h.epoch = s.epoch;

-- name: applied_twice
-- what: a reply moved a saga on twice
UPDATE {{saga}}.history h SET message_id = first.message_id
FROM {{saga}}.history first, {{saga}}.sagas s
WHERE s.id = ':confirmed' AND h.saga_id = s.id AND h.epoch = s.epoch AND first.saga_id = s.id AND first.epoch = 1;

-- name: never_announced
-- what: a saga came to an end of which nobody was told
UPDATE {{saga}}.history SET status = 'FAILED' WHERE saga_id = ':confirmed' AND epoch = 3;

-- name: announced_for_nothing
-- what: an end was announced that the saga never came to
UPDATE {{saga}}.history SET status = 'RUNNING' WHERE saga_id = ':confirmed';

-- name: request_lost
-- what: a request became nothing
DELETE FROM {{saga}}.history WHERE saga_id = ':unknown';
DELETE FROM {{saga}}.sagas WHERE id = ':unknown';

-- name: told_otherwise
-- what: the guest was told of a failure
UPDATE {{notification}}.notifications SET kind = 'failed' WHERE booking_id = ':confirmed';

-- name: told_of_nothing
-- what: the guest was told of an end that never was
UPDATE {{notification}}.notifications SET message_id = ':confirmed.failed', kind = 'failed' WHERE booking_id = ':confirmed';

-- name: no_letter
-- what: an event was handled without a letter
DELETE FROM {{notification}}.notifications WHERE booking_id = ':confirmed';

-- name: mailed_twice
-- what: the same letter came twice
INSERT INTO {{notification}}.mailbox (message_id, booking_id, kind, recipient, content)
SELECT message_id, booking_id, kind, recipient, content FROM {{notification}}.mailbox WHERE booking_id = ':confirmed';

-- name: mailed_otherwise
-- what: an e-mail says what no letter said
UPDATE {{notification}}.mailbox SET kind = 'cancelled' WHERE booking_id = ':confirmed';

-- name: history_gap
-- what: a transition is not recorded
DELETE FROM {{saga}}.history WHERE saga_id = ':confirmed' AND epoch = 2;

-- name: history_ends_otherwise
-- what: the last transition led somewhere else
UPDATE {{saga}}.history h SET status = 'RUNNING' FROM {{saga}}.sagas s
WHERE h.saga_id = ':declined' AND s.id = h.saga_id AND h.epoch = s.epoch;

-- name: row_differs
-- what: a saga's columns were changed by hand
UPDATE {{saga}}.sagas SET error_type = 'by_hand' WHERE id = ':confirmed';

-- name: history_without_saga
-- what: the history of nobody
UPDATE {{saga}}.history SET saga_id = 'bk-nobody' WHERE saga_id = ':unknown';

-- name: state_changed_by_hand
-- what: a state that no record explains
UPDATE {{saga}}.sagas SET state = jsonb_set(state::jsonb, '{data,guest_name}', '"Mallory"')::text WHERE id = ':confirmed';

-- name: time_changed_by_hand
-- what: a decision that was made at another time than recorded
UPDATE {{saga}}.history SET decided_us = decided_us + 1 WHERE saga_id = ':confirmed' AND epoch = 1;

-- name: root_span_lost
-- what: what the orchestrator said of a saga never arrived
DELETE FROM {{traces}}.chunks c USING {{traces}}.sources s, {{saga}}.sagas saga
WHERE saga.id = ':confirmed' AND encode(c.trace_id, 'hex') = saga.trace_id AND s.id = c.source AND s.service = 'orchestrator';
UPDATE {{saga}}.sagas SET updated_us = updated_us - 3600000000 WHERE id = ':confirmed';

-- name: trace_not_kept
-- what: nothing of a saga's trace is kept: no violation
DELETE FROM {{traces}}.chunks c USING {{saga}}.sagas s WHERE s.id = ':confirmed' AND encode(c.trace_id, 'hex') = s.trace_id;
UPDATE {{saga}}.sagas SET updated_us = updated_us - 3600000000 WHERE id = ':confirmed';

-- name: trace_partly_forgotten
-- what: the ring has come round since: no violation
DELETE FROM {{traces}}.chunks c USING {{traces}}.sources s, {{saga}}.sagas saga
WHERE saga.id = ':confirmed' AND encode(c.trace_id, 'hex') = saga.trace_id AND s.id = c.source AND s.service = 'orchestrator';
UPDATE {{saga}}.sagas SET updated_us = updated_us - 3600000000 WHERE id = ':confirmed';
UPDATE {{traces}}.chunks SET received_at = now() + interval '1 minute', slot = 1;

-- name: no_provider
-- what: the provider is somebody else's: no violation
DROP SCHEMA {{provider}} CASCADE;

-- name: no_traces
-- what: traces are kept elsewhere: no violation
DROP SCHEMA {{traces}} CASCADE
