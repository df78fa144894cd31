//! Tenants and their keys; for the operator's key only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::records::RecordSettings;

/// The unit of isolation, limits, keys and fairness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its name.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// When it was made.
    pub created_at: String,
    /// What it has queued and running, and what it may have.
    pub share: TenantShare,
    /// The least wall that its functions run behind: `process`, `gvisor` or `microvm`; absent is the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_floor: Option<String>,
    /// Rules that narrow where its functions may connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub egress: Vec<serde_json::Value>,
    /// How its records are kept.
    #[serde(default)]
    pub records: RecordSettings,
}

/// What a tenant has queued and running, and what it may have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TenantShare {
    /// Its share of the slots relative to others.
    pub weight: u32,
    /// Attempts that may run at the same time.
    pub running_max: u32,
    /// Executions that may be queued or waiting; more are refused with 429 `queue_full`.
    pub queued_max: u64,
    /// Nothing of it begins.
    pub paused: bool,
    /// Executions that want to run now.
    pub queued: u64,
    /// Those of them that a limit or a pause holds.
    pub held: u64,
    /// Executions that go on later.
    pub waiting: u64,
    /// Attempts that run.
    pub running: u32,
}

/// What an operator says about a tenant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTenant {
    /// For people; the tenant's name when empty.
    #[serde(default)]
    pub display_name: String,
    /// Rules that narrow where its functions may connect:
    /// `{name, effect: allow|deny, hosts?, networks?, ports?}`; absent leaves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub egress: Option<Vec<serde_json::Value>>,
    /// Its share of the slots relative to others, 1 to 1,000; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Attempts that may run at the same time; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
    /// Executions that may be queued or waiting; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_max: Option<u64>,
    /// The least wall that its functions run behind: `process`, `gvisor` or `microvm`; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_floor: Option<String>,
    /// How its records are kept; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordSettings>,
}

/// Every tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// The tenants.
    pub tenants: Vec<Tenant>,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutKey {
    /// What it is for.
    #[serde(default)]
    pub label: String,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its name.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created_at: String,
}

/// A key that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyCreated {
    /// Its name.
    pub id: String,
    /// Goes into `Authorization: Bearer …`. Shown now and never again: only its hash is kept.
    pub secret: String,
}

/// Keys of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<Key>,
}
