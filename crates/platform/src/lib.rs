//! What tenants deploy and set up, and what their functions ask for while they run.
//!
//! Two sides: the API calls [`Platform`]'s methods on behalf of a tenant (deploy, connections, records, run this
//! action); a worker calls [`Platform::prepare`], [`Platform::call`], [`Platform::log`] and [`Platform::event`] on
//! behalf of a running attempt. Both sides name the tenant themselves, never from what a sandbox said.
//!
//! Invariant: credentials leave this crate in two ways only: on requests that the proxy sends to the integration's
//! own API, and as the answer to `connection.get` for versions that declare secrets.

mod attempt;
mod blobs;
mod caches;
mod calls;
mod children;
mod concurrency;
mod connections;
mod deploy;
mod diff;
mod egress;
mod error;
mod follow;
mod logs;
mod model;
mod platform;
mod proxy;
mod records;
mod run;
mod seal;
mod syncs;
mod tenants;
mod text;
mod webhooks;
mod worker_tokens;

pub use bulkhead_protocol::{CallError, LogLine};
pub use egress::EgressRules;
pub use error::PlatformError;
pub use model::{
    Accepted, ActionCall, AuthMode, AuthSettings, Change, ChangeKind, Connection, ConnectionPage,
    Credentials, DeployRequest, Deployment, FunctionInfo, FunctionUpload, Integration,
    IntegrationSettings, KeyInfo, LogEntry, LogPage, NewKey, RecordPage, RecordQuery, SyncStatus,
    SyncTrigger, Tenant, TenantSettings, WebhookDelivery, WebhookMatch, WebhookSettings,
};
pub use platform::{Platform, PlatformConfig, Prepared};
pub use proxy::{ProxyRequest, RetryHeader};
pub use seal::SecretKey;
pub use worker_tokens::worker_token_id;
