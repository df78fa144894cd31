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
