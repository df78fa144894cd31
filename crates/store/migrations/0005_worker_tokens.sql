-- What workers on other machines join with. The store never sees a token, only its digest.

CREATE TABLE worker_tokens (
  id         TEXT PRIMARY KEY,         -- stands in the token itself, so that it is found by name and compared by digest
  label      TEXT NOT NULL,
  digest     BLOB NOT NULL,            -- SHA-256 of the token
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
