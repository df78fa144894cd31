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
    /// How its sandboxes came to be, and what it keeps warm; told by a server of its own worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmth: Option<Warmth>,
}

/// How sandboxes came to be since a worker started, and what it keeps warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Warmth {
    /// Starts whose sandbox was parked.
    pub parked: u64,
    /// Starts whose sandbox was forked on demand.
    pub forked: u64,
    /// Starts for which a compartment had to be built first.
    pub cold: u64,
    /// Compartments that exist.
    pub compartments: u64,
    /// Memory that idle compartments keep, in MiB, as last measured.
    pub memory_mib: u64,
    /// What they may keep, in MiB.
    pub memory_mib_max: u64,
    /// Idle compartments that had to go.
    pub evicted: u64,
    /// Compartments built before anybody called.
    pub prewarmed: u64,
}

/// The workers that one server has heard of lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<Worker>,
}
