//! What tenants deploy and set up. Rows in, rows out: secrets arrive sealed, settings as the text of a JSON value
//! that only the platform reads.

mod connections;
mod deployments;
mod integrations;
mod syncs;
mod tenants;
mod worker_tokens;

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
