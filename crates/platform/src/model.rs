//! What goes in and out of [`crate::Platform`]: plain values, converted from and to the wire by the server.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_egress::Rule;
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, DeploymentId, ExecutionId, FunctionKind, FunctionName,
    FunctionSpec, IntegrationId, TenantId, Timestamp, Version, VersionId, WallKind,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::AuthSettings;
use crate::webhooks::WebhookSettings;

/// What an operator sets for a tenant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TenantSettings {
    /// For people; empty is the id.
    pub display_name: String,
    /// Narrows where its functions may connect ([`bulkhead_egress::Policy`]).
    pub egress: Vec<Rule>,
    /// The least wall that its functions run behind; `None` is the server's own floor.
    pub wall_floor: Option<WallKind>,
    /// How its records are kept.
    pub records: RecordSettings,
}

/// How a tenant's records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordSettings {
    /// Their bodies are sealed with the key that credentials are sealed with. Ids, times and what happened to a record
    /// are not: they are what the database finds records by.
    pub encrypted: bool,
    /// For how long.
    pub retention: RecordRetention,
    /// For how long those of some models are kept instead, by `integration/Model`.
    pub models: BTreeMap<String, RecordRetention>,
}

/// For how long records are kept. What is not said is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordRetention {
    /// Days after its last change that a record is kept. One that is saved again afterwards is added anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged_days: Option<u32>,
    /// Days that a record marked as deleted is kept, for readers to hear of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_days: Option<u32>,
}

/// How many records a connection has of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCounts {
    /// From which API.
    pub integration: String,
    /// Which model.
    pub model: String,
    /// Records that are there.
    pub present: u64,
    /// Records marked as deleted that are still kept.
    pub deleted: u64,
    /// Of the newest change: where a reader is that has seen everything.
    pub cursor: String,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// What the operator set.
    pub settings: TenantSettings,
    /// Since when.
    pub created_at: Timestamp,
}

/// A key just made: the only time that its secret is shown.
#[derive(Clone)]
pub struct NewKey {
    /// `key_…`: for listing and revoking.
    pub id: String,
    /// `bh_…`: 32 random bytes; only their SHA-256 is kept.
    pub secret: String,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// `key_…`.
    pub id: String,
    /// For people.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// One function to deploy.
#[derive(Debug, Clone)]
pub struct FunctionUpload {
    /// What its author declared.
    pub spec: FunctionSpec,
    /// One CommonJS file.
    pub bundle: Vec<u8>,
    /// Its source map.
    pub source_map: Option<Vec<u8>>,
}

/// What to make live.
#[derive(Debug, Clone, Default)]
pub struct DeployRequest {
    /// The functions.
    pub functions: Vec<FunctionUpload>,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
    /// Go on although functions would be removed.
    pub allow_destructive: bool,
    /// Live functions that are not among `functions` stay, instead of being removed.
    pub partial: bool,
}

/// What a deployment does to one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// New.
    Added,
    /// Another version.
    Changed,
    /// No longer live.
    Removed,
}

/// One line of the difference that a deployment makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub change: ChangeKind,
    /// To which function: its integration,
    pub integration: IntegrationId,
    /// its kind,
    pub kind: FunctionKind,
    /// and its name.
    pub name: FunctionName,
    /// What is different, such as `bundle`, `frequency: every 5m → every 1h`.
    pub details: Vec<String>,
}

/// A set of versions that was made live at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its name; `None` for a dry run.
    pub id: Option<DeploymentId>,
    /// When.
    pub created_at: Timestamp,
    /// What it changed.
    pub changes: Vec<Change>,
}

/// A live function.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionInfo {
    /// Its live version.
    pub version: Version,
    /// Since when that is live.
    pub live_since: Timestamp,
}

/// What a tenant sets for an integration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntegrationSettings {
    /// Which API, such as `github`; empty is the integration's id.
    pub provider: String,
    /// For people; empty is the integration's id.
    pub display_name: String,
    /// Where the proxy sends relative endpoints, such as `https://api.github.com`.
    pub base_url: Option<String>,
    /// How credentials are added, and where they may go.
    pub auth: AuthSettings,
    /// How webhooks are received. A `secret` of `None` keeps the one there is.
    pub webhook: WebhookSettings,
    /// How many requests of one connection the API takes; without, only what it says itself counts.
    pub rate_limit: Option<RateLimit>,
}

/// At most so many requests within any so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// 1 to 1,000,000.
    pub requests: u32,
    /// 1 to 86,400.
    pub per_s: u32,
}

