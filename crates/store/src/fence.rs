//! Fencing: whatever an attempt writes carries its lease, and a lease that is not the newest writes nothing.

use bulkhead_types::LeaseRef;

use crate::db::{Conn, StoreError, params};

/// The lease is not the newest of its execution, or the execution does not run any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease {} of {} is lost; nothing was written", .0.fence.0, .0.execution)]
pub struct StaleLease(pub LeaseRef);

/// What holding a lease lets one write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The key of the execution's checkpoint.
    pub scope: String,
    /// Which attempt it is.
    pub attempt: u32,
}

/// Why a fenced write was refused.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The lease is not the newest.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// The store failed.
    #[error("the lease could not be checked")]
    Store(#[from] StoreError),
}

/// Checks, in the transaction that writes, that `lease` is the newest of a running execution.
///
/// # Errors
/// [`FenceError::Stale`] when it is not.
pub fn check_fence(conn: &Conn, lease: &LeaseRef) -> Result<Held, FenceError> {
    // Locked until the write is committed: whoever takes the lease away waits for that, and so do other writes of
    // the same attempt, which may therefore read what they are about to change.
    let locked = conn.locking(" FOR NO KEY UPDATE");
    let sql = format!(
        "SELECT scope, attempts FROM executions WHERE id = ? AND fence = ? AND state = 'running'{locked}"
    );
    let held = conn.one(&sql, params![lease.execution.as_str(), lease.fence.0], |row| {
        Ok(Held { scope: row.get(0)?, attempt: row.get(1)? })
    });
    match held {
        Ok(Some(held)) => Ok(held),
        Ok(None) => Err(StaleLease(lease.clone()).into()),
        // It ended while this waited for it: what has ended lies in another partition.
        Err(error) if error.is_moved() => Err(StaleLease(lease.clone()).into()),
        Err(error) => Err(error.into()),
    }
}
