//! Saving, updating and deleting.

use bulkhead_types::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::change::{Effect, Existing, deep_merge, on_delete, on_save};
use super::run::Run;
use crate::db::{Conn, Row, StoreError, from_json, params, to_json};

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// New, or back after a delete.
    pub added: u64,
    /// With other content.
    pub updated: u64,
    /// Left as they were.
    pub unchanged: u64,
    /// Marked as deleted.
    pub deleted: u64,
}

struct Found {
    body: String,
    hash: Vec<u8>,
    cursor: i64,
    deleted: bool,
    ours: bool,
}

impl Found {
    fn existing(&self) -> Existing<'_> {
        Existing { hash: &self.hash, cursor: self.cursor, deleted: self.deleted, ours: self.ours }
    }
}

/// One batch under way: the stream's counters are read once and written once.
struct Batch<'a> {
    tx: &'a Conn,
    run: &'a Run,
    now: Timestamp,
    cursor: i64,
    clock: i64,
    counts: Counts,
}

impl<'a> Batch<'a> {
    fn begin(tx: &'a Conn, run: &'a Run, now: Timestamp) -> Result<Self, StoreError> {
        // Locked, so that what others do to the stream meanwhile comes before or after the whole batch.
        let locked = tx.locking(" FOR UPDATE");
        let sql = &format!("SELECT cursor, clock FROM streams WHERE id = ?1{locked}");
        let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (cursor, clock) = tx.only(sql, params![run.stream], columns)?;
        Ok(Self { tx, run, now, cursor, clock, counts: Counts::default() })
    }

    fn end(self) -> Result<Counts, StoreError> {
        let sql = "UPDATE streams SET cursor = ?2 WHERE id = ?1 AND cursor <> ?2";
        self.tx.execute(sql, params![self.run.stream, self.cursor])?;
        Ok(self.counts)
    }

    fn find(&self, id: &str) -> Result<Option<Found>, StoreError> {
        let sql = "SELECT body, hash, cursor, deleted_at IS NOT NULL, execution = ?3 FROM records
                   WHERE stream = ?1 AND id = ?2";
        let found = |row: &Row<'_>| {
            let (deleted, ours) = (row.get(3)?, row.get(4)?);
            Ok(Found { body: row.get(0)?, hash: row.get(1)?, cursor: row.get(2)?, deleted, ours })
        };
        let columns = params![self.run.stream, id, self.run.execution.as_str()];
        self.tx.one(sql, columns, found)
    }

    fn write(
        &mut self,
        id: &str,
        body: &str,
        hash: &[u8],
        effect: Effect,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::Add => {
                self.counts.added += 1;
                self.put(id, body, hash, "added")
            }
            Effect::Update => {
                self.counts.updated += 1;
                self.put(id, body, hash, "updated")
            }
            Effect::Delete => {
                self.counts.deleted += 1;
                self.mark_deleted(id)
            }
            Effect::See => {
                self.counts.unchanged += 1;
                let sql =
                    "UPDATE records SET seen = ?3 WHERE stream = ?1 AND id = ?2 AND seen <> ?3";
                self.tx.execute(sql, params![self.run.stream, id, self.clock])?;
                Ok(())
            }
            Effect::Leave => {
                self.counts.unchanged += 1;
                Ok(())
            }
        }
    }

    fn put(&mut self, id: &str, body: &str, hash: &[u8], action: &str) -> Result<(), StoreError> {
        self.cursor += 1;
        let sql = "INSERT INTO records
                     (stream, id, body, hash, cursor, seen, action, execution, first_seen_at, modified_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
                   ON CONFLICT (stream, id) DO UPDATE SET body = excluded.body, hash = excluded.hash, cursor = excluded.cursor,
                     seen = excluded.seen, action = excluded.action, execution = excluded.execution,
                     modified_at = excluded.modified_at, deleted_at = NULL";
        let (run, execution, now) = (self.run, self.run.execution.as_str(), self.now.as_millis());
        let columns =
            params![run.stream, id, body, hash, self.cursor, self.clock, action, execution, now];
        self.tx.execute(sql, columns)?;
        Ok(())
    }

    fn mark_deleted(&mut self, id: &str) -> Result<(), StoreError> {
        self.cursor += 1;
        let sql =
            "UPDATE records SET cursor = ?3, action = 'deleted', execution = ?4, modified_at = ?5,
                     deleted_at = ?5 WHERE stream = ?1 AND id = ?2";
        let (execution, now) = (self.run.execution.as_str(), self.now.as_millis());
        self.tx.execute(sql, params![self.run.stream, id, self.cursor, execution, now])?;
        Ok(())
    }
}

/// The text that is kept, and what tells whether it changed. Keys are sorted, so their order does not matter.
fn content(record: &Value) -> Result<(String, Vec<u8>), StoreError> {
    let body = to_json("records", record)?;
    // Half of SHA-256: 128 bits, against accidents only. A tenant that finds a collision fools itself.
    let hash = Sha256::digest(body.as_bytes())[..16].to_vec();
    Ok((body, hash))
}

/// Saves records, each under its id.
///
/// # Errors
/// When the database refuses.
pub fn save(
    tx: &Conn,
    run: &Run,
    records: &[(String, Value)],
    now: Timestamp,
) -> Result<Counts, StoreError> {
    let mut batch = Batch::begin(tx, run, now)?;
    for (id, record) in records {
        let (body, hash) = content(record)?;
        let found = batch.find(id)?;
        let effect = on_save(found.as_ref().map(Found::existing), &hash, run.keep_after);
        batch.write(id, &body, &hash, effect)?;
    }
    batch.end()
}

/// Merges each patch into the record with its id; what is not there, or is deleted, is left alone.
///
/// # Errors
/// When the database refuses.
pub fn update(
    tx: &Conn,
    run: &Run,
    patches: Vec<(String, Value)>,
    now: Timestamp,
) -> Result<Counts, StoreError> {
    let mut batch = Batch::begin(tx, run, now)?;
    for (id, patch) in patches {
        let Some(found) = batch.find(&id)?.filter(|found| !found.deleted) else {
            batch.counts.unchanged += 1;
            continue;
        };
        let mut record: Value = from_json("records", &found.body)?;
        deep_merge(&mut record, patch);
        let (body, hash) = content(&record)?;
        let effect = on_save(Some(found.existing()), &hash, run.keep_after);
        batch.write(&id, &body, &hash, effect)?;
    }
    batch.end()
}

/// Marks records as deleted.
///
/// # Errors
/// When the database refuses.
pub fn delete(tx: &Conn, run: &Run, ids: &[String], now: Timestamp) -> Result<Counts, StoreError> {
    let mut batch = Batch::begin(tx, run, now)?;
    for id in ids {
        let found = batch.find(id)?;
        let effect = on_delete(found.as_ref().map(Found::existing), run.keep_after);
        batch.write(id, "", &[], effect)?;
    }
    batch.end()
}

/// Marks as deleted what was not seen since the stream's clock was `since`: at most `limit` records. Returns
/// their ids; as many as `limit` means that there may be more.
///
/// # Errors
/// When the database refuses.
pub fn delete_unseen(
    tx: &Conn,
    run: &Run,
    since: i64,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let sql =
        "SELECT id FROM records WHERE stream = ?1 AND seen < ?2 AND deleted_at IS NULL LIMIT ?3";
    let mut batch = Batch::begin(tx, run, now)?;
    let ids: Vec<String> = tx.all(sql, params![run.stream, since, limit], |row| row.get(0))?;
    for id in &ids {
        batch.write(id, "", &[], Effect::Delete)?;
    }
    batch.end()?;
    Ok(ids)
}
