-- name: schema
-- what: a schema of the pump's own
CREATE SCHEMA IF NOT EXISTS {{bench}};

-- name: table
-- what: where the pump writes; a row is as large as the saga's rows are on average
CREATE TABLE {{bench}}.pumped (id text PRIMARY KEY, payload text NOT NULL);

-- name: drop
-- what: remove all of it
DROP SCHEMA IF EXISTS {{bench}} CASCADE;

-- name: put
-- what: one commit's rows, in the shape of the saga's own statements
INSERT INTO {{bench}}.pumped (id, payload) SELECT * FROM unnest($1::text[], $2::text[]);

-- name: mean_row
-- what: how large a row has turned out, in bytes
SELECT avg(pg_column_size(p.*))::float8 FROM (SELECT * FROM {{bench}}.pumped LIMIT 2000) p;
