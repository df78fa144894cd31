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
