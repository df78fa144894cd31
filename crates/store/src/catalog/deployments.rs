//! Versions, deployments, and what is live.

use bulkhead_types::{
    DeploymentId, FunctionKey, FunctionKind, FunctionName, IntegrationId, TenantId, Timestamp,
    Version, VersionId,
};

use crate::db::{Conn, Row, StoreError, from_json, params, to_json};
use crate::hot::news::News;
use crate::rows::{id_at, kind_at, time_at};

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its name.
    pub id: DeploymentId,
    /// JSON, read by the platform.
    pub changes: String,
    /// When.
    pub created_at: Timestamp,
}

/// One live function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRow {
    /// For which external API.
    pub integration: IntegrationId,
    /// What makes it run.
    pub kind: FunctionKind,
    /// Its name.
    pub name: FunctionName,
    /// Its build.
    pub version: VersionId,
    /// Since when that build is live.
    pub since: Timestamp,
}

/// Keeps a version; one that is there already stays as it is, since its id is the digest of its content.
///
/// # Errors
/// When the database refuses.
pub fn put_version(tx: &Conn, version: &Version, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO versions (tenant, id, spec, bundle, source_map, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tenant, id) DO NOTHING";
    let spec = to_json("versions", &version.spec)?;
    let (tenant, id) = (version.tenant.as_str(), version.id.as_str());
    let row = params![tenant, id, &spec, &version.bundle, &version.source_map, now.as_millis()];
    tx.execute(sql, row)?;
    Ok(())
}

/// One version.
///
/// # Errors
/// When the database refuses.
pub fn version(
    db: &Conn,
    tenant: &TenantId,
    id: &VersionId,
) -> Result<Option<Version>, StoreError> {
    let sql = "SELECT spec, bundle, source_map FROM versions WHERE tenant = ?1 AND id = ?2";
    let columns = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get(1)?, row.get(2)?));
    let found = db.one(sql, params![tenant.as_str(), id.as_str()], columns)?;
    let Some((spec, bundle, source_map)) = found else { return Ok(None) };
    let spec = from_json("versions", &spec)?;
    Ok(Some(Version { id: id.clone(), tenant: tenant.clone(), spec, bundle, source_map }))
}

/// Keeps a deployment, with all that is live now.
///
/// # Errors
/// When the database refuses.
pub fn insert_deployment(
    tx: &Conn,
    tenant: &TenantId,
    row: &DeploymentRow,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO deployments (id, tenant, changes, created_at) VALUES (?1, ?2, ?3, ?4)";
    let (id, at) = (row.id.as_str(), row.created_at.as_millis());
    tx.execute(sql, params![id, tenant.as_str(), &row.changes, at])?;
    let sql = "INSERT INTO deployed (deployment, integration, kind, name, version)
               SELECT ?1, integration, kind, name, version FROM live WHERE tenant = ?2";
    tx.execute(sql, params![id, tenant.as_str()])?;
    Ok(())
}

/// The newest deployments, newest first.
///
/// # Errors
/// When the database refuses.
pub fn deployments(
    db: &Conn,
    tenant: &TenantId,
    limit: usize,
) -> Result<Vec<DeploymentRow>, StoreError> {
    let sql = "SELECT id, changes, created_at FROM deployments WHERE tenant = ?1 ORDER BY id DESC LIMIT ?2";
    let rows = db.all(sql, params![tenant.as_str(), limit], |row| {
        Ok(DeploymentRow { id: id_at(row, 0)?, changes: row.get(1)?, created_at: time_at(row, 2)? })
    })?;
    Ok(rows)
}

/// What was live after a deployment; `None` when the tenant has no such deployment.
///
/// # Errors
/// When the database refuses.
pub fn deployed(
    db: &Conn,
    tenant: &TenantId,
    deployment: &DeploymentId,
) -> Result<Option<Vec<LiveRow>>, StoreError> {
    let sql = "SELECT created_at FROM deployments WHERE id = ?1 AND tenant = ?2";
    let at: Option<i64> =
        db.one(sql, params![deployment.as_str(), tenant.as_str()], |row| row.get(0))?;
    let Some(at) = at else { return Ok(None) };
    let sql = "SELECT integration, kind, name, version, CAST(?2 AS BIGINT) FROM deployed WHERE deployment = ?1";
    let rows = db.all(sql, params![deployment.as_str(), at], live_row)?;
    Ok(Some(rows))
}

fn live_row(row: &Row<'_>) -> Result<LiveRow, StoreError> {
    Ok(LiveRow {
        integration: id_at(row, 0)?,
        kind: kind_at(row, 1)?,
        name: id_at(row, 2)?,
        version: id_at(row, 3)?,
        since: time_at(row, 4)?,
    })
}

/// What is live, by integration, kind and name.
///
/// # Errors
/// When the database refuses.
pub fn live(db: &Conn, tenant: &TenantId) -> Result<Vec<LiveRow>, StoreError> {
    let sql = "SELECT integration, kind, name, version, since FROM live WHERE tenant = ?1
               ORDER BY integration, kind, name";
    let rows = db.all(sql, params![tenant.as_str()], live_row)?;
    Ok(rows)
}

/// The live version of one function.
///
/// # Errors
/// When the database refuses.
pub fn live_one(db: &Conn, key: &FunctionKey) -> Result<Option<VersionId>, StoreError> {
    let sql = "SELECT version FROM live WHERE tenant = ?1 AND integration = ?2 AND kind = ?3 AND name = ?4";
    let columns = params![
        key.tenant.as_str(),
        key.integration.as_str(),
        key.kind.as_str(),
        key.name.as_str()
    ];
    db.one(sql, columns, |row| id_at(row, 0))
}

/// Makes a version live.
///
/// # Errors
/// When the database refuses.
pub fn put_live(tx: &Conn, tenant: &TenantId, row: &LiveRow) -> Result<(), StoreError> {
    tx.tell(&News::Catalog);
    let sql = "INSERT INTO live (tenant, integration, kind, name, version, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (tenant, integration, kind, name) DO UPDATE
               SET version = excluded.version, since = excluded.since WHERE live.version <> excluded.version";
    let (integration, kind, name) =
        (row.integration.as_str(), row.kind.as_str(), row.name.as_str());
    let columns = params![
        tenant.as_str(),
        integration,
        kind,
        name,
        row.version.as_str(),
        row.since.as_millis()
    ];
    tx.execute(sql, columns)?;
    Ok(())
}

/// Makes a function no longer live.
///
/// # Errors
/// When the database refuses.
pub fn remove_live(tx: &Conn, key: &FunctionKey) -> Result<(), StoreError> {
    tx.tell(&News::Catalog);
    let sql = "DELETE FROM live WHERE tenant = ?1 AND integration = ?2 AND kind = ?3 AND name = ?4";
    let columns = params![
        key.tenant.as_str(),
        key.integration.as_str(),
        key.kind.as_str(),
        key.name.as_str()
    ];
    tx.execute(sql, columns)?;
    Ok(())
}
