//! What workers on other machines join with.

use super::KeyRow;
use crate::db::{Conn, StoreError, params};
use crate::rows::time_at;

/// Keeps a token by its digest.
///
/// # Errors
/// When the database refuses, as for an id that there is.
pub fn insert_worker_token(tx: &Conn, token: &KeyRow, digest: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO worker_tokens (id, label, digest, created_at) VALUES (?1, ?2, ?3, ?4)";
    let created_at = token.created_at.as_millis();
    tx.execute(sql, params![&token.id, &token.label, digest, created_at])?;
    Ok(())
}

/// All tokens, oldest first.
///
/// # Errors
/// When the database refuses.
pub fn worker_tokens(db: &Conn) -> Result<Vec<KeyRow>, StoreError> {
    let sql = "SELECT id, label, created_at FROM worker_tokens ORDER BY created_at, id";
    db.all(sql, params![], |row| {
        Ok(KeyRow { id: row.get(0)?, label: row.get(1)?, created_at: time_at(row, 2)? })
    })
}

/// The digest of a token.
///
/// # Errors
/// When the database refuses.
pub fn worker_token_digest(db: &Conn, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    db.one("SELECT digest FROM worker_tokens WHERE id = ?1", params![id], |row| row.get(0))
}

/// Removes a token; says whether there was one.
///
/// # Errors
/// When the database refuses.
pub fn remove_worker_token(tx: &Conn, id: &str) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM worker_tokens WHERE id = ?1", params![id])? > 0)
}