/// One external API that a tenant connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its name.
    pub id: IntegrationId,
    /// What the tenant set; `webhook.secret` and `auth.client_secret` are never filled in.
    pub settings: IntegrationSettings,
    /// Whether there is a webhook secret.
    pub has_webhook_secret: bool,
    /// Whether there is a secret of an OAuth2 client.
    pub has_client_secret: bool,
    /// For webhooks of the scheme `meta`: what the provider is to be given for `hub.verify_token`.
    pub verify_token: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

/// One end user's connection to an integration, without its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its name, within the integration.
    pub id: ConnectionId,
    /// To which integration.
    pub integration: IntegrationId,
    /// An object of the tenant's choosing.
    pub metadata: Value,
    /// Values of the variables in the integration's URLs.
    pub config: BTreeMap<String, String>,
    /// Why its credentials could not be renewed, until they are.
    pub failure: Option<Failure>,
    /// Since when.
    pub created_at: Timestamp,
    /// When credentials or metadata last changed.
    pub updated_at: Timestamp,
}

/// Why a connection's credentials could not be renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Such as `invalid_grant` (RFC 6749, section 5.2), `unreachable`.
    pub code: String,
    /// For people; has no secrets in it.
    pub message: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Whether only connecting anew helps.
    pub lasting: bool,
    /// How often in a row.
    pub times: u32,
}

/// Connections by integration and id.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionPage {
    /// At most as many as asked for.
    pub connections: Vec<Connection>,
    /// Goes in for the next page.
    pub next_cursor: Option<String>,
}

/// A call of an action.
#[derive(Debug, Clone)]
pub struct ActionCall {
    /// Of which integration.
    pub integration: IntegrationId,
    /// Its name.
    pub name: FunctionName,
    /// On behalf of which connection.
    pub connection: Option<ConnectionId>,
    /// Its argument.
    pub input: Value,
    /// The second call with the same key gets the first one's execution; kept for a day.
    pub idempotency_key: Option<String>,
    /// A key that only so many may share at the same time, instead of what the function declares.
    pub concurrency: Option<ConcurrencyKey>,
    /// It expires unless it began by then.
    pub start_within: Option<Duration>,
    /// The tenant's product is told when it ends, if it listens: nobody may be waiting for it then.
    pub told: bool,
}

/// A sync of one connection is to run now.
#[derive(Debug, Clone)]
pub struct SyncTrigger {
    /// Of which integration.
    pub integration: IntegrationId,
    /// Its name.
    pub name: FunctionName,
    /// For which connection.
    pub connection: ConnectionId,
    /// It begins from the beginning.
    pub reset: bool,
    /// The records that it saved are removed first.
    pub empty_cache: bool,
    /// The second call with the same key gets the first one's execution and changes nothing; kept for a day.
    pub idempotency_key: Option<String>,
}

/// An execution was accepted, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Which.
    pub execution: ExecutionId,
    /// Whether an earlier call with the same idempotency key made it.
    pub duplicate: bool,
}

/// A sync of one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncStatus {
    /// Of which integration.
    pub integration: IntegrationId,
    /// Its name.
    pub name: FunctionName,
    /// The live version.
    pub version: VersionId,
    /// For which connection; `None` for a sync that no connection runs yet.
    pub connection: Option<ConnectionId>,
    /// How often.
    pub frequency: Option<String>,
    /// Whether it is stopped.
    pub paused: bool,
    /// When it is next due.
    pub next_at: Option<Timestamp>,
    /// The newest execution that its schedule made.
    pub last_execution: Option<ExecutionId>,
}

/// What became of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// One per handler, each committed; those of the first delivery for a duplicate.
    pub executions: Vec<ExecutionId>,
    /// Whether the delivery's id had been seen.
    pub duplicate: bool,
    /// The connection that it was matched to.
    pub connection: Option<ConnectionId>,
}

/// Which records.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    /// Of which integration; `None` is found through the connection, if only one has it.
    pub integration: Option<IntegrationId>,
    /// Of which connection.
    pub connection: ConnectionId,
    /// Of which model.
    pub model: String,
    /// From the last page.
    pub cursor: Option<String>,
    /// At most this many; 1 to 10,000.
    pub limit: usize,
    /// Only with these last actions: `added`, `updated`, `deleted`; empty is all.
    pub actions: Vec<String>,
    /// Only those changed after this.
    pub modified_after: Option<Timestamp>,
    /// Only these; empty is all.
    pub ids: Vec<String>,
}

/// Records in the order of their last change.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// Each is the saved object and `_metadata`.
    pub records: Vec<Value>,
    /// Goes in for the next page.
    pub next_cursor: Option<String>,
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// 1, 2, … within the execution.
    pub seq: i64,
    /// When, by the sandbox's clock.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// Lines in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// At most as many as asked for.
    pub lines: Vec<LogEntry>,
    /// The last line's `seq`, if there may be more: goes in as `after`.
    pub next_after: Option<i64>,
}
