-- name: templates
-- what: confirmed bookings of this run, whose rows are stored again under other ids
CREATE TEMPORARY TABLE templates AS
SELECT (row_number() OVER (ORDER BY s.id) - 1)::integer AS k, s.id, lower(l.stay) AS check_in
FROM {{saga}}.sagas s JOIN {{locking}}.locks l ON l.booking_id = s.id
WHERE s.status = 'CONFIRMED' AND l.state = 'confirmed'
ORDER BY s.id
LIMIT 200;

-- name: count_templates
-- what: how many there are
SELECT count(*) FROM templates;

-- name: copies
-- what: so many bookings of the past, each with a template, an id as long as any, and a room and days of its own
CREATE TEMPORARY TABLE copies AS
SELECT n, t.id AS template, t.check_in AS template_check_in,
       left(t.id, greatest(length(t.id) - 12, 3)) || 'past' || lpad(n::text, 8, '0') AS id,
       r.property_id, r.room_id, (current_date - 14 - 8 * (n / r.rooms))::date AS check_in
FROM generate_series(0, $1::integer - 1) AS n
JOIN (SELECT *, count(*) OVER () AS templates FROM templates) t ON t.k = n % t.templates
JOIN (SELECT property_id, room_id, (row_number() OVER (ORDER BY property_id, room_id) - 1)::integer AS k,
             (count(*) OVER ())::integer AS rooms
      FROM {{inventory}}.rooms) r ON r.k = n % r.rooms;

-- name: tables
-- what: every table of these schemas whose rows belong to a booking, with the column that says to which
SELECT n.nspname AS schema, c.relname AS name, a.attname AS key
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY ($1::text[]) AND c.relkind = 'r' AND format_type(a.atttypid, NULL) = 'text'
  AND (a.attname IN ('saga_id', 'booking_id') OR c.relname = 'sagas' AND a.attname = 'id')
ORDER BY 1, 2;

-- name: define
-- what: copy_rows(schema, table, key): store the rows of the templates again for every copy, whatever columns there are
-- The booking's id is replaced wherever a text holds it; other unique texts get a number of the copy's; nights and stays
-- move to the copy's room and days; who wrote a row is nobody alive, so that nobody's spans are emitted again.
CREATE FUNCTION pg_temp.copy_rows(schema text, name text, key text) RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    relation regclass := format('%I.%I', schema, name)::regclass;
    targets text;
    sources text;
    written bigint;
BEGIN
    SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum), string_agg(
        CASE
            WHEN a.attname = key THEN 'c.id'
            WHEN a.attname = 'property_id' THEN 'c.property_id'
            WHEN a.attname = 'room_id' THEN 'c.room_id'
            WHEN a.attname = 'writer' THEN quote_literal('nobody')
            WHEN a.attname = 'committed_at' THEN 't.committed_at - interval ''1 day'''
            WHEN a.attname = 'night' THEN 'c.check_in + (t.night - c.template_check_in)'
            WHEN a.attname = 'stay' THEN 'daterange(c.check_in, c.check_in + (upper(t.stay) - lower(t.stay)))'
            WHEN format_type(a.atttypid, NULL) = 'text' AND u.attnum IS NOT NULL THEN format(
                'CASE WHEN strpos(t.%1$I, c.template) > 0 THEN replace(t.%1$I, c.template, c.id) '
                'WHEN t.%1$I = lower(t.%1$I) THEN left(t.%1$I, -8) || lpad(to_hex(c.n), 8, ''0'') '
                'ELSE left(t.%1$I, -8) || upper(lpad(to_hex(c.n), 8, ''0'')) END', a.attname)
            WHEN format_type(a.atttypid, NULL) = 'text' THEN format('replace(t.%I, c.template, c.id)', a.attname)
            ELSE format('t.%I', a.attname)
        END, ', ' ORDER BY a.attnum)
    INTO targets, sources
    FROM pg_attribute a
    LEFT JOIN (
        SELECT DISTINCT unnest(i.indkey::smallint[]) AS attnum FROM pg_index i WHERE i.indrelid = relation AND i.indisunique
    ) u USING (attnum)
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = '' AND a.attidentity = '';
    EXECUTE format(
        'INSERT INTO %1$s (%2$s) SELECT %3$s FROM copies c JOIN %1$s t ON t.%4$I = c.template ORDER BY c.n',
        relation, targets, sources, key);
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $function$;

-- name: copy
-- what: store the templates' rows of one table again; returns how many were written
SELECT pg_temp.copy_rows($1, $2, $3);

-- name: forget
-- what: drop what the copying needed
DROP TABLE copies, templates;

-- name: tidy
-- what: bring the statistics and the visibility maps of every table up to date, as autovacuum does in time
VACUUM (ANALYZE);

-- name: flush
-- what: write everything to disk, so that what is measured next does not pay for what came before
CHECKPOINT;

-- name: define_clear
-- what: clear(prefix): drop every schema whose name begins so
CREATE FUNCTION pg_temp.clear(prefix text) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE starts_with(nspname, prefix) LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
END $function$;

-- name: clear
-- what: drop every schema whose name begins so
SELECT pg_temp.clear($1);
