-- name: beat
-- what: this process is alive, and everything up to this batch has been exported
INSERT INTO {{owner}}.exporters AS e (writer, role, batch) VALUES ($1, $2, $3)
ON CONFLICT (writer) DO UPDATE SET batch = greatest(e.batch, excluded.batch), beat_at = clock_timestamp();

-- name: dead
-- what: a process of this role that has not been heard of for a while, locked so that one successor takes it
SELECT writer, batch, least(started_at, beat_at) - interval '1 minute' AS since
FROM {{owner}}.exporters
WHERE role = $1 AND writer <> $2 AND beat_at < clock_timestamp() - make_interval(secs => $3)
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: forget
-- what: nothing of this process is left to export
DELETE FROM {{owner}}.exporters WHERE writer = $1
