//! Reading records.

use std::ops::ControlFlow;

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use super::StreamKey;
use super::bodies::{Bodies, Kept, Place};
use crate::db::{Conn, Dialect, Row, StoreError, params};
use crate::rows::{time_at, time_or_none_at};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its id.
    pub id: String,
    /// JSON, opened if it was kept sealed.
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

/// Where a page begins, and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageOf {
    /// Changes after this cursor.
    pub after: i64,
    /// At most so many records.
    pub limit: usize,
    /// At most about so many bytes of bodies, but at least one record if there is one.
    pub bytes_max: usize,
}

const COLUMNS: &str =
    "SELECT id, body, cursor, action, first_seen_at, modified_at, deleted_at, sealed FROM records";

fn record_row(row: &Row<'_>, stream: i64, bodies: &dyn Bodies) -> Result<RecordRow, StoreError> {
    let id: String = row.get(0)?;
    let body = Kept::read(row, 1, 7)?.opened(bodies, Place { stream, id: &id })?;
    Ok(RecordRow {
        id,
        body,
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

/// Records in the order of their changes, and whether there are more.
///
/// # Errors
/// When the database refuses, or a body does not open.
pub fn since(
    db: &Conn,
    key: &StreamKey,
    bodies: &dyn Bodies,
    filter: &Filter,
    of: PageOf,
) -> Result<(Vec<RecordRow>, bool), StoreError> {
    let PageOf { after, limit, bytes_max } = of;
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
    let columns = params![stream, after, modified_after, &actions, limit + 1];
    db.each(&sql, columns, |row| {
        let record = record_row(row, stream, bodies)?;
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
/// When the database refuses, or a body does not open.
pub fn by_ids(
    db: &Conn,
    key: &StreamKey,
    bodies: &dyn Bodies,
    ids: &[String],
) -> Result<Vec<RecordRow>, StoreError> {
    let Some(stream) = stream(db, key)? else { return Ok(Vec::new()) };
    let sql = format!("{COLUMNS} WHERE stream = ?1 AND id = ?2");
    let mut found = Vec::new();
    for id in ids {
        found.extend(db.one(&sql, params![stream, id], |row| record_row(row, stream, bodies))?);
    }
    Ok(found)
}

/// How many records a stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCounts {
    /// From which API.
    pub integration: String,
    /// Which model.
    pub model: String,
    /// Records that are there.
    pub present: u64,
    /// Records marked as deleted that are still kept.
    pub deleted: u64,
    /// Of the newest change.
    pub cursor: i64,
}

/// The streams of a connection, by model: counted as they change, so reading them costs nothing more than this. At
/// most `limit`.
///
/// # Errors
/// When the database refuses.
pub fn stream_counts(
    db: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    connection: &ConnectionId,
    limit: usize,
) -> Result<Vec<StreamCounts>, StoreError> {
    let sql = "SELECT integration, model, present, deleted, cursor FROM streams
               WHERE tenant = ?1 AND integration = ?2 AND connection = ?3 ORDER BY model LIMIT ?4";
    let of = params![tenant.as_str(), integration.as_str(), connection.as_str(), limit];
    db.all(sql, of, |row| {
        Ok(StreamCounts {
            integration: row.get(0)?,
            model: row.get(1)?,
            present: row.get(2)?,
            deleted: row.get(3)?,
            cursor: row.get(4)?,
        })
    })
}
