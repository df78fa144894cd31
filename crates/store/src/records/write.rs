//! Saving, updating and deleting.

use bulkhead_types::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bodies::{Bodies, Kept, Place};
use super::change::{Effect, Existing, deep_merge, on_delete, on_save};
use super::run::Run;
use super::upkeep::Change;
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
    /// Opened if that was asked for; a sealed one has no other use than to be looked into.
    body: String,
    hash: Vec<u8>,
    cursor: i64,
    deleted: bool,
    sealed: bool,
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
    change: Change,
}

impl<'a> Batch<'a> {
    fn begin(tx: &'a Conn, run: &'a Run, now: Timestamp) -> Result<Self, StoreError> {
        // Locked, so that what others do to the stream meanwhile comes before or after the whole batch.
        let locked = tx.locking(" FOR UPDATE");
        let sql = &format!("SELECT cursor, clock FROM streams WHERE id = ?1{locked}");
        let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (cursor, clock) = tx.only(sql, params![run.stream], columns)?;
        let (counts, change) = (Counts::default(), Change::default());
        Ok(Self { tx, run, now, cursor, clock, counts, change })
    }

    fn end(self) -> Result<Counts, StoreError> {
        let Change { present, deleted, sealed } = self.change;
        let sql = "UPDATE streams SET cursor = ?2, present = present + ?3, deleted = deleted + ?4,
                     sealed = sealed + ?5 WHERE id = ?1 AND cursor <> ?2";
        // What changes a count is a change, and takes a cursor.
        self.tx.execute(sql, params![self.run.stream, self.cursor, present, deleted, sealed])?;
        Ok(self.counts)
    }

    fn place<'b>(&self, id: &'b str) -> Place<'b> {
        Place { stream: self.run.stream, id }
    }

    /// What there is under an id, its body opened.
    fn find(&self, bodies: &dyn Bodies, id: &str) -> Result<Option<Found>, StoreError> {
        let columns = |row: &Row<'_>| Ok((Kept::read(row, 5, 6)?, found(row)?));
        let Some((kept, mut found)) = self.look("body, sealed", id, columns)? else {
            return Ok(None);
        };
        let sealed = kept.is_sealed();
        found.body = kept.opened(bodies, self.place(id))?;
        if sealed {
            found.hash = hash_of(&found.body);
        }
        Ok(Some(found))
    }

    /// What there is under an id, without its body.
    fn find_bare(&self, id: &str) -> Result<Option<Found>, StoreError> {
        self.look("NULL", id, found)
    }

    fn look<T>(
        &self,
        more: &str,
        id: &str,
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let sql = format!(
            "SELECT hash, cursor, deleted_at IS NOT NULL, sealed IS NOT NULL, execution = ?3, {more} FROM records
             WHERE stream = ?1 AND id = ?2"
        );
        self.tx.one(&sql, params![self.run.stream, id, self.run.execution.as_str()], read)
    }

    /// Does what was decided about a record that was found so; `kept` is what is to be written, if anything is.
    fn write(
        &mut self,
        id: &str,
        before: Option<&Found>,
        effect: Effect,
        kept: Option<&(Vec<u8>, Kept)>,
    ) -> Result<(), StoreError> {
        match (effect, kept) {
            (Effect::Add, Some(kept)) => {
                self.counts.added += 1;
                self.put(id, before, kept, "added")
            }
            (Effect::Update, Some(kept)) => {
                self.counts.updated += 1;
                self.put(id, before, kept, "updated")
            }
            (Effect::Delete, _) => {
                self.counts.deleted += 1;
                self.mark_deleted(id)
            }
            (Effect::See, _) => {
                self.counts.unchanged += 1;
                let sql =
                    "UPDATE records SET seen = ?3 WHERE stream = ?1 AND id = ?2 AND seen <> ?3";
                self.tx.execute(sql, params![self.run.stream, id, self.clock])?;
                Ok(())
            }
            (Effect::Leave | Effect::Add | Effect::Update, _) => {
                self.counts.unchanged += 1;
                Ok(())
            }
        }
    }

    fn put(
        &mut self,
        id: &str,
        before: Option<&Found>,
        (hash, kept): &(Vec<u8>, Kept),
        action: &str,
    ) -> Result<(), StoreError> {
        self.cursor += 1;
        if let Some(before) = before {
            self.change.count(before.deleted, before.sealed, -1);
        }
        self.change.count(false, kept.is_sealed(), 1);
        let sql = "INSERT INTO records
                     (stream, id, body, hash, cursor, seen, action, execution, first_seen_at, modified_at, sealed)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)
                   ON CONFLICT (stream, id) DO UPDATE SET body = excluded.body, hash = excluded.hash, cursor = excluded.cursor,
                     seen = excluded.seen, action = excluded.action, execution = excluded.execution,
                     modified_at = excluded.modified_at, deleted_at = NULL, sealed = excluded.sealed";
        let (run, execution, now) = (self.run, self.run.execution.as_str(), self.now.as_millis());
        let (body, sealed) = kept.columns();
        let columns = params![
            run.stream,
            id,
            body,
            hash,
            self.cursor,
            self.clock,
            action,
            execution,
            now,
            sealed
        ];
        self.tx.execute(sql, columns)?;
        Ok(())
    }

    /// Marks one that is there.
    fn mark_deleted(&mut self, id: &str) -> Result<(), StoreError> {
        self.cursor += 1;
        self.change.present -= 1;
        self.change.deleted += 1;
        let sql =
            "UPDATE records SET cursor = ?3, action = 'deleted', execution = ?4, modified_at = ?5,
                     deleted_at = ?5 WHERE stream = ?1 AND id = ?2";
        let (execution, now) = (self.run.execution.as_str(), self.now.as_millis());
        self.tx.execute(sql, params![self.run.stream, id, self.cursor, execution, now])?;
        Ok(())
    }
}

