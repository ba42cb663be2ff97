-- name: position
-- what: how many transactions have written anything so far, and how many bytes of write-ahead log there are
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS writes,
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes;

-- name: rows
-- what: rows inserted, updated and deleted in each table of these schemas so far, as its sessions have reported
SELECT schemaname AS schema, relname AS name, n_tup_ins + n_tup_upd + n_tup_del AS written
FROM pg_stat_all_tables WHERE schemaname = ANY ($1::text[]);

-- name: define_mean_row
-- what: mean_row(schema, table): bytes of a row, without what the page adds
CREATE OR REPLACE FUNCTION pg_temp.mean_row(schema text, name text) RETURNS float8 LANGUAGE plpgsql AS $function$
DECLARE
    mean float8;
BEGIN
    EXECUTE format('SELECT avg(pg_column_size(t.*)) FROM (SELECT * FROM %I.%I LIMIT 2000) t', schema, name) INTO mean;
    RETURN mean;
END $function$;

-- name: mean_row
-- what: bytes of a row of a table; null where it is empty
SELECT pg_temp.mean_row($1, $2);

-- name: arrived
-- what: how many chunks of spans the collector has stored
SELECT count(*) FROM {{traces}}.chunks;

-- name: chunks
-- what: the chunks of spans stored since a time, with the number of statements that stored them
SELECT spans, received_at FROM {{traces}}.chunks WHERE received_at > $1;

-- name: clock
-- what: the database's time
SELECT clock_timestamp();

-- name: durability
-- what: what the server promises about a commit
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'server_version')
ORDER BY name;
