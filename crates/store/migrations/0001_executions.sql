-- Executions, their attempts, and what the engine needs to choose among them.
-- Times are milliseconds since the epoch. Structured values are JSON.

-- One row per execution. What is live is found through partial indexes, which stay small however much is history.
CREATE TABLE executions (
  seq           INTEGER PRIMARY KEY,   -- order of acceptance
  id            TEXT NOT NULL UNIQUE,
  tenant        TEXT NOT NULL,
  integration   TEXT NOT NULL,
  kind          TEXT NOT NULL,
  name          TEXT NOT NULL,
  version       TEXT NOT NULL,
  connection    TEXT,
  "trigger"     TEXT NOT NULL,
  retry_of      TEXT,                  -- the failed execution this one repeats
  input         TEXT,                  -- NULL: in payloads
  limits        TEXT NOT NULL,
  retry         TEXT NOT NULL,
  scope         TEXT NOT NULL,         -- the key of its checkpoint
  exclusive     TEXT,                  -- at most one live execution per value
  start_by      INTEGER,               -- expires unless the first attempt began by then
  created_at    INTEGER NOT NULL,
  -- What changes as it runs.
  state         TEXT NOT NULL,
  ready_at      INTEGER NOT NULL,      -- waiting: when it is queued again
  rank          INTEGER NOT NULL,      -- queued: order within the tenant, smallest first
  attempts      INTEGER NOT NULL DEFAULT 0,
  fence         INTEGER NOT NULL DEFAULT 0,
  worker        TEXT,                  -- running: who holds the lease
  leased_at     INTEGER,
  charged_us    INTEGER NOT NULL DEFAULT 0, -- virtual time charged in advance for the running attempt
  checkpoint_at_start INTEGER NOT NULL DEFAULT 0,
  failures      INTEGER NOT NULL DEFAULT 0, -- failed attempts since the last progress
  stalls        INTEGER NOT NULL DEFAULT 0, -- attempts cut without progress
  losses        INTEGER NOT NULL DEFAULT 0, -- attempts whose worker vanished
  cancel_asked  INTEGER NOT NULL DEFAULT 0,
  started_at    INTEGER,
  ended_at      INTEGER,
  output        TEXT,                  -- NULL: none, or in payloads
  error         TEXT,
  fault         TEXT,
  wall_ms       INTEGER NOT NULL DEFAULT 0,
  cpu_us        INTEGER NOT NULL DEFAULT 0,
  memory_peak   INTEGER NOT NULL DEFAULT 0,
  start_us      INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX executions_ready     ON executions (tenant, rank, seq) WHERE state = 'queued';
CREATE INDEX executions_waiting   ON executions (ready_at) WHERE state = 'waiting';
CREATE INDEX executions_running   ON executions (worker) WHERE state = 'running';
CREATE INDEX executions_start_by  ON executions (start_by) WHERE state = 'queued' AND attempts = 0 AND start_by IS NOT NULL;
CREATE UNIQUE INDEX executions_exclusive ON executions (exclusive)
  WHERE exclusive IS NOT NULL AND state IN ('queued', 'running', 'waiting');
CREATE INDEX executions_by_tenant   ON executions (tenant, id);
CREATE INDEX executions_by_function ON executions (tenant, name, id);
CREATE INDEX executions_failed      ON executions (tenant, id) WHERE state = 'failed';

-- Inputs and outputs too long to carry along in every update of the row above.
CREATE TABLE payloads (
  execution TEXT NOT NULL,
  what      TEXT NOT NULL,             -- input, output
  body      TEXT NOT NULL,
  PRIMARY KEY (execution, what)
) WITHOUT ROWID;

CREATE TABLE attempts (
  execution  TEXT NOT NULL,
  number     INTEGER NOT NULL,
  fence      INTEGER NOT NULL,
  worker     TEXT NOT NULL,
  leased_at  INTEGER NOT NULL,
  started_at INTEGER,
  ended_at   INTEGER,
  outcome    TEXT,
  error      TEXT,
  start      TEXT,
  checkpoint INTEGER,                  -- the checkpoint's version at its end, when it moved
  wall_ms    INTEGER NOT NULL DEFAULT 0,
  cpu_us     INTEGER NOT NULL DEFAULT 0,
  memory_peak INTEGER NOT NULL DEFAULT 0,
  start_us   INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (execution, number)
) WITHOUT ROWID;

-- Events that executions and attempts do not tell by themselves: denied connections, cancels asked for.
CREATE TABLE timeline (
  execution TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  what      TEXT NOT NULL,
  attempt   INTEGER NOT NULL,
  detail    TEXT NOT NULL,
  PRIMARY KEY (execution, seq)
) WITHOUT ROWID;

-- Per tenant: counters for admission and the virtual time of its fair share (bulkhead-sched, "pick").
CREATE TABLE shares (
  tenant      TEXT PRIMARY KEY,
  weight      INTEGER NOT NULL,
  running_max INTEGER NOT NULL,
  queued_max  INTEGER NOT NULL,
  vtime_us    INTEGER NOT NULL,
  queued      INTEGER NOT NULL,
  waiting     INTEGER NOT NULL,
  running     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX shares_eligible ON shares (vtime_us) WHERE queued > 0 AND running < running_max;

-- The virtual clock of the whole queue; one row.
CREATE TABLE virtual_clock (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  vtime_us INTEGER NOT NULL
);
INSERT INTO virtual_clock VALUES (1, 0);

-- A worker's leases live as long as its row: renewing them all is one write here, none on executions.
CREATE TABLE workers (
  id         TEXT PRIMARY KEY,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX workers_by_expiry ON workers (expires_at);

CREATE TABLE idempotency (
  scope      TEXT NOT NULL,            -- tenant and function
  key        TEXT NOT NULL,
  execution  TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

-- From which the next attempt, or a sync's next execution, goes on. A cleared one keeps its version, with no body.
CREATE TABLE checkpoints (
  scope      TEXT PRIMARY KEY,         -- a sync's key with its connection, else the execution's id
  body       TEXT,
  version    INTEGER NOT NULL,
  execution  TEXT NOT NULL,            -- who wrote it
  fence      INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE schedules (
  tenant      TEXT NOT NULL,
  integration TEXT NOT NULL,
  kind        TEXT NOT NULL,
  name        TEXT NOT NULL,
  connection  TEXT NOT NULL,           -- '' is none
  frequency   TEXT NOT NULL,
  anchor      INTEGER NOT NULL,        -- intervals count from here
  paused      INTEGER NOT NULL,
  next_at     INTEGER NOT NULL,
  last_at     INTEGER,
  last_execution TEXT,
  last_error  TEXT,                    -- why the last firing made no execution
  PRIMARY KEY (tenant, integration, kind, name, connection)
) WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0;
