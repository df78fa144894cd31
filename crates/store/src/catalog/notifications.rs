//! What tenants' products are told, and where.

use bulkhead_types::{TenantId, Timestamp};

use crate::db::{Conn, Row, StoreError, params};
use crate::hot::news::News;
use crate::rows::{id_at, time_at};

/// Where a tenant's product listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRow {
    /// Where.
    pub url: String,
    /// JSON, read by the platform.
    pub events: String,
    /// Sealed.
    pub secret: Vec<u8>,
}

/// One thing that a product is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    /// Whose.
    pub tenant: TenantId,
    /// Its name; the same thing is told under the same name.
    pub id: String,
    /// What kind of thing.
    pub event: String,
    /// Sealed.
    pub body: Vec<u8>,
    /// `waiting`, `delivered`, `dead`.
    pub state: String,
    /// Deliveries that were tried.
    pub attempts: u32,
    /// When the next is due.
    pub due_at: Timestamp,
    /// Why the last one failed.
    pub failure: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "SELECT tenant, id, event, body, state, attempts, due_at, failure, created_at
    FROM notifications";

fn notification_row(row: &Row<'_>) -> Result<NotificationRow, StoreError> {
    Ok(NotificationRow {
        tenant: id_at(row, 0)?,
        id: row.get(1)?,
        event: row.get(2)?,
        body: row.get(3)?,
        state: row.get(4)?,
        attempts: row.get(5)?,
        due_at: time_at(row, 6)?,
        failure: row.get(7)?,
        created_at: time_at(row, 8)?,
    })
}

/// Sets where a tenant's product listens.
///
/// # Errors
/// When the database refuses, as for a tenant that does not exist.
pub fn put_target(tx: &Conn, tenant: &TenantId, row: &TargetRow) -> Result<(), StoreError> {
    tx.tell(&News::Catalog);
    let sql =
        "INSERT INTO notification_targets (tenant, url, events, secret) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (tenant) DO UPDATE SET url = excluded.url, events = excluded.events,
                 secret = excluded.secret";
    tx.execute(sql, params![tenant.as_str(), &row.url, &row.events, row.secret.as_slice()])?;
    Ok(())
}

/// Where a tenant's product listens.
///
/// # Errors
/// When the database refuses.
pub fn target(db: &Conn, tenant: &TenantId) -> Result<Option<TargetRow>, StoreError> {
    let sql = "SELECT url, events, secret FROM notification_targets WHERE tenant = ?1";
    db.one(sql, params![tenant.as_str()], |row| {
        Ok(TargetRow { url: row.get(0)?, events: row.get(1)?, secret: row.get(2)? })
    })
}

/// The tenant's product is told nothing more; says whether it was.
///
/// # Errors
/// When the database refuses.
pub fn remove_target(tx: &Conn, tenant: &TenantId) -> Result<bool, StoreError> {
    tx.tell(&News::Catalog);
    let sql = "DELETE FROM notification_targets WHERE tenant = ?1";
    Ok(tx.execute(sql, params![tenant.as_str()])? > 0)
}

/// Keeps something to tell, unless it is there already; says whether it was not.
///
/// # Errors
/// When the database refuses.
pub fn insert_notification(tx: &Conn, row: &NotificationRow) -> Result<bool, StoreError> {
    let sql = "INSERT INTO notifications (tenant, id, event, body, state, attempts, due_at, failure, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (tenant, id) DO NOTHING";
    let (due, created) = (row.due_at.as_millis(), row.created_at.as_millis());
    let columns = params![
        row.tenant.as_str(),
        &row.id,
        &row.event,
        row.body.as_slice(),
        &row.state,
        row.attempts,
        due,
        row.failure.as_deref(),
        created
    ];
    Ok(tx.execute(sql, columns)? > 0)
}

/// Whether anything is due.
///
/// # Errors
/// When the database refuses.
pub fn has_due_notifications(db: &Conn, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM notifications WHERE state = 'waiting' AND due_at <= ?1 LIMIT 1";
    Ok(db.one(sql, params![now.as_millis()], |row| row.get::<i64>(0))?.is_some())
}

/// Takes what is due, at most `limit`: nobody else takes it until `until`, and should its taker die, it is due again
/// then.
///
/// # Errors
/// When the database refuses.
pub fn take_due_notifications(
    tx: &Conn,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<NotificationRow>, StoreError> {
    let sql =
        format!("{COLUMNS} WHERE state = 'waiting' AND due_at <= ?1 ORDER BY due_at LIMIT ?2");
    let due = tx.all(&sql, params![now.as_millis(), limit], notification_row)?;
    let take = "UPDATE notifications SET due_at = ?4
                WHERE tenant = ?1 AND id = ?2 AND due_at = ?3 AND state = 'waiting'";
    let mut taken = Vec::with_capacity(due.len());
    for row in due {
        let (was, until) = (row.due_at.as_millis(), until.as_millis());
        if tx.execute(take, params![row.tenant.as_str(), &row.id, was, until])? > 0 {
            taken.push(row);
        }
    }
    Ok(taken)
}

/// Writes how a delivery ended: `row`'s state, attempts, due time and failure.
///
/// # Errors
/// When the database refuses.
pub fn update_notification(tx: &Conn, row: &NotificationRow) -> Result<bool, StoreError> {
    let sql = "UPDATE notifications SET state = ?3, attempts = ?4, due_at = ?5, failure = ?6
               WHERE tenant = ?1 AND id = ?2";
    let (tenant, due) = (row.tenant.as_str(), row.due_at.as_millis());
    let failure = row.failure.as_deref();
    Ok(tx.execute(sql, params![tenant, &row.id, &row.state, row.attempts, due, failure])? > 0)
}

/// One of a tenant's.
///
/// # Errors
/// When the database refuses.
pub fn notification(
    db: &Conn,
    tenant: &TenantId,
    id: &str,
) -> Result<Option<NotificationRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE tenant = ?1 AND id = ?2");
    db.one(&sql, params![tenant.as_str(), id], notification_row)
}

/// A tenant's in one state, by id, after `after`.
///
/// # Errors
/// When the database refuses.
pub fn notifications(
    db: &Conn,
    tenant: &TenantId,
    state: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<NotificationRow>, StoreError> {
    let sql =
        format!("{COLUMNS} WHERE tenant = ?1 AND state = ?2 AND id > ?3 ORDER BY id LIMIT ?4");
    db.all(&sql, params![tenant.as_str(), state, after, limit], notification_row)
}

/// Removes what was made before `before` and waits no more, at most `limit`; says how many.
///
/// # Errors
/// When the database refuses.
pub fn remove_old_notifications(
    tx: &Conn,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let sql = "DELETE FROM notifications WHERE (tenant, id) IN (
                 SELECT tenant, id FROM notifications WHERE created_at < ?1 AND state <> 'waiting' LIMIT ?2)";
    tx.execute(sql, params![before.as_millis(), limit])
}
