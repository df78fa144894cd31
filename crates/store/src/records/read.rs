//! Reading records.

use std::ops::ControlFlow;

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use super::StreamKey;
use crate::db::{Conn, Dialect, Row, StoreError, params};
use crate::rows::{time_at, time_or_none_at};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its id.
    pub id: String,
    /// JSON.
    pub body: String,
    /// Of its last change.
    pub cursor: i64,
    /// `added`, `updated`, `deleted`.
    pub action: String,
    /// When it was first saved.
    pub first_seen_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
}

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// With one of these last actions; empty is all.
    pub actions: Vec<String>,
    /// Changed after this.
    pub modified_after: Option<Timestamp>,
}

const COLUMNS: &str =
    "SELECT id, body, cursor, action, first_seen_at, modified_at, deleted_at FROM records";

fn record_row(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    Ok(RecordRow {
        id: row.get(0)?,
        body: row.get(1)?,
        cursor: row.get(2)?,
        action: row.get(3)?,
        first_seen_at: time_at(row, 4)?,
        modified_at: time_at(row, 5)?,
        deleted_at: time_or_none_at(row, 6)?,
    })
}

pub(super) fn stream(db: &Conn, key: &StreamKey) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT id FROM streams WHERE tenant = ?1 AND integration = ?2 AND connection = ?3 AND model = ?4";
    let columns = params![
        key.tenant.as_str(),
        key.integration.as_str(),
        key.connection.as_str(),
        key.model.as_str(),
    ];
    db.one(sql, columns, |row| row.get(0))
}

/// Records that changed after `cursor`, in the order of their changes: at most `limit`, and at most about
/// `bytes_max` of bodies, but at least one if there is one; and whether there are more.
///
/// # Errors
/// When the database refuses.
pub fn since(
    db: &Conn,
    key: &StreamKey,
    cursor: i64,
    filter: &Filter,
    limit: usize,
    bytes_max: usize,
) -> Result<(Vec<RecordRow>, bool), StoreError> {
    let Some(stream) = stream(db, key)? else { return Ok((Vec::new(), false)) };
    let wanted = match db.dialect() {
        Dialect::Sqlite => "SELECT value FROM json_each(?4)",
        Dialect::Postgres => "SELECT json_array_elements_text(CAST(?4 AS JSON))",
    };
    let sql = format!(
        "{COLUMNS} WHERE stream = ?1 AND cursor > ?2 AND modified_at > ?3
         AND (CAST(?4 AS TEXT) = '[]' OR action IN ({wanted})) ORDER BY cursor LIMIT ?5"
    );
    let actions = crate::db::to_json("records", &filter.actions)?;
    let modified_after = filter.modified_after.map_or(i64::MIN, Timestamp::as_millis);
    let (mut page, mut more) = (Vec::new(), false);
    let mut bytes = 0_usize;
    let columns = params![stream, cursor, modified_after, &actions, limit + 1];
    db.each(&sql, columns, |row| {
        let record = record_row(row)?;
        bytes = bytes.saturating_add(record.body.len());
        if page.len() == limit || (bytes > bytes_max && !page.is_empty()) {
            more = true;
            return Ok(ControlFlow::Break(()));
        }
        page.push(record);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((page, more))
}

/// The records with these ids that are there; deleted ones too.
///
/// # Errors
/// When the database refuses.
pub fn by_ids(db: &Conn, key: &StreamKey, ids: &[String]) -> Result<Vec<RecordRow>, StoreError> {
    let Some(stream) = stream(db, key)? else { return Ok(Vec::new()) };
    let sql = format!("{COLUMNS} WHERE stream = ?1 AND id = ?2");
    let mut found = Vec::new();
    for id in ids {
        found.extend(db.one(&sql, params![stream, id], record_row)?);
    }
    Ok(found)
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
    let sql = "DELETE FROM records WHERE (stream, id) IN (
                 SELECT r.stream, r.id FROM streams s JOIN records r ON r.stream = s.id
                 WHERE s.tenant = ?1 AND s.integration = ?2 AND s.connection = ?3 LIMIT ?4)";
    let (tenant, integration, connection) =
        (tenant.as_str(), integration.as_str(), connection.as_str());
    tx.execute(sql, params![tenant, integration, connection, limit])
}

/// Removes the records of one stream for good: at most `limit`; says how many.
///
/// # Errors
/// When the database refuses.
pub fn remove_sync_records(tx: &Conn, key: &StreamKey, limit: usize) -> Result<usize, StoreError> {
    let Some(stream) = stream(tx, key)? else { return Ok(0) };
    let sql = "DELETE FROM records WHERE stream = ?1 AND id IN (SELECT id FROM records WHERE stream = ?1 LIMIT ?2)";
    tx.execute(sql, params![stream, limit])
}
