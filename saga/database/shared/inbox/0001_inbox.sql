-- What a worker has already done: the reply it gave (or that there was none), kept in the transaction of its effect.
CREATE TABLE inbox (
    message_id   text        NOT NULL,
    worker       text        NOT NULL,
    saga_id      text        NOT NULL,
    message_type text        NOT NULL,
    epoch        integer     NOT NULL,
    step         text        NOT NULL,
    attempt      integer     NOT NULL,
    reply_type   text,
    reply        text,
    context      text,
    baggage      text        NOT NULL DEFAULT '',
    replied_us   bigint      NOT NULL,
    writer       text        NOT NULL,
    batch        bigint      NOT NULL,
    spans        text        NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (message_id, worker)
);

CREATE INDEX inbox_committed ON inbox USING brin (committed_at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX inbox_saga ON inbox (saga_id);
