//! PostgreSQL: sessions, statements in its dialect, a pool.

mod listener;
mod pool;
mod session;
mod translate;

use super::{Conn, StoreError, params};

pub(super) use listener::Listener;
pub(super) use pool::{Access, Pool};
pub(super) use session::{Address, Session};
pub(super) use translate::{schema, statement};

/// The oldest PostgreSQL that will do.
const MAJOR_MIN: i64 = 15;

/// Refuses a PostgreSQL that is too old.
pub(super) fn check_version(conn: &Conn) -> Result<(), StoreError> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT) / 10000";
    let major: i64 = conn.one(sql, params![], |row| row.get(0))?.unwrap_or(0);
    if major < MAJOR_MIN { Err(StoreError::TooOld(major.to_string())) } else { Ok(()) }
}

/// Its version, for people.
pub(super) fn version(conn: &Conn) -> Result<String, StoreError> {
    conn.only("SELECT current_setting('server_version')", params![], |row| row.get(0))
}
