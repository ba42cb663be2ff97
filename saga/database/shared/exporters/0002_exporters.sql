-- Up to which of its batches each process has handed its spans to the collector; what a dead one left is emitted again.
CREATE TABLE exporters (
    writer     text        PRIMARY KEY,
    role       text        NOT NULL,
    batch      bigint      NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
