//! Checkpoints: the small durable object from which the next attempt, or a sync's next execution, goes on.
//!
//! Written under the attempt's fencing number and compare-and-set by version. A version never goes back, so that
//! "did it move during this attempt" is one comparison; a cleared checkpoint keeps its version and loses its body.

use bulkhead_types::{ConnectionId, Fault, FunctionKey, LeaseRef, Retry, Timestamp};

use crate::db::{Conn, StoreError, params};
use crate::fence::{self, StaleLease};

/// A checkpoint, as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// JSON; `None` when it was cleared.
    pub body: Option<String>,
    /// 1, 2, … with every save and clear.
    pub version: u64,
}

/// Why a checkpoint was not saved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The lease is not the newest.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// Somebody saved in between.
    #[error("the checkpoint is at version {found}; read it again before saving")]
    Conflict {
        /// Its version.
        found: u64,
    },
    /// The store failed.
    #[error("the checkpoint could not be kept")]
    Store(#[from] StoreError),
}

impl From<fence::FenceError> for CheckpointError {
    fn from(error: fence::FenceError) -> Self {
        match error {
            fence::FenceError::Stale(stale) => Self::Stale(stale),
            fence::FenceError::Store(error) => Self::Store(error),
        }
    }
}

impl CheckpointError {
    /// The stable code, as functions see it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale(_) => "lease_lost",
            Self::Conflict { .. } => "checkpoint_conflict",
            Self::Store(error) => error.code(),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Conflict { .. } => Fault::Tenant,
            Self::Stale(_) | Self::Store(_) => Fault::Platform,
        }
    }

    /// Whether to try again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The checkpoint kept under `scope`.
///
/// # Errors
/// When the database fails.
pub fn get(conn: &Conn, scope: &str) -> Result<Option<Checkpoint>, StoreError> {
    conn.one("SELECT body, version FROM checkpoints WHERE scope = ?", params![scope], |row| {
        Ok(Checkpoint { body: row.get(0)?, version: row.get(1)? })
    })
}

/// The checkpoint of the execution that holds `lease`.
///
/// # Errors
/// [`CheckpointError::Stale`] when the lease is not the newest; when the database fails.
pub fn get_for(conn: &Conn, lease: &LeaseRef) -> Result<Option<Checkpoint>, CheckpointError> {
    let held = fence::check_fence(conn, lease)?;
    Ok(get(conn, &held.scope)?)
}

/// Saves the checkpoint of the execution that holds `lease`, if it is still at version `expected` (0: there is
/// none). Returns the new version.
///
/// # Errors
/// When the lease is not the newest, the version is another, or the database fails.
pub fn save(
    tx: &Conn,
    lease: &LeaseRef,
    expected: u64,
    body: &str,
    now: Timestamp,
) -> Result<u64, CheckpointError> {
    put(tx, lease, expected, Some(body), now)
}

/// Clears the checkpoint of the execution that holds `lease`. Clearing what is not there is fine. Returns the
/// version, which is a new one if there was something to clear.
///
/// # Errors
/// As [`save`].
pub fn clear(
    tx: &Conn,
    lease: &LeaseRef,
    expected: u64,
    now: Timestamp,
) -> Result<u64, CheckpointError> {
    put(tx, lease, expected, None, now)
}

/// The key of a sync's checkpoint, which its executions for one connection share.
#[must_use]
pub fn sync_scope(sync: &FunctionKey, connection: Option<&ConnectionId>) -> String {
    let FunctionKey { tenant, integration, kind, name } = sync;
    let connection = connection.map_or("", ConnectionId::as_str);
    format!("{tenant}/{integration}/{}/{name}/{connection}", kind.as_str())
}

/// Clears the checkpoint under `scope` whoever wrote it, for a sync that is to begin from the beginning. An attempt
/// that runs meanwhile is refused its next save, since the version moves.
///
/// # Errors
/// When the database fails.
pub fn reset(tx: &Conn, scope: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE checkpoints SET body = NULL, version = version + 1, updated_at = ?2
               WHERE scope = ?1 AND body IS NOT NULL";
    tx.execute(sql, params![scope, now.as_millis()])?;
    Ok(())
}

pub(crate) fn put(
    tx: &Conn,
    lease: &LeaseRef,
    expected: u64,
    body: Option<&str>,
    now: Timestamp,
) -> Result<u64, CheckpointError> {
    let held = fence::check_fence(tx, lease)?;
    let before = get(tx, &held.scope)?;
    let found = before.as_ref().map_or(0, |checkpoint| checkpoint.version);
    if found != expected {
        return Err(CheckpointError::Conflict { found });
    }
    if body.is_none() && before.is_none_or(|checkpoint| checkpoint.body.is_none()) {
        return Ok(found);
    }
    let upsert = "INSERT INTO checkpoints (scope, body, version, execution, fence, updated_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (scope) DO UPDATE SET body = excluded.body, version = excluded.version,
           execution = excluded.execution, fence = excluded.fence, updated_at = excluded.updated_at";
    let version = found + 1;
    let (execution, fence) = (lease.execution.as_str(), lease.fence.0);
    tx.execute(upsert, params![&held.scope, body, version, execution, fence, now.as_millis()])?;
    Ok(version)
}
