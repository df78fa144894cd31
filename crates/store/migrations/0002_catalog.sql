-- What tenants deploy and set up. Times are milliseconds since the epoch; structured values are JSON; a BLOB is
-- sealed by the platform (AEAD) or a digest: the store never sees a secret.

CREATE TABLE tenants (
  id         TEXT PRIMARY KEY,
  settings   TEXT NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE keys (
  id         TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL REFERENCES tenants (id),
  label      TEXT NOT NULL,
  digest     BLOB NOT NULL UNIQUE,     -- SHA-256 of the secret
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_by_tenant ON keys (tenant, id);

CREATE TABLE variables (
  tenant TEXT NOT NULL REFERENCES tenants (id),
  name   TEXT NOT NULL,
  value  BLOB NOT NULL,                -- sealed
  PRIMARY KEY (tenant, name)
) WITHOUT ROWID;

CREATE TABLE versions (
  tenant     TEXT NOT NULL REFERENCES tenants (id),
  id         TEXT NOT NULL,
  spec       TEXT NOT NULL,
  bundle     TEXT NOT NULL,            -- SHA-256 of the file, its name in blob storage
  source_map TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE TABLE deployments (
  id         TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL REFERENCES tenants (id),
  changes    TEXT NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deployments_by_tenant ON deployments (tenant, id);

-- Everything that was live after a deployment: what a rollback makes live again.
CREATE TABLE deployed (
  deployment  TEXT NOT NULL REFERENCES deployments (id),
  integration TEXT NOT NULL,
  kind        TEXT NOT NULL,
  name        TEXT NOT NULL,
  version     TEXT NOT NULL,
  PRIMARY KEY (deployment, integration, kind, name)
) WITHOUT ROWID;

CREATE TABLE live (
  tenant      TEXT NOT NULL REFERENCES tenants (id),
  integration TEXT NOT NULL,
  kind        TEXT NOT NULL,
  name        TEXT NOT NULL,
  version     TEXT NOT NULL,
  since       INTEGER NOT NULL,
  PRIMARY KEY (tenant, integration, kind, name)
) WITHOUT ROWID;

CREATE TABLE integrations (
  tenant         TEXT NOT NULL REFERENCES tenants (id),
  id             TEXT NOT NULL,
  settings       TEXT NOT NULL,
  webhook_secret BLOB,                 -- sealed
  created_at     INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE TABLE connections (
  tenant      TEXT NOT NULL,
  integration TEXT NOT NULL,
  id          TEXT NOT NULL,
  credentials BLOB NOT NULL,           -- sealed
  metadata    TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  PRIMARY KEY (tenant, integration, id),
  FOREIGN KEY (tenant, integration) REFERENCES integrations (tenant, id)
) WITHOUT ROWID;
CREATE INDEX connections_by_id ON connections (tenant, id);
