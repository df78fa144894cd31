//! Connections.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::StoreError;
use crate::rows::{id_at, time_at};

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// To which integration.
    pub integration: IntegrationId,
    /// Its name there.
    pub id: ConnectionId,
    /// Sealed.
    pub credentials: Vec<u8>,
    /// JSON object.
    pub metadata: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const COLUMNS: &str =
    "SELECT integration, id, credentials, metadata, created_at, updated_at FROM connections";

fn connection_row(row: &Row<'_>) -> rusqlite::Result<ConnectionRow> {
    Ok(ConnectionRow {
        integration: id_at(row, 0)?,
        id: id_at(row, 1)?,
        credentials: row.get(2)?,
        metadata: row.get(3)?,
        created_at: time_at(row, 4)?,
        updated_at: time_at(row, 5)?,
    })
}

/// Makes a connection, or replaces it; says whether it is new.
///
/// # Errors
/// When the database refuses, as for an integration that does not exist.
pub fn put_connection(
    tx: &Connection,
    tenant: &TenantId,
    row: &ConnectionRow,
) -> Result<bool, StoreError> {
    let new = connection(tx, tenant, &row.integration, &row.id)?.is_none();
    let sql = "INSERT INTO connections (tenant, integration, id, credentials, metadata, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (tenant, integration, id) DO UPDATE SET credentials = excluded.credentials,
                 metadata = excluded.metadata, updated_at = excluded.updated_at";
    let (integration, id) = (row.integration.as_str(), row.id.as_str());
    let (created, updated) = (row.created_at.as_millis(), row.updated_at.as_millis());
    let columns =
        params![tenant.as_str(), integration, id, row.credentials, row.metadata, created, updated];
    tx.prepare_cached(sql)?.execute(columns)?;
    Ok(new)
}

/// Changes credentials, metadata or both of a connection that is there.
///
/// # Errors
/// When the database refuses.
pub fn update_connection(
    tx: &Connection,
    tenant: &TenantId,
    (integration, id): (&IntegrationId, &ConnectionId),
    credentials: Option<&[u8]>,
    metadata: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE connections SET credentials = coalesce(?4, credentials), metadata = coalesce(?5, metadata),
               updated_at = ?6 WHERE tenant = ?1 AND integration = ?2 AND id = ?3";
    let (tenant, integration, id) = (tenant.as_str(), integration.as_str(), id.as_str());
    let columns = params![tenant, integration, id, credentials, metadata, now.as_millis()];
    Ok(tx.prepare_cached(sql)?.execute(columns)? > 0)
}

/// One connection.
///
/// # Errors
/// When the database refuses.
pub fn connection(
    db: &Connection,
    tenant: &TenantId,
    integration: &IntegrationId,
    id: &ConnectionId,
) -> Result<Option<ConnectionRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE tenant = ?1 AND integration = ?2 AND id = ?3");
    let columns = [tenant.as_str(), integration.as_str(), id.as_str()];
    Ok(db.prepare_cached(&sql)?.query_row(columns, connection_row).optional()?)
}

/// The connections that `integration` (all of them without) has under `id`: at most `limit`.
///
/// # Errors
/// When the database refuses.
pub fn connections_matching(
    db: &Connection,
    tenant: &TenantId,
    integration: Option<&IntegrationId>,
    id: &ConnectionId,
    limit: usize,
) -> Result<Vec<ConnectionRow>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE tenant = ?1 AND id = ?2 AND (?3 IS NULL OR integration = ?3) LIMIT ?4"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let integration = integration.map(IntegrationId::as_str);
    let rows = statement
        .query_map(params![tenant.as_str(), id.as_str(), integration, limit], connection_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The connection whose metadata has `value`, as text, in its field `field`; the first by id if there are several.
///
/// # Errors
/// When the database refuses.
pub fn connection_with(
    db: &Connection,
    tenant: &TenantId,
    integration: &IntegrationId,
    field: &str,
    value: &str,
) -> Result<Option<ConnectionId>, StoreError> {
    let sql = "SELECT c.id FROM connections c, json_each(c.metadata) m
               WHERE c.tenant = ?1 AND c.integration = ?2 AND m.key = ?3 AND CAST(m.value AS TEXT) = ?4
               ORDER BY c.id LIMIT 1";
    let columns = [tenant.as_str(), integration.as_str(), field, value];
    Ok(db.prepare_cached(sql)?.query_row(columns, |row| id_at(row, 0)).optional()?)
}

/// Connections by integration and id, after `after`.
///
/// # Errors
/// When the database refuses.
pub fn connections(
    db: &Connection,
    tenant: &TenantId,
    integration: Option<&IntegrationId>,
    after: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<ConnectionRow>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE tenant = ?1 AND (?2 IS NULL OR integration = ?2) AND (integration, id) > (?3, ?4)
         ORDER BY integration, id LIMIT ?5"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let (after_integration, after_id) = after.unwrap_or(("", ""));
    let integration = integration.map(IntegrationId::as_str);
    let columns = params![tenant.as_str(), integration, after_integration, after_id, limit];
    let rows = statement.query_map(columns, connection_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes a connection; says whether there was one.
///
/// # Errors
/// When the database refuses.
pub fn remove_connection(
    tx: &Connection,
    tenant: &TenantId,
    integration: &IntegrationId,
    id: &ConnectionId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM connections WHERE tenant = ?1 AND integration = ?2 AND id = ?3";
    let columns = [tenant.as_str(), integration.as_str(), id.as_str()];
    Ok(tx.prepare_cached(sql)?.execute(columns)? > 0)
}
