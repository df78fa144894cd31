-- What is live lies apart from what has ended: a row moves when its state says so. So the table that every transaction
-- updates is as small as what is under way, and a vacuum of it takes as long as that, however much is history.
ALTER TABLE executions RENAME TO executions_before;
CREATE TABLE executions (LIKE executions_before INCLUDING DEFAULTS) PARTITION BY LIST (state);
CREATE TABLE executions_live PARTITION OF executions FOR VALUES IN ('queued', 'running', 'waiting')
  WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- Written once, and removed when it is old.
CREATE TABLE executions_settled PARTITION OF executions FOR VALUES IN ('succeeded', 'failed', 'cancelled', 'expired');

-- The order of acceptance. A partitioned table has no identity column of its own before PostgreSQL 17.
CREATE SEQUENCE executions_accepted AS BIGINT OWNED BY executions.seq;
SELECT setval('executions_accepted', coalesce(max(seq), 0) + 1, false) FROM executions_before;
ALTER TABLE executions ALTER COLUMN seq SET DEFAULT nextval('executions_accepted');

INSERT INTO executions SELECT * FROM executions_before;
DROP TABLE executions_before;

CREATE UNIQUE INDEX executions_live_id ON executions_live (id);
CREATE INDEX executions_ready ON executions_live (tenant, rank, seq) WHERE state = 'queued' AND place = 0;
CREATE INDEX executions_held ON executions_live (tenant, gate, rank, seq) WHERE state = 'queued' AND place = 1;
CREATE INDEX executions_behind ON executions_live (tenant, lane, rank, seq) WHERE state = 'queued' AND place = 2;
CREATE INDEX executions_front ON executions_live (tenant, lane)
  WHERE state = 'queued' AND lane IS NOT NULL AND place < 2;
CREATE INDEX executions_waiting ON executions_live (ready_at) WHERE state = 'waiting';
CREATE INDEX executions_running ON executions_live (worker) WHERE state = 'running';
CREATE INDEX executions_start_by ON executions_live (start_by)
  WHERE state = 'queued' AND attempts = 0 AND start_by IS NOT NULL;
CREATE UNIQUE INDEX executions_exclusive ON executions_live (exclusive) WHERE exclusive IS NOT NULL;

CREATE UNIQUE INDEX executions_settled_id ON executions_settled (id);
CREATE INDEX executions_failed ON executions_settled (tenant, id) WHERE state = 'failed';

CREATE INDEX executions_by_acceptance ON executions (seq);
CREATE INDEX executions_by_tenant ON executions (tenant, id);
CREATE INDEX executions_by_function ON executions (tenant, name, id);
CREATE INDEX executions_retry_of ON executions (retry_of) WHERE retry_of IS NOT NULL;
