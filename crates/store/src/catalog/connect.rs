//! Connect sessions: an end user's way from the product to the provider and back. Tokens and states are kept as
//! digests: who reads the database can't take part in one.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use crate::db::{Conn, Row, StoreError, params};
use crate::rows::{id_at, time_at};

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRow {
    /// Digest of what its URL has.
    pub token: String,
    /// Whose.
    pub tenant: TenantId,
    /// To what.
    pub integration: IntegrationId,
    /// What the connection will be called.
    pub connection: ConnectionId,
    /// JSON, read by the platform.
    pub settings: String,
    /// Sealed: the proof key, and what the browser has to show.
    pub verifier: Option<Vec<u8>>,
    /// It counts until then.
    pub expires_at: Timestamp,
}

const COLUMNS: &str =
    "SELECT token, tenant, integration, connection, settings, verifier, expires_at
    FROM connect_sessions";

fn connect_row(row: &Row<'_>) -> Result<ConnectRow, StoreError> {
    Ok(ConnectRow {
        token: row.get(0)?,
        tenant: id_at(row, 1)?,
        integration: id_at(row, 2)?,
        connection: id_at(row, 3)?,
        settings: row.get(4)?,
        verifier: row.get(5)?,
        expires_at: time_at(row, 6)?,
    })
}

/// Keeps a new session.
///
/// # Errors
/// When the database refuses, as for an integration that does not exist.
pub fn insert_connect_session(tx: &Conn, row: &ConnectRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO connect_sessions (token, tenant, integration, connection, settings, expires_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (tenant, integration) = (row.tenant.as_str(), row.integration.as_str());
    let (connection, expires) = (row.connection.as_str(), row.expires_at.as_millis());
    tx.execute(sql, params![&row.token, tenant, integration, connection, &row.settings, expires])?;
    Ok(())
}

/// The session of a token, unless it has expired.
///
/// # Errors
/// When the database refuses.
pub fn connect_session(
    db: &Conn,
    token: &str,
    now: Timestamp,
) -> Result<Option<ConnectRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE token = ?1 AND expires_at > ?2");
    db.one(&sql, params![token, now.as_millis()], connect_row)
}

/// The user is sent to the provider, which will give `state` back. An earlier way that was begun and left counts no
/// more.
///
/// # Errors
/// When the database refuses.
pub fn start_connect_session(
    tx: &Conn,
    token: &str,
    state: &str,
    verifier: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE connect_sessions SET state = ?2, verifier = ?3 WHERE token = ?1 AND expires_at > ?4";
    Ok(tx.execute(sql, params![token, state, verifier, now.as_millis()])? > 0)
}

/// The session of a state that came back, which from here on is none: it counts once.
///
/// # Errors
/// When the database refuses.
pub fn take_connect_session(
    tx: &Conn,
    state: &str,
    now: Timestamp,
) -> Result<Option<ConnectRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE state = ?1 AND expires_at > ?2");
    let found = tx.one(&sql, params![state, now.as_millis()], connect_row)?;
    let sql = "UPDATE connect_sessions SET state = NULL, verifier = NULL WHERE state = ?1";
    // Whoever takes it away has it: of two callbacks at once, one.
    let taken = tx.execute(sql, params![state])? > 0;
    Ok(found.filter(|_| taken))
}

/// Removes a session; says whether there was one.
///
/// # Errors
/// When the database refuses.
pub fn remove_connect_session(tx: &Conn, token: &str) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM connect_sessions WHERE token = ?1", params![token])? > 0)
}

/// Removes what has expired.
///
/// # Errors
/// When the database refuses.
pub fn remove_expired_connect_sessions(tx: &Conn, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM connect_sessions WHERE expires_at <= ?1";
    tx.execute(sql, params![now.as_millis()])?;
    Ok(())
}
