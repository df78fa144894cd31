-- What executions leave: records, logs, locks.

-- One stream per connection and model. Its two counters never go back.
CREATE TABLE streams (
  id          INTEGER PRIMARY KEY,
  tenant      TEXT NOT NULL,
  integration TEXT NOT NULL,
  connection  TEXT NOT NULL,
  model       TEXT NOT NULL,
  cursor      INTEGER NOT NULL DEFAULT 0, -- of the newest change
  clock       INTEGER NOT NULL DEFAULT 0, -- moves when a run begins: records keep when they were last seen
  UNIQUE (tenant, integration, connection, model)
);

CREATE TABLE records (
  stream        INTEGER NOT NULL REFERENCES streams (id),
  id            TEXT NOT NULL,
  body          TEXT NOT NULL,
  hash          BLOB NOT NULL,          -- of body: unchanged records are not written again
  cursor        INTEGER NOT NULL,       -- of its last change
  seen          INTEGER NOT NULL,       -- the stream's clock when it was last saved
  action        TEXT NOT NULL,          -- added, updated, deleted
  execution     TEXT NOT NULL,          -- who changed it last
  first_seen_at INTEGER NOT NULL,
  modified_at   INTEGER NOT NULL,
  deleted_at    INTEGER,
  PRIMARY KEY (stream, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX records_by_cursor ON records (stream, cursor);
CREATE INDEX records_unseen ON records (stream, seen) WHERE deleted_at IS NULL;

-- What a sync's run over a stream remembers, over all its attempts, and over executions while a checkpoint stands.
CREATE TABLE record_runs (
  stream    INTEGER NOT NULL REFERENCES streams (id),
  function  TEXT NOT NULL,              -- the sync's name
  execution TEXT NOT NULL,
  began     INTEGER NOT NULL,           -- the stream's clock
  tracking  INTEGER,                    -- the stream's clock at trackDeletesStart, while that is open
  keep_after INTEGER,                   -- merging: records that others changed after this cursor are left alone
  PRIMARY KEY (stream, function)
) WITHOUT ROWID;

CREATE TABLE logs (
  execution TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  attempt   INTEGER NOT NULL,
  level     TEXT NOT NULL,
  message   TEXT NOT NULL,
  PRIMARY KEY (execution, seq)
) WITHOUT ROWID;

CREATE TABLE locks (
  tenant     TEXT NOT NULL,
  key        TEXT NOT NULL,
  execution  TEXT NOT NULL,             -- its owner; a final execution owns nothing
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX locks_by_execution ON locks (execution);