fn found(row: &Row<'_>) -> Result<Found, StoreError> {
    let (deleted, sealed, ours) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (hash, cursor) = (row.get(0)?, row.get(1)?);
    Ok(Found { body: String::new(), hash, cursor, deleted, sealed, ours })
}

/// What tells whether a body changed. Keys are sorted, so their order does not matter.
fn hash_of(body: &str) -> Vec<u8> {
    // Half of SHA-256: 128 bits, against accidents only. A tenant that finds a collision fools itself.
    Sha256::digest(body.as_bytes())[..16].to_vec()
}

/// A body as it is kept, and the hash beside it. Beside a sealed body there is none: it would tell whoever reads the
/// database, and can guess at the content, whether the guess is right.
pub(super) fn kept(
    bodies: &dyn Bodies,
    place: Place<'_>,
    body: &str,
) -> Result<(Vec<u8>, Kept), StoreError> {
    let kept = Kept::of(bodies, place, body)?;
    Ok((if kept.is_sealed() { Vec::new() } else { hash_of(body) }, kept))
}

impl Batch<'_> {
    /// Saves one record, found so, with this content.
    fn save(
        &mut self,
        bodies: &dyn Bodies,
        id: &str,
        before: Option<&Found>,
        record: &Value,
    ) -> Result<(), StoreError> {
        let body = to_json("records", record)?;
        let effect = on_save(before.map(Found::existing), &hash_of(&body), self.run.keep_after);
        let writes = matches!(effect, Effect::Add | Effect::Update);
        let kept = writes.then(|| kept(bodies, self.place(id), &body)).transpose()?;
        self.write(id, before, effect, kept.as_ref())
    }
}

/// Saves records, each under its id.
///
/// # Errors
/// When the database refuses, or a body can't be sealed or opened.
pub fn save(
    tx: &Conn,
    run: &Run,
    bodies: &dyn Bodies,
    records: &[(String, Value)],
    now: Timestamp,
) -> Result<Counts, StoreError> {
    let mut batch = Batch::begin(tx, run, now)?;
    for (id, record) in records {
        let mut before = batch.find_bare(id)?;
        if before.as_ref().is_some_and(|before| before.sealed) {
            before = batch.find(bodies, id)?;
        }
        batch.save(bodies, id, before.as_ref(), record)?;
    }
    batch.end()
}

/// Merges each patch into the record with its id; what is not there, or is deleted, is left alone.
///
/// # Errors
/// When the database refuses, or a body can't be sealed or opened.
pub fn update(
    tx: &Conn,
    run: &Run,
    bodies: &dyn Bodies,
    patches: Vec<(String, Value)>,
    now: Timestamp,
) -> Result<Counts, StoreError> {
    let mut batch = Batch::begin(tx, run, now)?;
    for (id, patch) in patches {
        let Some(found) = batch.find(bodies, &id)?.filter(|found| !found.deleted) else {
            batch.counts.unchanged += 1;
            continue;
        };
        let mut record: Value = from_json("records", &found.body)?;
        deep_merge(&mut record, patch);
        batch.save(bodies, &id, Some(&found), &record)?;
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
        let found = batch.find_bare(id)?;
        let effect = on_delete(found.as_ref().map(Found::existing), run.keep_after);
        batch.write(id, found.as_ref(), effect, None)?;
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
        batch.write(id, None, Effect::Delete, None)?;
    }
    batch.end()?;
    Ok(ids)
}
