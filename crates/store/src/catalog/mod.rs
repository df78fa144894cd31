//! What tenants deploy and set up. Rows in, rows out: secrets arrive sealed, settings as the text of a JSON value
//! that only the platform reads.

mod connect;
mod connections;
mod deployments;
mod integrations;
mod notifications;
mod paces;
mod renewal;
mod sealed;
mod syncs;
mod tenants;
mod worker_tokens;

pub use connect::{
    ConnectRow, connect_session, insert_connect_session, remove_connect_session,
    remove_expired_connect_sessions, start_connect_session, take_connect_session,
};
pub use connections::{
    ConnectionRow, connection, connection_with, connections, connections_matching, put_connection,
    remove_connection, update_connection,
};
pub use deployments::{
    DeploymentRow, LiveRow, deployed, deployments, insert_deployment, live, live_one, put_live,
    put_version, remove_live, version,
};
pub use integrations::{
    IntegrationRow, integration, integrations, put_integration, remove_integration,
};
pub use notifications::{
    NotificationRow, TargetRow, has_due_notifications, insert_notification, notification,
    notifications, put_target, remove_old_notifications, remove_target, take_due_notifications,
    target, update_notification,
};
pub use paces::{PaceOf, Turns, pause, paused_until, take_turns};
pub use renewal::{claim_renewal, finish_renewal};
pub use sealed::{SEALED_PLACES, SealedPlace, SealedRow, put_sealed, sealed};
pub use syncs::{frequencies, put_frequency, remove_frequencies_of};
pub use tenants::{
    KeyRow, TenantRow, insert_key, key_owner, keys, put_tenant, put_variable, remove_key,
    remove_variable, tenant, tenants, variables,
};
pub use worker_tokens::{
    insert_worker_token, remove_worker_token, worker_token_digest, worker_tokens,
};

#[cfg(test)]
mod tests;
