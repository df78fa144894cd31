//! What tenants deploy and set up, and what their functions ask for while they run.
//!
//! Two sides: the API calls [`Platform`]'s methods on behalf of a tenant (deploy, connections, records, run this
//! action); a worker calls [`Platform::prepare`], [`Platform::call`], [`Platform::log`] and [`Platform::event`] on
//! behalf of a running attempt. Both sides name the tenant themselves, never from what a sandbox said.
//!
//! Invariant: credentials leave this crate in two ways only: on requests that the proxy sends to the integration's
//! own API, and as the answer to `connection.get` for versions that declare secrets.

mod attempt;
mod auth;
mod blobs;
mod caches;
mod calls;
mod catalogue;
mod children;
mod concurrency;
mod connections;
mod deploy;
mod diff;
mod egress;
mod endings;
mod error;
mod follow;
mod integrations;
mod lifecycle;
mod logs;
mod model;
mod notify;
mod oauth;
mod platform;
mod proxy;
mod records;
mod redact;
mod rotate;
mod run;
mod seal;
mod sealed_records;
mod syncs;
mod tenants;
mod text;
mod upkeep;
mod webhooks;
mod worker_tokens;

pub use auth::{AuthMode, AuthSettings, Credentials, OAuth2, TokenAuth};
pub use bulkhead_egress::{Explanation as EgressExplanation, Step as EgressStep};
pub use bulkhead_egress::{Upload, UploadError};
pub use bulkhead_protocol::{CallError, LogLine};
pub use catalogue::{
    ConfigVariable, Pagination, PaginationKind, Provider, RetryHints, VariableKind, provider,
    providers,
};
pub use connections::NewConnection;
pub use egress::EgressRules;
pub use error::PlatformError;
pub use model::{
    Accepted, ActionCall, Change, ChangeKind, Connection, ConnectionPage, DeployRequest,
    Deployment, Failure, FunctionInfo, FunctionUpload, Integration, IntegrationSettings, KeyInfo,
    LogEntry, LogPage, ModelCounts, NewKey, RateLimit, RecordPage, RecordQuery, RecordRetention,
    RecordSettings, SyncStatus, SyncTrigger, Tenant, TenantSettings, WebhookDelivery,
};
pub use notify::{Notification, NotificationTarget};
pub use oauth::{ConnectPage, ConnectSession, ConnectStart, Connected, NewConnectSession};
pub use platform::{Deployed, Platform, PlatformConfig, Prepared};
pub use proxy::{ProxyRequest, RetryHeader, StreamError, Streamed};
pub use rotate::Rotated;
pub use seal::SecretKey;
pub use upkeep::Upkeep;
pub use webhooks::{
    Algorithm, Challenge, Incoming, Received, Scheme, WebhookMatch, WebhookSettings,
};
pub use worker_tokens::worker_token_id;
