-- One row per saga. The state is the outbox: whatever a saga has to say can be said again from its row.
CREATE TABLE sagas (
    id         text    PRIMARY KEY,
    definition text    NOT NULL,
    version    integer NOT NULL,
    status     text    NOT NULL CHECK (status IN
                   ('RUNNING', 'COMPENSATING', 'CONFIRMED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'NEEDS_ATTENTION')),
    step       text    NOT NULL,
    epoch      integer NOT NULL CHECK (epoch > 0),
    error_type text    NOT NULL DEFAULT '',
    trace_id   text    NOT NULL,
    started_us bigint  NOT NULL,
    updated_us bigint  NOT NULL,
    ended_us   bigint  NOT NULL DEFAULT 0,
    -- When the sweeper must look at this saga; null: never.
    wake_us    bigint,
    state      text    NOT NULL
) WITH (fillfactor = 60);

-- Live sagas are few and change often; the index never holds more than they.
CREATE INDEX sagas_wake ON sagas (wake_us) WHERE wake_us IS NOT NULL;
CREATE INDEX sagas_unsettled ON sagas (status) WHERE status IN ('RUNNING', 'COMPENSATING', 'NEEDS_ATTENTION');
CREATE INDEX sagas_started ON sagas USING brin (started_us) WITH (pages_per_range = 32, autosummarize = on);

-- Every applied input, in order: what was decided on, when, by whom, from which record. Folding these gives the states.
CREATE TABLE history (
    saga_id       text    NOT NULL,
    epoch         integer NOT NULL,
    message_id    text,
    message_type  text    NOT NULL,
    origin_topic  text,
    origin_partition integer,
    origin_offset bigint,
    decided_us    bigint  NOT NULL,
    status        text    NOT NULL,
    writer        text    NOT NULL,
    batch         bigint  NOT NULL,
    spans         text    NOT NULL,
    committed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga_id, epoch)
);

CREATE INDEX history_committed ON history USING brin (committed_at) WITH (pages_per_range = 16, autosummarize = on);
