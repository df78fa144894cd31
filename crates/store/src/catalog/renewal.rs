//! Who renews a connection's credentials: one at a time, over all servers.

use bulkhead_types::{ConnectionId, IntegrationId, TenantId, Timestamp};

use crate::db::{Conn, StoreError, params};

/// Takes the right to renew until `until`; `false` when somebody else has it.
///
/// # Errors
/// When the database refuses.
pub fn claim_renewal(
    tx: &Conn,
    tenant: &TenantId,
    (integration, id): (&IntegrationId, &ConnectionId),
    renewer: &str,
    (now, until): (Timestamp, Timestamp),
) -> Result<bool, StoreError> {
    let sql = "UPDATE connections SET renewer = ?4, renewing_until = ?6
               WHERE tenant = ?1 AND integration = ?2 AND id = ?3
                 AND (renewer IS NULL OR renewing_until <= ?5)";
    let (tenant, integration, id) = (tenant.as_str(), integration.as_str(), id.as_str());
    let (now, until) = (now.as_millis(), until.as_millis());
    Ok(tx.execute(sql, params![tenant, integration, id, renewer, now, until])? > 0)
}

/// Gives the right back with what came of it: new credentials, or why there are none. `false`, and nothing is written,
/// for one who has not got the right any more.
///
/// # Errors
/// When the database refuses.
pub fn finish_renewal(
    tx: &Conn,
    tenant: &TenantId,
    (integration, id): (&IntegrationId, &ConnectionId),
    renewer: &str,
    result: Result<&[u8], &str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "UPDATE connections SET renewer = NULL, credentials = coalesce(?5, credentials), failure = ?6,
                 updated_at = ?7
               WHERE tenant = ?1 AND integration = ?2 AND id = ?3 AND renewer = ?4";
    let (tenant, integration, id) = (tenant.as_str(), integration.as_str(), id.as_str());
    let (credentials, failure, now) = (result.ok(), result.err(), now.as_millis());
    let columns = params![tenant, integration, id, renewer, credentials, failure, now];
    Ok(tx.execute(sql, columns)? > 0)
}
