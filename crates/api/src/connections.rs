//! Integrations and connections. Credentials go in and never come out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One external API that a tenant connects to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Integration {
    /// Its name.
    pub unique_key: String,
    /// The kind of API, such as `github`.
    pub provider: String,
    /// For people.
    pub display_name: String,
    /// Where its API is.
    pub base_url: Option<String>,
    /// How requests are authorised; without secrets.
    #[schema(value_type = Object)]
    pub auth: Value,
    /// How its webhooks are checked; without secrets.
    #[schema(value_type = Object)]
    pub webhook: Value,
    /// How many requests of one connection its API takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When it was made.
    pub created_at: String,
}

/// An integration to create or replace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutIntegration {
    /// The kind of API; the integration's name when absent.
    #[serde(default)]
    pub provider: Option<String>,
    /// For people; the integration's name when absent.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Where its API is, with scheme.
    #[serde(default)]
    pub base_url: Option<String>,
    /// How requests are authorised.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub auth: Value,
    /// How its webhooks are checked.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub webhook: Value,
    /// How many requests of one connection its API takes; without, only what it says itself counts.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

/// At most so many requests within any so many seconds, over all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests: u32,
    /// 1 to 86,400.
    #[schema(minimum = 1, maximum = 86_400)]
    pub per_s: u32,
}

/// Integrations of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntegrationList {
    /// The integrations.
    pub integrations: Vec<Integration>,
}

/// One end user's credentials for an integration, without the credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Its name.
    pub connection_id: String,
    /// Of which integration.
    pub integration: String,
    /// What the product keeps with it.
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// Values of the variables in the integration's URLs.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub connection_config: Value,
    /// Why its credentials could not be renewed: `{code, message, at, lasting, times}`. Absent while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub failure: Option<Value>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// A connection to create or replace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConnection {
    /// Its name.
    pub connection_id: String,
    /// Of which integration.
    pub integration: String,
    /// Write-only.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub credentials: Value,
    /// What the product keeps with it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// Values of the variables in the integration's URLs, such as `{"subdomain": "acme"}`.
    #[serde(default)]
    pub connection_config: BTreeMap<String, String>,
}

/// A way into a connection, for an end user to go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConnectSession {
    /// What the connection will be called.
    pub connection_id: String,
    /// Of which integration.
    pub integration: String,
    /// The connection's metadata.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// Values of the variables in the integration's URLs.
    #[serde(default)]
    pub connection_config: BTreeMap<String, String>,
    /// Asked for besides the integration's own.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Where the user goes in the end, with `connection_id` and `integration` in the query.
    #[serde(default)]
    pub redirect_url: Option<String>,
    /// How long the way is open: 60 to 86400, 1800 unless said.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// Where to send the end user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectSession {
    /// A secret of its user's; told this once.
    pub connect_url: String,
    /// It is open until then.
    pub expires_at: String,
}

/// What is known about well-known APIs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderList {
    /// By name.
    pub providers: Vec<ProviderInfo>,
}

/// A well-known API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderInfo {
    /// What `provider` of an integration is set to.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// Where its API is, with `${variables}`.
    pub base_url: String,
    /// How requests are authorised.
    pub auth_mode: String,
    /// How its webhooks are signed, where that is known.
    pub webhook_scheme: Option<String>,
    /// Where its API is described.
    pub docs: String,
}

/// What to change of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchConnection {
    /// New credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub credentials: Option<Value>,
    /// Fields to merge into the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub metadata: Option<Value>,
}

/// Connections of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// The connections.
    pub connections: Vec<Connection>,
    /// Goes into `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}
