//! What was set for a sync of one connection.

use bulkhead_types::{ConnectionId, FunctionName, IntegrationId, TenantId};
use rusqlite::{Connection, params};

use crate::db::StoreError;
use crate::rows::id_at;

/// The frequencies set for an integration's syncs: sync, connection, frequency.
///
/// # Errors
/// When the database refuses.
pub fn frequencies(
    db: &Connection,
    tenant: &TenantId,
) -> Result<Vec<(IntegrationId, FunctionName, ConnectionId, String)>, StoreError> {
    let sql =
        "SELECT integration, name, connection, frequency FROM sync_settings WHERE tenant = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([tenant.as_str()], |row| {
        Ok((id_at(row, 0)?, id_at(row, 1)?, id_at(row, 2)?, row.get(3)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets the frequency of a sync for one connection, or takes the setting back.
///
/// # Errors
/// When the database refuses.
pub fn put_frequency(
    tx: &Connection,
    tenant: &TenantId,
    (integration, name, connection): (&IntegrationId, &FunctionName, &ConnectionId),
    frequency: Option<&str>,
) -> Result<(), StoreError> {
    let (tenant, integration) = (tenant.as_str(), integration.as_str());
    let (name, connection) = (name.as_str(), connection.as_str());
    match frequency {
        Some(frequency) => {
            let sql = "INSERT INTO sync_settings (tenant, integration, name, connection, frequency)
                       VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET frequency = excluded.frequency";
            tx.prepare_cached(sql)?.execute(params![
                tenant,
                integration,
                name,
                connection,
                frequency
            ])?;
        }
        None => {
            let sql = "DELETE FROM sync_settings
                       WHERE tenant = ?1 AND integration = ?2 AND name = ?3 AND connection = ?4";
            tx.prepare_cached(sql)?.execute([tenant, integration, name, connection])?;
        }
    }
    Ok(())
}

/// Forgets what was set for the syncs of a connection.
///
/// # Errors
/// When the database refuses.
pub fn remove_frequencies_of(
    tx: &Connection,
    tenant: &TenantId,
    integration: &IntegrationId,
    connection: &ConnectionId,
) -> Result<(), StoreError> {
    let sql =
        "DELETE FROM sync_settings WHERE tenant = ?1 AND integration = ?2 AND connection = ?3";
    tx.prepare_cached(sql)?.execute([
        tenant.as_str(),
        integration.as_str(),
        connection.as_str(),
    ])?;
    Ok(())
}
