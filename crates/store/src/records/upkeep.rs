//! What happens to records besides what syncs do: removed for good after their time, sealed or opened when the tenant
//! changed its mind, forgotten with their connection. Each call does a bounded piece and says how much; calling again
//! with nothing left to do changes nothing.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use super::StreamKey;
use super::bodies::{Bodies, Kept, Place};
use crate::db::{Conn, Params, Row, StoreError, params};

/// A stream, as whoever keeps records in order sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub tenant: String,
    /// From which API.
    pub integration: String,
    /// Which model.
    pub model: String,
    /// Records, those marked as deleted too.
    pub records: u64,
    /// Of them: records marked as deleted.
    pub deleted: u64,
    /// Of them: with a sealed body.
    pub sealed: u64,
}

/// Streams that have records, by number after `after`: at most `limit`.
///
/// # Errors
/// When the database refuses.
pub fn streams(db: &Conn, after: i64, limit: usize) -> Result<Vec<StreamRow>, StoreError> {
    let sql =
        "SELECT id, tenant, integration, model, present + deleted, deleted, sealed FROM streams
               WHERE id > ?1 AND present + deleted > 0 ORDER BY id LIMIT ?2";
    db.all(sql, params![after, limit], |row| {
        let (records, deleted, sealed) = (row.get(4)?, row.get(5)?, row.get(6)?);
        let (id, tenant) = (row.get(0)?, row.get(1)?);
        let (integration, model) = (row.get(2)?, row.get(3)?);
        Ok(StreamRow { id, tenant, integration, model, records, deleted, sealed })
    })
}

/// Which records have had their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Those that last changed before this.
    pub unchanged_since: Option<Timestamp>,
    /// Those that were marked as deleted before this.
    pub deleted_before: Option<Timestamp>,
}

/// Removes records of a stream that have had their time for good: at most about `limit`; says how many.
///
/// Cursors grow as time does, so both looks begin at the oldest change and end at the first that is young enough: what
/// there is to keep is not gone through. A clock that was set back makes some stay for longer, none go early.
///
/// # Errors
/// When the database refuses.
pub fn remove_expired(
    tx: &Conn,
    stream: i64,
    expired: Expired,
    limit: usize,
) -> Result<usize, StoreError> {
    let mut removed = 0;
    for (before, which) in
        [(expired.deleted_before, "AND deleted_at IS NOT NULL"), (expired.unchanged_since, "")]
    {
        let Some(before) = before else { continue };
        let sql = format!(
            "DELETE FROM records WHERE stream = ?1 AND id IN (SELECT id FROM (
               SELECT id, modified_at FROM records WHERE stream = ?1 {which} ORDER BY cursor LIMIT ?3) AS oldest
             WHERE modified_at < ?2) RETURNING deleted_at IS NOT NULL, sealed IS NOT NULL"
        );
        removed += remove(tx, stream, &sql, params![stream, before.as_millis(), limit])?;
    }
    Ok(removed)
}

/// Removes the records of a connection for good: at most `limit`; says how many. The stream and its cursor stay,
/// so that a reader's cursor never means something else later.
///
/// # Errors
/// When the database refuses.
pub fn remove_connection_records(
    tx: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    connection: &ConnectionId,
    limit: usize,
) -> Result<usize, StoreError> {
    let sql = "SELECT id FROM streams WHERE tenant = ?1 AND integration = ?2 AND connection = ?3
               AND present + deleted > 0 ORDER BY id";
    let of = params![tenant.as_str(), integration.as_str(), connection.as_str()];
    let streams: Vec<i64> = tx.all(sql, of, |row| row.get(0))?;
    let mut removed = 0;
    for stream in streams {
        if removed == limit {
            break;
        }
        removed += remove_some(tx, stream, limit - removed)?;
    }
    Ok(removed)
}

/// Removes the records of one stream for good: at most `limit`; says how many.
///
/// # Errors
/// When the database refuses.
pub fn remove_sync_records(tx: &Conn, key: &StreamKey, limit: usize) -> Result<usize, StoreError> {
    super::read::stream(tx, key)?.map_or(Ok(0), |stream| remove_some(tx, stream, limit))
}

