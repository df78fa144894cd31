-- Records: how many there are, counted as they change; bodies that are sealed; runs of a sync's webhooks apart.

ALTER TABLE streams ADD COLUMN present INTEGER NOT NULL DEFAULT 0; -- records that are there
ALTER TABLE streams ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0; -- records marked as deleted
ALTER TABLE streams ADD COLUMN sealed  INTEGER NOT NULL DEFAULT 0; -- of both: with a sealed body
UPDATE streams SET
  present = (SELECT count(*) FROM records WHERE stream = streams.id AND deleted_at IS NULL),
  deleted = (SELECT count(*) FROM records WHERE stream = streams.id AND deleted_at IS NOT NULL);

ALTER TABLE records ADD COLUMN sealed BLOB; -- instead of body, which is empty then, as is hash

-- What retention looks for: records marked as deleted, oldest first.
CREATE INDEX records_deleted ON records (stream, cursor) WHERE deleted_at IS NOT NULL;

-- A run that belongs to one execution has its id for a name, and is of no use once that has ended.
CREATE INDEX record_runs_own ON record_runs (execution) WHERE function = execution;

-- What products are told of executions, and how fast connections' requests may go.

-- Whether the tenant's product is told when it ends: syncs, and actions that nobody waits for.
ALTER TABLE executions ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- Those that ended and were to be told of, kept by the step that ended them, until the notification is made.
CREATE TABLE endings (
  execution TEXT PRIMARY KEY
) WITHOUT ROWID;

-- A connection's pace, shared by all servers: until when its API lets nothing through, and from when on the next
-- requests under its rate limit may go.
CREATE TABLE paces (
  tenant       TEXT NOT NULL,
  integration  TEXT NOT NULL,
  connection   TEXT NOT NULL,
  paused_until INTEGER NOT NULL,
  next_us      INTEGER NOT NULL,       -- microseconds since 1970
  PRIMARY KEY (tenant, integration, connection),
  FOREIGN KEY (tenant, integration, connection) REFERENCES connections (tenant, integration, id) ON DELETE CASCADE
) WITHOUT ROWID;
