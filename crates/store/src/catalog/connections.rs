//! Connections.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use crate::db::{Conn, Dialect, Row, StoreError, params};
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
    /// JSON object: values of the variables in the integration's URLs.
    pub config: String,
    /// JSON: why the credentials could not be renewed.
    pub failure: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const COLUMNS: &str =
    "SELECT integration, id, credentials, metadata, created_at, updated_at, config, failure
    FROM connections";

fn connection_row(row: &Row<'_>) -> Result<ConnectionRow, StoreError> {
    Ok(ConnectionRow {
        integration: id_at(row, 0)?,
        id: id_at(row, 1)?,
        credentials: row.get(2)?,
        metadata: row.get(3)?,
        created_at: time_at(row, 4)?,
        updated_at: time_at(row, 5)?,
        config: row.get(6)?,
        failure: row.get(7)?,
    })
}

/// Makes a connection, or replaces it; says whether it is new.
///
/// # Errors
/// When the database refuses, as for an integration that does not exist.
pub fn put_connection(
    tx: &Conn,
    tenant: &TenantId,
    row: &ConnectionRow,
) -> Result<bool, StoreError> {
    let insert = "INSERT INTO connections (tenant, integration, id, credentials, metadata, created_at, updated_at,
                    config)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (tenant, integration, id) DO NOTHING";
    let (integration, id) = (row.integration.as_str(), row.id.as_str());
    let (created, updated) = (row.created_at.as_millis(), row.updated_at.as_millis());
    let columns = params![
        tenant.as_str(),
        integration,
        id,
        &row.credentials,
        &row.metadata,
        created,
        updated,
        &row.config
    ];
    let new = tx.execute(insert, columns)? > 0;
    if !new {
        let name = (&row.integration, &row.id);
        let (credentials, metadata) =
            (Some(row.credentials.as_slice()), Some(row.metadata.as_str()));
        update_connection(tx, tenant, name, credentials, metadata, row.updated_at)?;
        let sql =
            "UPDATE connections SET config = ?4 WHERE tenant = ?1 AND integration = ?2 AND id = ?3";
        tx.execute(sql, params![tenant.as_str(), integration, id, &row.config])?;
    }
    Ok(new)
}

/// Changes credentials, metadata or both of a connection that is there. New credentials have not failed yet, and
/// whoever was about to renew the old ones comes too late.
///
/// # Errors
/// When the database refuses.
pub fn update_connection(
    tx: &Conn,
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
    let found = tx.execute(sql, columns)? > 0;
    if credentials.is_some() {
        let sql = "UPDATE connections SET failure = NULL, renewer = NULL
                   WHERE tenant = ?1 AND integration = ?2 AND id = ?3";
        tx.execute(sql, params![tenant, integration, id])?;
    }
    Ok(found)
}

/// One connection.
///
/// # Errors
/// When the database refuses.
pub fn connection(
    db: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    id: &ConnectionId,
) -> Result<Option<ConnectionRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE tenant = ?1 AND integration = ?2 AND id = ?3");
    let columns = params![tenant.as_str(), integration.as_str(), id.as_str()];
    db.one(&sql, columns, connection_row)
}

/// The connections that `integration` (all of them without) has under `id`: at most `limit`.
///
/// # Errors
/// When the database refuses.
pub fn connections_matching(
    db: &Conn,
    tenant: &TenantId,
    integration: Option<&IntegrationId>,
    id: &ConnectionId,
    limit: usize,
) -> Result<Vec<ConnectionRow>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE tenant = ?1 AND id = ?2 AND (CAST(?3 AS TEXT) IS NULL OR integration = ?3) LIMIT ?4"
    );
    let integration = integration.map(IntegrationId::as_str);
    db.all(&sql, params![tenant.as_str(), id.as_str(), integration, limit], connection_row)
}

/// The connection whose metadata has `value`, as text, in its field `field`; the first by id if there are several.
///
/// # Errors
/// When the database refuses.
pub fn connection_with(
    db: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    field: &str,
    value: &str,
) -> Result<Option<ConnectionId>, StoreError> {
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT c.id FROM connections c, json_each(c.metadata) m
             WHERE c.tenant = ?1 AND c.integration = ?2 AND m.key = ?3 AND CAST(m.value AS TEXT) = ?4
             ORDER BY c.id LIMIT 1"
        }
        Dialect::Postgres => {
            "SELECT c.id FROM connections c WHERE c.tenant = ?1 AND c.integration = ?2
               AND CAST(c.metadata AS JSON) ->> ?3 = ?4 ORDER BY c.id LIMIT 1"
        }
    };
    let columns = params![tenant.as_str(), integration.as_str(), field, value];
    db.one(sql, columns, |row| id_at(row, 0))
}

/// Connections by integration and id, after `after`.
///
/// # Errors
/// When the database refuses.
pub fn connections(
    db: &Conn,
    tenant: &TenantId,
    integration: Option<&IntegrationId>,
    after: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<ConnectionRow>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE tenant = ?1 AND (CAST(?2 AS TEXT) IS NULL OR integration = ?2) AND (integration, id) > (?3, ?4)
         ORDER BY integration, id LIMIT ?5"
    );
    let (after_integration, after_id) = after.unwrap_or(("", ""));
    let integration = integration.map(IntegrationId::as_str);
    let columns = params![tenant.as_str(), integration, after_integration, after_id, limit];
    db.all(&sql, columns, connection_row)
}

/// Removes a connection; says whether there was one.
///
/// # Errors
/// When the database refuses.
pub fn remove_connection(
    tx: &Conn,
    tenant: &TenantId,
    integration: &IntegrationId,
    id: &ConnectionId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM connections WHERE tenant = ?1 AND integration = ?2 AND id = ?3";
    let columns = params![tenant.as_str(), integration.as_str(), id.as_str()];
    Ok(tx.execute(sql, columns)? > 0)
}
