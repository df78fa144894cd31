//! How fast connections' requests may go, over all servers.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use crate::db::{Conn, StoreError, params};
use crate::rows::time_at;

/// Whose requests.
pub type PaceOf<'a> = (&'a TenantId, &'a IntegrationId, &'a ConnectionId);

/// Turns that are taken at once, so that not every request writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// How many.
    pub count: i64,
    /// From one to the next, microseconds.
    pub every_us: i64,
    /// No turn is earlier than this, microseconds since 1970.
    pub floor_us: i64,
}

/// Until when a connection's API lets nothing through; `None` when it never said so.
///
/// # Errors
/// When the database refuses.
pub fn paused_until(
    db: &Conn,
    (tenant, integration, id): PaceOf<'_>,
) -> Result<Option<Timestamp>, StoreError> {
    let sql =
        "SELECT paused_until FROM paces WHERE tenant = ?1 AND integration = ?2 AND connection = ?3";
    let key = params![tenant.as_str(), integration.as_str(), id.as_str()];
    db.one(sql, key, |row| time_at(row, 0))
}

/// Lets nothing of a connection through until then, if not for longer already.
///
/// # Errors
/// When the database refuses.
pub fn pause(
    tx: &Conn,
    (tenant, integration, id): PaceOf<'_>,
    until: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO paces (tenant, integration, connection, paused_until, next_us)
               SELECT tenant, integration, id, CAST(?4 AS BIGINT), 0 FROM connections
               WHERE tenant = ?1 AND integration = ?2 AND id = ?3
               ON CONFLICT (tenant, integration, connection) DO UPDATE SET paused_until = excluded.paused_until
               WHERE paces.paused_until < excluded.paused_until";
    let (tenant, integration, id) = (tenant.as_str(), integration.as_str(), id.as_str());
    tx.execute(sql, params![tenant, integration, id, until.as_millis()])?;
    Ok(())
}

/// Takes turns; says when the first is, in microseconds since 1970. `None` when there is no such connection any more.
///
/// # Errors
/// When the database refuses.
pub fn take_turns(
    tx: &Conn,
    (tenant, integration, id): PaceOf<'_>,
    turns: Turns,
) -> Result<Option<i64>, StoreError> {
    let sql = "INSERT INTO paces (tenant, integration, connection, paused_until, next_us)
               SELECT tenant, integration, id, 0, CAST(?4 AS BIGINT) + CAST(?5 AS BIGINT) FROM connections
               WHERE tenant = ?1 AND integration = ?2 AND id = ?3
               ON CONFLICT (tenant, integration, connection) DO UPDATE SET
                 next_us = CASE WHEN paces.next_us < CAST(?4 AS BIGINT) THEN CAST(?4 AS BIGINT)
                   ELSE paces.next_us END + CAST(?5 AS BIGINT)
               RETURNING next_us";
    let (tenant, integration, id) = (tenant.as_str(), integration.as_str(), id.as_str());
    let taken_us = turns.count.saturating_mul(turns.every_us);
    let columns = params![tenant, integration, id, turns.floor_us, taken_us];
    let next = tx.one(sql, columns, |row| row.get::<i64>(0))?;
    Ok(next.map(|next| next - taken_us))
}
