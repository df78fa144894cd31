//! What was set for a sync of one connection.

use bulkhead_types::{ConnectionId, FunctionName, IntegrationId, TenantId};

use crate::db::{Conn, StoreError, params};
use crate::rows::id_at;

/// The frequencies set for an integration's syncs: sync, connection, frequency.
///
/// # Errors
/// When the database refuses.
pub fn frequencies(
    db: &Conn,
    tenant: &TenantId,
) -> Result<Vec<(IntegrationId, FunctionName, ConnectionId, String)>, StoreError> {
    let sql =
        "SELECT integration, name, connection, frequency FROM sync_settings WHERE tenant = ?1";
    let rows = db.all(sql, params![tenant.as_str()], |row| {
        Ok((id_at(row, 0)?, id_at(row, 1)?, id_at(row, 2)?, row.get(3)?))
    })?;
    Ok(rows)
}

/// Sets the frequency of a sync for one connection, or takes the setting back.
///
/// # Errors
/// When the database refuses.
pub fn put_frequency(
    tx: &Conn,
    tenant: &TenantId,
    (integration, name, connection): (&IntegrationId, &FunctionName, &ConnectionId),
    frequency: Option<&str>,
) -> Result<(), StoreError> {
    let (tenant, integration) = (tenant.as_str(), integration.as_str());
    let (name, connection) = (name.as_str(), connection.as_str());
    match frequency {
        Some(frequency) => {
            let sql = "INSERT INTO sync_settings (tenant, integration, name, connection, frequency)
                       VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, integration, name, connection) DO UPDATE SET frequency = excluded.frequency";
            tx.execute(sql, params![tenant, integration, name, connection, frequency])?;
        }
        None => {
            let sql = "DELETE FROM sync_settings
                       WHERE tenant = ?1 AND integration = ?2 AND name = ?3 AND connection = ?4";
            tx.execute(sql, params![tenant, integration, name, connection])?;
        }
    }
    Ok(())
}

/// Forgets what was set for the syncs of a connection.
///
/// # Errors
/// When the database refuses.
pub fn remove_frequencies_of(
    tx: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    connection: &ConnectionId,
) -> Result<(), StoreError> {
    let sql =
        "DELETE FROM sync_settings WHERE tenant = ?1 AND integration = ?2 AND connection = ?3";
    tx.execute(sql, params![tenant.as_str(), integration.as_str(), connection.as_str(),])?;
    Ok(())
}
