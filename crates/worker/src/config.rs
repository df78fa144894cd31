//! What an operator may set about a worker. The binary resolves it; here are the values and their defaults.

use std::time::Duration;

use bulkhead_types::{Isolation, Units};

/// Of the lease loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// What it has for attempts to take.
    pub capacity: Units,
    /// The last so many CPU units are for tenants that run nothing.
    pub headroom: u32,
    /// How often leases are renewed, all in one write. Leases that live shorter are renewed at a third of their
    /// life.
    pub renew_every: Duration,
    /// How long a shutdown waits for running attempts before it ends them; they are run again elsewhere.
    pub drain: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let renew_every = Duration::from_secs(5);
        let capacity = Units { cpu: 64, memory_mib: 8 * 1_024 };
        Self { capacity, headroom: 0, renew_every, drain: Duration::from_secs(30) }
    }
}

/// Of the pool of compartments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Sandboxes at a time in one compartment.
    pub slots: u32,
    /// Compartments at a time of one version.
    pub compartments_per_version: usize,
    /// Compartments at a time in all.
    pub compartments: usize,
    /// Memory, MiB, that compartments without a running attempt may keep in all, as measured. Each tenant has its share
    /// of it.
    pub warm_memory_mib: u64,
    /// Memory, MiB, that there is for running attempts, by their limits. Of what they leave of it, idle compartments may
    /// keep half besides, until attempts want it.
    pub attempt_memory_mib: u64,
    /// Compartments being built at the same time.
    pub builds: usize,
    /// Parked sandboxes that a version in use keeps ready at least.
    pub parked_min: usize,
    /// At most, after bursts.
    pub parked_max: usize,
    /// After this long without an attempt a compartment goes.
    pub idle: Duration,
    /// How long an attempt waits for a sandbox before it is given back as the platform's failure.
    pub wait: Duration,
    /// The least isolation between executions, whatever a function asks for.
    pub isolation: Isolation,
    /// How long a fork may take. Longer than the guest's own 30 seconds, so that its word on the cause comes first.
    pub fork: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            slots: 64,
            compartments_per_version: 4,
            compartments: 128,
            warm_memory_mib: 4_096,
            attempt_memory_mib: 0,
            builds: 4,
            parked_min: 2,
            parked_max: 16,
            idle: Duration::from_secs(300),
            wait: Duration::from_secs(60),
            isolation: Isolation::Fork,
            fork: Duration::from_secs(35),
        }
    }
}

/// How a zygote is started. The bundle's path inside the compartment is appended to `argv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZygoteConfig {
    /// Program and arguments before the bundle, as paths inside the compartment.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// How long runtime and bundle may take to load.
    pub ready: Duration,
}

impl Default for ZygoteConfig {
    fn default() -> Self {
        let argv = ["/runtime/node", "--single-threaded", "/runtime/harness/zygote.js"];
        Self {
            argv: argv.map(String::from).to_vec(),
            env: vec![("NODE_ENV".into(), "production".into()), ("TZ".into(), "UTC".into())],
            ready: Duration::from_secs(30),
        }
    }
}
