-- Limits per function, connection and concurrency key; pauses; what an execution takes of a worker; jitter and
-- missed runs of schedules.

-- Where a queued execution stands: 0 ready, 1 held at a gate, 2 behind its lane's front (bulkhead-sched, "gate").
ALTER TABLE executions ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN gate TEXT;            -- at which it is held
ALTER TABLE executions ADD COLUMN lane TEXT;            -- queued: what it shares with all that have the same gates
ALTER TABLE executions ADD COLUMN passed TEXT;          -- running: the gates it is inside of, one a line
ALTER TABLE executions ADD COLUMN concurrency_key TEXT;
ALTER TABLE executions ADD COLUMN concurrency_max INTEGER;
ALTER TABLE executions ADD COLUMN cpu_units INTEGER NOT NULL DEFAULT 1;
ALTER TABLE executions ADD COLUMN memory_units INTEGER NOT NULL DEFAULT 8;

DROP INDEX executions_ready;
CREATE INDEX executions_ready ON executions (tenant, rank, seq) WHERE state = 'queued' AND place = 0;
CREATE INDEX executions_held ON executions (tenant, gate, rank, seq) WHERE state = 'queued' AND place = 1;
CREATE INDEX executions_behind ON executions (tenant, lane, rank, seq) WHERE state = 'queued' AND place = 2;
CREATE INDEX executions_front ON executions (tenant, lane)
  WHERE state = 'queued' AND lane IS NOT NULL AND place < 2;

CREATE TABLE gates (
  tenant      TEXT NOT NULL,
  key         TEXT NOT NULL,           -- f/FUNCTION, c/CONNECTION or k/KEY
  running_max INTEGER,                 -- NULL: any number
  running     INTEGER NOT NULL,
  paused      INTEGER NOT NULL,
  is_set      INTEGER NOT NULL,        -- it stays when nobody is inside
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

ALTER TABLE shares ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shares ADD COLUMN gates INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shares ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
DROP INDEX shares_eligible;
CREATE INDEX shares_eligible ON shares (vtime_us, tenant)
  WHERE queued > held AND running < running_max AND paused = 0;
-- Whose turn it is where room is left only for who runs nothing.
CREATE INDEX shares_idle ON shares (vtime_us, tenant)
  WHERE queued > held AND running = 0 AND running_max > 0 AND paused = 0;

ALTER TABLE schedules ADD COLUMN jitter_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN missed TEXT NOT NULL DEFAULT 'catch_up';

-- What was repeated, and by what: a failed execution that nobody repeated is a dead letter.
CREATE INDEX executions_retry_of ON executions (retry_of) WHERE retry_of IS NOT NULL;
