//! Deployments, functions and the schedules of syncs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A set of functions to make live, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The functions.
    pub functions: Vec<DeployFunction>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Functions that are live and not in `functions` are removed; without this, that is refused.
    #[serde(default)]
    pub allow_destructive: bool,
    /// Leave live functions that are not in `functions` as they are, instead of removing them.
    #[serde(default)]
    pub partial: bool,
}

/// One function to deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployFunction {
    /// What the author declared, as the compiler wrote it into `manifest.json`.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// The bundle: JavaScript, one CommonJS file.
    pub bundle: String,
    /// Its source map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_map: Option<String>,
}

/// A set of versions made live atomically.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its name; absent for a dry run.
    pub id: Option<String>,
    /// When; absent for a dry run.
    pub created_at: Option<String>,
    /// What it changed.
    pub changes: Vec<Change>,
}

/// What a deployment does to one function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// `added`, `changed`, `removed` or `unchanged`.
    pub change: String,
    /// For which external API.
    pub integration: String,
    /// `action`, `sync`, `webhook` or `event`.
    pub kind: String,
    /// Which function.
    pub name: String,
    /// What differs, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Deployments, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentList {
    /// The deployments.
    pub deployments: Vec<Deployment>,
}

/// A live function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    /// For which external API.
    pub integration: String,
    /// `action`, `sync`, `webhook` or `event`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The live build.
    pub version: String,
    /// What the author declared.
    #[schema(value_type = Object)]
    pub spec: Value,
}

/// The live functions of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    /// The functions.
    pub functions: Vec<Function>,
}

/// A sync of one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sync {
    /// For which external API.
    pub integration: String,
    /// Its name.
    pub name: String,
    /// Of which connection; absent while the sync has no schedule.
    pub connection_id: Option<String>,
    /// How often.
    pub frequency: Option<String>,
    /// Whether it is paused.
    pub paused: bool,
    /// When it runs next.
    pub next_at: Option<String>,
    /// Its newest execution.
    pub last_execution_id: Option<String>,
}

/// Syncs of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SyncList {
    /// The syncs.
    pub syncs: Vec<Sync>,
}

/// Which connection's sync to trigger, pause or resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncCall {
    /// Which connection.
    pub connection_id: String,
    /// Trigger: forget the checkpoint first.
    #[serde(default)]
    pub reset: bool,
    /// Trigger: forget the records first.
    #[serde(default)]
    pub empty_cache: bool,
}

/// How often a sync of one connection runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFrequency {
    /// Which connection.
    pub connection_id: String,
    /// `every 5m`, `cron: 0 6 * * 1-5 Europe/Paris`; null goes back to what the author declared.
    pub frequency: Option<String>,
}
