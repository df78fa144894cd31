-- The wall that an attempt ran behind; null for attempts of before, and for those that reached none.
ALTER TABLE attempts ADD COLUMN wall TEXT;

-- Connections that are made on the connect page, credentials that are renewed, and what products are told.

ALTER TABLE integrations ADD COLUMN client_secret BLOB; -- sealed

ALTER TABLE connections ADD COLUMN config TEXT NOT NULL DEFAULT '{}';
ALTER TABLE connections ADD COLUMN failure TEXT; -- JSON: why credentials could not be renewed
-- Who renews the credentials, and until when nobody else does.
ALTER TABLE connections ADD COLUMN renewer TEXT;
ALTER TABLE connections ADD COLUMN renewing_until INTEGER NOT NULL DEFAULT 0;

CREATE TABLE connect_sessions (
  token       TEXT PRIMARY KEY,        -- SHA-256 of what the URL has
  tenant      TEXT NOT NULL,
  integration TEXT NOT NULL,
  connection  TEXT NOT NULL,
  settings    TEXT NOT NULL,
  state       TEXT,                    -- SHA-256 of what the provider gives back
  verifier    BLOB,                    -- sealed: the proof key, and what the browser has to show
  expires_at  INTEGER NOT NULL,
  FOREIGN KEY (tenant, integration) REFERENCES integrations (tenant, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE UNIQUE INDEX connect_sessions_by_state ON connect_sessions (state);
CREATE INDEX connect_sessions_by_expiry ON connect_sessions (expires_at);

-- Where a tenant's product hears what happened.
CREATE TABLE notification_targets (
  tenant TEXT PRIMARY KEY REFERENCES tenants (id),
  url    TEXT NOT NULL,
  events TEXT NOT NULL,                -- JSON: which; empty is all
  secret BLOB NOT NULL                 -- sealed
) WITHOUT ROWID;

-- What it is told. Delivered ones are kept for a while, dead ones until somebody repeats or the time is over.
CREATE TABLE notifications (
  tenant     TEXT NOT NULL REFERENCES tenants (id),
  id         TEXT NOT NULL,
  event      TEXT NOT NULL,
  body       BLOB NOT NULL,            -- sealed: what providers send may have secrets in it
  state      TEXT NOT NULL,            -- waiting, delivered, dead
  attempts   INTEGER NOT NULL,
  due_at     INTEGER NOT NULL,
  failure    TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX notifications_due ON notifications (due_at) WHERE state = 'waiting';
CREATE INDEX notifications_by_state ON notifications (tenant, state, id);
CREATE INDEX notifications_by_age ON notifications (created_at);
