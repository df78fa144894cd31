-- What was set for a sync of one connection, over what its author declared.
CREATE TABLE sync_settings (
  tenant      TEXT NOT NULL REFERENCES tenants (id),
  integration TEXT NOT NULL,
  name        TEXT NOT NULL,
  connection  TEXT NOT NULL,
  frequency   TEXT NOT NULL,
  PRIMARY KEY (tenant, integration, name, connection)
) WITHOUT ROWID;
