//! Tenants and their keys; for the operator's key only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The unit of isolation, limits, keys and fairness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its name.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// When it was made.
    pub created_at: String,
}

/// What an operator says about a tenant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTenant {
    /// For people; the tenant's name when empty.
    #[serde(default)]
    pub display_name: String,
    /// Rules that narrow where its functions may connect:
    /// `{name, effect: allow|deny, hosts?, networks?, ports?}`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub egress: Vec<serde_json::Value>,
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
