//! The hot path over SQLite.

use crate::db::Db;

/// The hot path over SQLite.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    #[allow(dead_code, reason = "read as soon as the row operations are in")]
    db: Db,
}

impl SqliteStore {
    /// Over an open database.
    #[must_use]
    pub const fn new(db: Db) -> Self {
        Self { db }
    }
}
