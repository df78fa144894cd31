//! Integrations.

use bulkhead_types::{IntegrationId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::StoreError;
use crate::rows::{id_at, time_at};

/// One integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationRow {
    /// Its name.
    pub id: IntegrationId,
    /// JSON, read by the platform.
    pub settings: String,
    /// Sealed.
    pub webhook_secret: Option<Vec<u8>>,
    /// Since when.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "SELECT id, settings, webhook_secret, created_at FROM integrations";

fn integration_row(row: &Row<'_>) -> rusqlite::Result<IntegrationRow> {
    Ok(IntegrationRow {
        id: id_at(row, 0)?,
        settings: row.get(1)?,
        webhook_secret: row.get(2)?,
        created_at: time_at(row, 3)?,
    })
}

/// Makes an integration, or changes its settings. A `webhook_secret` of `None` keeps the one there is.
///
/// # Errors
/// When the database refuses, as for a tenant that does not exist.
pub fn put_integration(
    tx: &Connection,
    tenant: &TenantId,
    row: &IntegrationRow,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO integrations (tenant, id, settings, webhook_secret, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (tenant, id) DO UPDATE SET settings = excluded.settings,
                 webhook_secret = coalesce(excluded.webhook_secret, webhook_secret)";
    let (id, at) = (row.id.as_str(), row.created_at.as_millis());
    let columns = params![tenant.as_str(), id, row.settings, row.webhook_secret, at];
    tx.prepare_cached(sql)?.execute(columns)?;
    Ok(())
}

/// One integration.
///
/// # Errors
/// When the database refuses.
pub fn integration(
    db: &Connection,
    tenant: &TenantId,
    id: &IntegrationId,
) -> Result<Option<IntegrationRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} WHERE tenant = ?1 AND id = ?2"))?;
    Ok(statement.query_row([tenant.as_str(), id.as_str()], integration_row).optional()?)
}

/// All integrations of a tenant, by id.
///
/// # Errors
/// When the database refuses.
pub fn integrations(db: &Connection, tenant: &TenantId) -> Result<Vec<IntegrationRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} WHERE tenant = ?1 ORDER BY id"))?;
    let rows = statement.query_map([tenant.as_str()], integration_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes an integration that has no connections; says whether there was one.
///
/// # Errors
/// When the database refuses, as while it has connections.
pub fn remove_integration(
    tx: &Connection,
    tenant: &TenantId,
    id: &IntegrationId,
) -> Result<bool, StoreError> {
    let mut statement =
        tx.prepare_cached("DELETE FROM integrations WHERE tenant = ?1 AND id = ?2")?;
    Ok(statement.execute([tenant.as_str(), id.as_str()])? > 0)
}
