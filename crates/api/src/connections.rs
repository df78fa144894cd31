//! Integrations and connections. Credentials go in and never come out.

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