fn remove_some(tx: &Conn, stream: i64, limit: usize) -> Result<usize, StoreError> {
    let sql = "DELETE FROM records WHERE stream = ?1 AND id IN (SELECT id FROM records WHERE stream = ?1 LIMIT ?2)
               RETURNING deleted_at IS NOT NULL, sealed IS NOT NULL";
    remove(tx, stream, sql, params![stream, limit])
}

/// Runs a statement that removes records of a stream, and takes them from its counts.
fn remove(tx: &Conn, stream: i64, sql: &str, of: Params<'_>) -> Result<usize, StoreError> {
    lock(tx, stream)?;
    let gone: Vec<(bool, bool)> = tx.all(sql, of, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut change = Change::default();
    for &(deleted, sealed) in &gone {
        change.count(deleted, sealed, -1);
    }
    change.keep(tx, stream)?;
    Ok(gone.len())
}

/// Brings bodies of a stream into the form that `bodies` gives them now, which is sealed if `sealed`: at most `limit`;
/// says how many. To readers nothing has changed.
///
/// # Errors
/// When the database refuses, or a body does not open.
pub fn reseal(
    tx: &Conn,
    stream: i64,
    bodies: &dyn Bodies,
    sealed: bool,
    limit: usize,
) -> Result<usize, StoreError> {
    lock(tx, stream)?;
    let other = if sealed { "IS NULL" } else { "IS NOT NULL" };
    let sql = format!(
        "SELECT id, body, sealed FROM records WHERE stream = ?1 AND sealed {other} LIMIT ?2"
    );
    let found = |row: &Row<'_>| Ok((row.get::<String>(0)?, Kept::read(row, 1, 2)?));
    let mut changed = 0;
    for (id, kept) in tx.all(&sql, params![stream, limit], found)? {
        let place = Place { stream, id: &id };
        let body = kept.opened(bodies, place)?;
        let (hash, kept) = super::write::kept(bodies, place, &body)?;
        if kept.is_sealed() != sealed {
            continue;
        }
        let (text, secret) = kept.columns();
        let sql =
            "UPDATE records SET body = ?3, sealed = ?4, hash = ?5 WHERE stream = ?1 AND id = ?2";
        tx.execute(sql, params![stream, id.as_str(), text, secret, &hash])?;
        changed += 1;
    }
    let by = i64::try_from(changed).unwrap_or(i64::MAX);
    Change { sealed: if sealed { by } else { -by }, ..Change::default() }.keep(tx, stream)?;
    Ok(changed)
}

/// Forgets what runs remember that belonged to one execution each, once that has ended: at most `limit`; says how many.
///
/// # Errors
/// When the database refuses.
pub fn forget_ended_runs(tx: &Conn, limit: usize) -> Result<usize, StoreError> {
    let sql = "DELETE FROM record_runs WHERE (stream, function) IN (
                 SELECT r.stream, r.function FROM record_runs r LEFT JOIN executions e ON e.id = r.execution
                 WHERE r.function = r.execution
                   AND (e.id IS NULL OR e.state NOT IN ('queued', 'running', 'waiting')) LIMIT ?1)";
    tx.execute(sql, params![limit])
}

/// What syncs do to the stream meanwhile comes before or after.
fn lock(tx: &Conn, stream: i64) -> Result<(), StoreError> {
    let locked = tx.locking(" FOR UPDATE");
    if locked.is_empty() {
        return Ok(());
    }
    tx.one(&format!("SELECT 1 FROM streams WHERE id = ?1{locked}"), params![stream], |_| Ok(()))?;
    Ok(())
}

/// How a stream's counts change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) present: i64,
    pub(super) deleted: i64,
    pub(super) sealed: i64,
}

impl Change {
    /// A record comes (`by` is 1) or goes (-1).
    pub(super) const fn count(&mut self, deleted: bool, sealed: bool, by: i64) {
        if deleted {
            self.deleted += by;
        } else {
            self.present += by;
        }
        if sealed {
            self.sealed += by;
        }
    }

    fn keep(self, tx: &Conn, stream: i64) -> Result<(), StoreError> {
        let Self { present, deleted, sealed } = self;
        if (present, deleted, sealed) == (0, 0, 0) {
            return Ok(());
        }
        let sql = "UPDATE streams SET present = present + ?2, deleted = deleted + ?3, sealed = sealed + ?4
                   WHERE id = ?1";
        tx.execute(sql, params![stream, present, deleted, sealed])?;
        Ok(())
    }
}
