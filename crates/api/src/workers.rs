//! Workers, as the operator sees them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A worker that a server has heard of lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its name, new at every start.
    pub id: String,
    /// For people: its machine's name, unless it was given another.
    pub name: String,
    /// The id of the token it joined with; absent for a server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its version of Bulkhead.
    pub version: String,
    /// CPU units that it has for attempts, of which each takes one unless it asks for more.
    pub capacity: u32,
    /// Memory that it has for attempts, in MiB.
    pub memory_mib: u64,
    /// Attempts that it runs now.
    pub running: u64,
    /// It takes no more leases.
    pub draining: bool,
    /// When it was first heard of.
    pub since: String,
    /// When it was last heard of.
    pub seen: String,
}

/// The workers that one server has heard of lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<Worker>,
}
