//! One attempt from lease to outcome; the pool of compartments and zygotes.
//!
//! Read in this order: `worker` takes leases, `runner` holds what an attempt needs, `attempt` runs one from
//! lease to outcome, `pool` gives it a sandbox, `mux` carries the frames. `source` and `egress` are the seams:
//! where work comes from, who answers what functions ask for, who connects them to the world.
//!
//! Invariant: a worker knows no database and no HTTP. Work comes from a [`WorkSource`], a function's calls are
//! answered by a [`Host`], and sandboxes live behind any `Wall`.

mod attempt;
mod capacity;
mod clock;
mod config;
mod egress;
mod leases;
mod mux;
mod pool;
mod runner;
mod source;
mod stats;
mod tasks;
mod text;
mod worker;

pub use clock::{Monotonic, SystemMonotonic};
pub use config::{PoolConfig, WorkerConfig, ZygoteConfig};
pub use egress::{Connected, Egress, declared};
pub use pool::{Prewarmed, TakeError};
pub use runner::{Measured, Parts, Runner, Stop};
pub use source::{
    Host, Prepared, Recall, RecallReason, Settled, SourceError, Streamed, WorkSource,
};
pub use stats::{
    BUCKETS_US, Percentiles, RECENT_STARTS_MAX, Snapshot, StartCounts, StartSample, Warmth,
};
pub use worker::Worker;
