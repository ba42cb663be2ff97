-- name: count_rows
-- what: how many transitions are recorded
SELECT count(*) FROM {{saga}}.history WHERE decided_us >= $1::bigint;

-- name: gaps
-- what: a saga whose history does not number 1 to its epoch
SELECT t.id AS saga_id,
       format('its epoch is %s, but its history has %s rows, from %s to %s', t.epoch, coalesce(h.rows, 0), h.first,
              h.last) AS detail
FROM told t
LEFT JOIN (
    SELECT saga_id, count(*) AS rows, min(epoch) AS first, max(epoch) AS last FROM {{saga}}.history GROUP BY saga_id
) h ON h.saga_id = t.id
WHERE (t.epoch, t.epoch, 1) IS DISTINCT FROM (h.rows, h.last, h.first);

-- name: ends_otherwise
-- what: a saga whose last recorded status is not its own
SELECT t.id AS saga_id, format('it is %s, but its history ends in %s', t.status, h.status) AS detail
FROM told t
JOIN {{saga}}.history h ON h.saga_id = t.id AND h.epoch = t.epoch
WHERE h.status <> t.status;

-- name: columns_differ
-- what: a saga whose row does not say what the state in it says
SELECT id AS saga_id,
       format('its row (%s, epoch %s) does not say what the state in it says', status, epoch) AS detail
FROM told
WHERE NOT row_agrees;

-- name: history_without_saga
-- what: recorded transitions of a saga that does not exist
SELECT h.saga_id, format('%s transitions are recorded of a saga that does not exist', count(*)) AS detail
FROM {{saga}}.history h
WHERE h.decided_us >= $1::bigint AND NOT EXISTS (SELECT FROM {{saga}}.sagas s WHERE s.id = h.saga_id)
GROUP BY h.saga_id
