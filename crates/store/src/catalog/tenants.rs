//! Tenants, their keys and variables.

use bulkhead_types::{TenantId, Timestamp};

use crate::db::{Conn, Row, StoreError, params};
use crate::hot::news::News;
use crate::rows::{id_at, time_at};

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its name.
    pub id: TenantId,
    /// JSON, read by the platform.
    pub settings: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// One key, without its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// `key_…`.
    pub id: String,
    /// For people.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
}

fn tenant_row(row: &Row<'_>) -> Result<TenantRow, StoreError> {
    Ok(TenantRow { id: id_at(row, 0)?, settings: row.get(1)?, created_at: time_at(row, 2)? })
}

/// Makes a tenant, or replaces its settings.
///
/// # Errors
/// When the database refuses.
pub fn put_tenant(tx: &Conn, row: &TenantRow) -> Result<(), StoreError> {
    tx.tell(&News::Catalog);
    let sql = "INSERT INTO tenants (id, settings, created_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (id) DO UPDATE SET settings = excluded.settings";
    tx.execute(sql, params![row.id.as_str(), &row.settings, row.created_at.as_millis()])?;
    Ok(())
}

/// One tenant.
///
/// # Errors
/// When the database refuses.
pub fn tenant(db: &Conn, id: &TenantId) -> Result<Option<TenantRow>, StoreError> {
    let sql = "SELECT id, settings, created_at FROM tenants WHERE id = ?1";
    db.one(sql, params![id.as_str()], tenant_row)
}

/// All tenants, by id.
///
/// # Errors
/// When the database refuses.
pub fn tenants(db: &Conn) -> Result<Vec<TenantRow>, StoreError> {
    let rows =
        db.all("SELECT id, settings, created_at FROM tenants ORDER BY id", params![], tenant_row)?;
    Ok(rows)
}

/// Keeps a key by the digest of its secret.
///
/// # Errors
/// When the database refuses, as for a tenant that does not exist.
pub fn insert_key(
    tx: &Conn,
    tenant: &TenantId,
    key: &KeyRow,
    digest: &[u8],
) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO keys (id, tenant, label, digest, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let created_at = key.created_at.as_millis();
    tx.execute(sql, params![&key.id, tenant.as_str(), &key.label, digest, created_at])?;
    Ok(())
}

/// A tenant's keys.
///
/// # Errors
/// When the database refuses.
pub fn keys(db: &Conn, tenant: &TenantId) -> Result<Vec<KeyRow>, StoreError> {
    let rows = db.all(
        "SELECT id, label, created_at FROM keys WHERE tenant = ?1 ORDER BY created_at, id",
        params![tenant.as_str()],
        |row| Ok(KeyRow { id: row.get(0)?, label: row.get(1)?, created_at: time_at(row, 2)? }),
    )?;
    Ok(rows)
}

/// Whose key has this digest.
///
/// # Errors
/// When the database refuses.
pub fn key_owner(db: &Conn, digest: &[u8]) -> Result<Option<TenantId>, StoreError> {
    db.one("SELECT tenant FROM keys WHERE digest = ?1", params![digest], |row| id_at(row, 0))
}

/// Removes a key; says whether there was one.
///
/// # Errors
/// When the database refuses.
pub fn remove_key(tx: &Conn, tenant: &TenantId, key: &str) -> Result<bool, StoreError> {
    tx.tell(&News::Catalog);
    Ok(tx
        .execute("DELETE FROM keys WHERE tenant = ?1 AND id = ?2", params![tenant.as_str(), key])?
        > 0)
}

/// Sets a variable; `value` is sealed.
///
/// # Errors
/// When the database refuses.
pub fn put_variable(
    tx: &Conn,
    tenant: &TenantId,
    name: &str,
    value: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO variables (tenant, name, value) VALUES (?1, ?2, ?3)
               ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value";
    tx.execute(sql, params![tenant.as_str(), name, value])?;
    Ok(())
}

/// Removes a variable, if there is one.
///
/// # Errors
/// When the database refuses.
pub fn remove_variable(tx: &Conn, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM variables WHERE tenant = ?1 AND name = ?2";
    tx.execute(sql, params![tenant.as_str(), name])?;
    Ok(())
}

/// Name and sealed value of each of a tenant's variables, by name.
///
/// # Errors
/// When the database refuses.
pub fn variables(db: &Conn, tenant: &TenantId) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let rows = db.all(
        "SELECT name, value FROM variables WHERE tenant = ?1 ORDER BY name",
        params![tenant.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(rows)
}
