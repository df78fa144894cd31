//! Integrations.

use bulkhead_types::{IntegrationId, TenantId, Timestamp};

use crate::db::{Conn, Row, StoreError, params};
use crate::hot::news::News;
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
    /// Sealed: of our OAuth2 client.
    pub client_secret: Option<Vec<u8>>,
    /// Since when.
    pub created_at: Timestamp,
}

const COLUMNS: &str =
    "SELECT id, settings, webhook_secret, created_at, client_secret FROM integrations";

fn integration_row(row: &Row<'_>) -> Result<IntegrationRow, StoreError> {
    Ok(IntegrationRow {
        id: id_at(row, 0)?,
        settings: row.get(1)?,
        webhook_secret: row.get(2)?,
        created_at: time_at(row, 3)?,
        client_secret: row.get(4)?,
    })
}

/// Makes an integration, or changes its settings. Secrets that are `None` keep those there are.
///
/// # Errors
/// When the database refuses, as for a tenant that does not exist.
pub fn put_integration(
    tx: &Conn,
    tenant: &TenantId,
    row: &IntegrationRow,
) -> Result<(), StoreError> {
    tx.tell(&News::Catalog);
    let sql =
        "INSERT INTO integrations (tenant, id, settings, webhook_secret, created_at, client_secret)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (tenant, id) DO UPDATE SET settings = excluded.settings,
                 webhook_secret = coalesce(excluded.webhook_secret, integrations.webhook_secret),
                 client_secret = coalesce(excluded.client_secret, integrations.client_secret)";
    let (id, at) = (row.id.as_str(), row.created_at.as_millis());
    let (webhook, client) = (&row.webhook_secret, &row.client_secret);
    let columns = params![tenant.as_str(), id, &row.settings, webhook, at, client];
    tx.execute(sql, columns)?;
    Ok(())
}

/// One integration.
///
/// # Errors
/// When the database refuses.
pub fn integration(
    db: &Conn,
    tenant: &TenantId,
    id: &IntegrationId,
) -> Result<Option<IntegrationRow>, StoreError> {
    db.one(
        &format!("{COLUMNS} WHERE tenant = ?1 AND id = ?2"),
        params![tenant.as_str(), id.as_str()],
        integration_row,
    )
}

/// All integrations of a tenant, by id.
///
/// # Errors
/// When the database refuses.
pub fn integrations(db: &Conn, tenant: &TenantId) -> Result<Vec<IntegrationRow>, StoreError> {
    let rows = db.all(
        &format!("{COLUMNS} WHERE tenant = ?1 ORDER BY id"),
        params![tenant.as_str()],
        integration_row,
    )?;
    Ok(rows)
}

/// Removes an integration that has no connections; says whether there was one.
///
/// # Errors
/// When the database refuses, as while it has connections.
pub fn remove_integration(
    tx: &Conn,
    tenant: &TenantId,
    id: &IntegrationId,
) -> Result<bool, StoreError> {
    tx.tell(&News::Catalog);
    Ok(tx.execute(
        "DELETE FROM integrations WHERE tenant = ?1 AND id = ?2",
        params![tenant.as_str(), id.as_str()],
    )? > 0)
}
