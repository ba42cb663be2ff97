-- Recent traces and the latest metrics, as the OTLP receiver got them. All of it may be lost without harm: partitions
-- are unlogged, and the oldest is emptied when the next one begins, so nothing is ever deleted row by row.
CREATE TABLE sources (
    id       bigint PRIMARY KEY,
    service  text NOT NULL,
    resource bytea NOT NULL,
    scope    bytea NOT NULL
);
COMMENT ON TABLE sources IS 'who sends spans: an OTLP Resource and InstrumentationScope, each as protobuf; id is their hash';

CREATE TABLE chunks (
    slot        smallint NOT NULL,
    trace_id    bytea NOT NULL,
    source      bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    spans       bytea STORAGE EXTERNAL NOT NULL
) PARTITION BY LIST (slot);
COMMENT ON COLUMN chunks.spans IS 'the body of an OTLP ScopeSpans that holds spans of this trace only';

CREATE UNLOGGED TABLE chunks_0 PARTITION OF chunks FOR VALUES IN (0) WITH (toast_tuple_target = 8160);
CREATE UNLOGGED TABLE chunks_1 PARTITION OF chunks FOR VALUES IN (1) WITH (toast_tuple_target = 8160);
CREATE UNLOGGED TABLE chunks_2 PARTITION OF chunks FOR VALUES IN (2) WITH (toast_tuple_target = 8160);
CREATE UNLOGGED TABLE chunks_3 PARTITION OF chunks FOR VALUES IN (3) WITH (toast_tuple_target = 8160);
CREATE INDEX chunks_by_trace ON chunks USING hash (trace_id);

CREATE TABLE ring (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    slot      smallint NOT NULL CHECK (slot BETWEEN 0 AND 3),
    opened_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ring IS 'the partition that is written to, and since when';
INSERT INTO ring (slot) VALUES (0);

CREATE UNLOGGED TABLE metrics (
    service     text NOT NULL,
    instance    text NOT NULL,
    name        text NOT NULL,
    attributes  jsonb NOT NULL,
    kind        text NOT NULL,
    unit        text NOT NULL,
    point       jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, instance, name, attributes)
) WITH (fillfactor = 50);
COMMENT ON TABLE metrics IS 'the latest data point of each time series';
