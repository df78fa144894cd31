//! Locks that functions take: named within a tenant, owned by an execution, gone when it ends or time is up.

use bulkhead_types::{ExecutionId, TenantId, Timestamp};

use crate::db::{Conn, StoreError, params};

/// Takes a lock, or prolongs one that the execution holds; says whether it holds it now. A lock whose time is up,
/// or whose owner has ended, is free: there is nothing to clean up when an execution ends.
///
/// # Errors
/// When the database refuses.
pub fn acquire(
    tx: &Conn,
    tenant: &TenantId,
    key: &str,
    owner: &ExecutionId,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO locks (tenant, key, execution, expires_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (tenant, key) DO UPDATE SET execution = excluded.execution, expires_at = excluded.expires_at
               WHERE locks.execution = excluded.execution OR locks.expires_at <= ?5 OR NOT EXISTS (
                 SELECT 1 FROM executions e WHERE e.id = locks.execution
                   AND e.state IN ('queued', 'running', 'waiting'))";
    let (tenant, owner) = (tenant.as_str(), owner.as_str());
    let columns = params![tenant, key, owner, expires_at.as_millis(), now.as_millis()];
    Ok(tx.execute(sql, columns)? > 0)
}

/// Gives a lock back; says whether the execution held it.
///
/// # Errors
/// When the database refuses.
pub fn release(
    tx: &Conn,
    tenant: &TenantId,
    key: &str,
    owner: &ExecutionId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM locks WHERE tenant = ?1 AND key = ?2 AND execution = ?3";
    Ok(tx.execute(sql, params![tenant.as_str(), key, owner.as_str()])? > 0)
}

/// Gives back all that the execution holds.
///
/// # Errors
/// When the database refuses.
pub fn release_all(tx: &Conn, owner: &ExecutionId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM locks WHERE execution = ?1", params![owner.as_str()])?;
    Ok(())
}

/// How many locks an execution holds.
///
/// # Errors
/// When the database refuses.
pub fn held(db: &Conn, owner: &ExecutionId) -> Result<usize, StoreError> {
    let sql = "SELECT count(*) FROM locks WHERE execution = ?1";
    db.only(sql, params![owner.as_str()], |row| row.get(0))
}
