//! The HTTP API as values: the table of routes, what goes over the wire, and the table of error codes.
//!
//! Layout: [`routes`] lists every route with who may call it, its body limit and its deadline; the server, the
//! client and `/openapi.json` are made from that one table. [`codes`] lists every error code with the status it is
//! answered with. The other modules are the bodies, one file per noun.
//!
//! Invariant: no behaviour. Nothing here does I/O, and a wire type knows no domain type; but for those of [`worker`],
//! whose both ends are ours: they carry the values of `bulkhead-types` as they are.

pub mod codes;
mod connections;
mod egress;
mod error;
mod executions;
mod functions;
mod limits;
mod notifications;
mod openapi;
mod records;
pub mod routes;
mod tenants;
pub mod worker;
mod workers;

pub use connections::{
    ConnectSession, Connection, ConnectionList, Integration, IntegrationList, PatchConnection,
    ProviderInfo, ProviderList, PutConnectSession, PutConnection, PutIntegration, RateLimit,
};
pub use egress::{EgressAddress, EgressExplanation, EgressStep};
pub use error::{ErrorBody, ErrorDetail, Upstream};
pub use executions::{
    Accepted, Attempt, Execution, ExecutionList, ExecutionShow, LogLine, LogPage, Payload,
    TimelineEvent, Usage,
};
pub use functions::{
    Change, Deploy, DeployFunction, Deployment, DeploymentList, Function, FunctionList,
    SetFrequency, Sync, SyncCall, SyncList,
};
pub use limits::{Any, Limit, LimitList, Replay, Replayed, ReplayedOne, RunningMax, SetLimit};
pub use notifications::{Notification, NotificationList, NotificationTarget, Rotate, Rotated};
pub use openapi::document;
pub use records::{ModelCount, ModelList, RecordPage, RecordRetention, RecordSettings};
pub use routes::{Access, Op, Route};
pub use tenants::{Key, KeyCreated, KeyList, PutKey, PutTenant, Tenant, TenantList, TenantShare};
pub use workers::{Warmth, Worker, WorkerList};

/// Headers of ours, as they are spelled on the wire.
pub mod headers {
    /// Which connection a call is about.
    pub const CONNECTION_ID: &str = "connection-id";
    /// Which integration a proxied request is for.
    pub const INTEGRATION: &str = "integration";
    /// How often a proxied request is retried.
    pub const RETRIES: &str = "retries";
    /// Where a proxied request goes instead of the integration's base URL.
    pub const BASE_URL_OVERRIDE: &str = "base-url-override";
    /// Makes a second call with the same value return the first one's result.
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// `NAME` or `NAME; max=N`: at most N executions with this name run at the same time.
    pub const CONCURRENCY_KEY: &str = "concurrency-key";
    /// Seconds within which an execution has to begin.
    pub const START_WITHIN: &str = "start-within";
    /// On every answer that concerns an execution.
    pub const EXECUTION_ID: &str = "execution-id";
    /// On every answer: names the request in the server's log.
    pub const REQUEST_ID: &str = "request-id";
}
