-- Lists of sagas answer from an index at a million rows: newest first, or those in trouble.
DROP INDEX sagas_started;
CREATE INDEX sagas_started ON sagas (started_us);
CREATE INDEX sagas_troubled ON sagas (started_us, status, error_type) WHERE status NOT IN ('RUNNING', 'CONFIRMED');
