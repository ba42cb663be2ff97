-- name: make_told
-- what: a table for what each saga says of itself, gone with the transaction
CREATE TEMPORARY TABLE told (
    id             text PRIMARY KEY,
    steps          text NOT NULL,
    status         text NOT NULL,
    step           text NOT NULL,
    row_agrees     boolean NOT NULL,
    epoch          integer NOT NULL,
    started_us     bigint NOT NULL,
    updated_us     bigint NOT NULL,
    wake_us        bigint,
    deadline_us    bigint,
    due_us         bigint,
    rolled_back    boolean NOT NULL,
    todo           jsonb NOT NULL,
    property_id    text,
    room_id        text,
    check_in       date,
    check_out      date,
    amount_minor   bigint,
    currency       text,
    reservation_id text,
    transaction_id text,
    code           text
) ON COMMIT DROP;

-- name: make_ran
-- what: a table for what each saga says of its commands, in order, gone with the transaction
CREATE TEMPORARY TABLE ran (
    saga_id    text NOT NULL,
    n          integer NOT NULL,
    is_undo    boolean NOT NULL,
    step       text NOT NULL,
    command_id text NOT NULL,
    epoch      integer NOT NULL,
    outcome    text NOT NULL,
    undoes     text
) ON COMMIT DROP;

-- name: fill
-- what: take every state apart once, for all the statements that follow
WITH parsed AS MATERIALIZED (
    SELECT s.id, s.definition, s.version, s.status, s.step, s.epoch, s.error_type, s.trace_id, s.started_us,
           s.updated_us, s.ended_us, s.wake_us, s.state::jsonb AS j
    FROM {{saga}}.sagas s
    WHERE s.started_us >= $1::bigint
), commands AS (
    INSERT INTO ran (saga_id, n, is_undo, step, command_id, epoch, outcome, undoes)
    SELECT id, n, which = 'undos', run ->> 'step', run ->> 'command_id', (run ->> 'epoch')::int, run ->> 'outcome',
           run ->> 'undoes'
    FROM parsed
    CROSS JOIN (VALUES ('runs'), ('undos')) AS lists (which)
    CROSS JOIN LATERAL jsonb_array_elements(j -> which) WITH ORDINALITY AS listed (run, n)
)
INSERT INTO told (id, steps, status, step, row_agrees, epoch, started_us, updated_us, wake_us, deadline_us, due_us,
                  rolled_back, todo, property_id, room_id, check_in, check_out, amount_minor, currency, reservation_id,
                  transaction_id, code)
SELECT id, definition || '/' || version || '/', status, step,
       (id, definition, version::text, status, epoch::text, trace_id, started_us::text, ended_us::text, error_type)
       IS NOT DISTINCT FROM
       (j ->> 'id', j ->> 'definition', j ->> 'version', j ->> 'status', j ->> 'epoch', j #>> '{trace,trace_id}',
        j ->> 'started_us', j ->> 'ended_us', j ->> 'error_type'),
       epoch, started_us, updated_us, wake_us, (j ->> 'deadline_us')::bigint, (j #>> '{timer,deadline_us}')::bigint,
       jsonb_typeof(j -> 'rollback') = 'object', coalesce(j #> '{rollback,todo}', '[]'), d ->> 'property_id',
       o ->> 'room_id', (d ->> 'check_in')::date, (d ->> 'check_out')::date, (o ->> 'total_minor')::bigint,
       o ->> 'currency', d ->> 'reservation_id', d ->> 'transaction_id', d ->> 'confirmation_code'
FROM parsed
CROSS JOIN LATERAL (SELECT j -> 'data' AS d OFFSET 0) data
CROSS JOIN LATERAL (SELECT d -> 'offers' -> (d ->> 'offer')::int AS o OFFSET 0) chosen;

-- name: measure_told
-- what: statistics, without which the planner guesses
ANALYZE told;

-- name: measure_ran
-- what: statistics, without which the planner guesses
ANALYZE ran
