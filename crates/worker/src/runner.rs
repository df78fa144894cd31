//! Runs attempts, wherever they come from: the lease loop, or a benchmark that has no engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bulkhead_types::{Clock, Entropy, FunctionKey, Lease, Limits};
use bulkhead_wall::Walls;
use tokio::sync::watch;

use crate::attempt;
use crate::clock::Monotonic;
use crate::config::{PoolConfig, ZygoteConfig};
use crate::egress::Egress;
use crate::pool::{Pool, Prewarmed, TakeError};
use crate::source::{Host, Prepared, Settled};
use crate::stats::{Snapshot, StartSample, Stats};

/// Everything a runner asks of the world.
#[derive(Clone)]
pub struct Parts {
    /// Answers calls, keeps logs.
    pub host: Arc<dyn Host>,
    /// Build compartments.
    pub walls: Walls,
    /// Connects sandboxes to the world.
    pub egress: Arc<dyn Egress>,
    /// Tells the date.
    pub clock: Arc<dyn Clock>,
    /// Measures durations.
    pub monotonic: Arc<dyn Monotonic>,
    /// Seeds sandboxes.
    pub entropy: Arc<dyn Entropy>,
}

/// Why a running attempt must stop early. A later reason takes the place of an earlier one in this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// This worker is shutting down: a sync is asked to save a checkpoint and end there; others go on.
    Winding,
    /// Somebody cancelled it: tell the sandbox, and kill it half a second later.
    Cancelled,
    /// The lease belongs to somebody else: kill it, nobody waits for the outcome.
    Lost,
    /// This worker is shutting down: kill it, to be run again elsewhere.
    Drained,
}

/// Runs attempts. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) pool: Arc<Pool>,
    pub(crate) stats: Arc<Stats>,
}

/// How one attempt went, with what only the worker saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How it ended; `usage.start_us` is lease to first line.
    pub settled: Settled,
    /// Until the sandbox was in hand, microseconds.
    pub sandbox_us: u64,
    /// Until its outcome was known, microseconds.
    pub total_us: u64,
}

impl Runner {
    /// Makes a runner with an empty pool. Needs a tokio runtime around it.
    #[must_use]
    pub fn new(pool: PoolConfig, zygote: ZygoteConfig, parts: Parts) -> Self {
        let stats = Arc::new(Stats::default());
        let pool = Pool::new(pool, zygote, &parts, Arc::clone(&stats));
        Self { inner: Arc::new(Inner { parts, pool, stats }) }
    }

    /// Runs one attempt from lease to outcome. `taken_us` is when the lease was taken, by the runner's monotonic
    /// clock. `stop` ends it early; after [`Stop::Lost`] nobody wants the outcome.
    pub async fn run_attempt(
        &self,
        lease: Lease,
        taken_us: u64,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Settled {
        let _running = Running::begin(&self.inner.stats);
        attempt::run_attempt(&self.inner, lease, taken_us, stop).await
    }

    /// Runs one attempt of what is prepared already, without an engine: for benchmarks. The lease need not exist
    /// anywhere; [`Parts::host`] sees it as given.
    pub async fn direct(&self, lease: Lease, prepared: &Prepared) -> Measured {
        let taken_us = self.inner.parts.monotonic.micros();
        let (_keep, stop) = watch::channel(None);
        attempt::run_prepared(&self.inner, &lease, prepared, taken_us, stop).await
    }

    /// Builds what the first attempt of a version would have to wait for, and parks sandboxes.
    ///
    /// # Errors
    /// When compartment or zygote cannot be had.
    pub async fn warm(&self, prepared: &Prepared, limits: &Limits) -> Result<(), TakeError> {
        self.inner.pool.warm(prepared, limits).await
    }

    /// The same for an attempt that may come, of the version that is live: in the tenant's share of what may be kept warm,
    /// and behind everybody who waits.
    ///
    /// # Errors
    /// When compartment or zygote cannot be had.
    pub async fn prewarm(
        &self,
        prepared: &Prepared,
        limits: &Limits,
    ) -> Result<Prewarmed, TakeError> {
        self.inner.pool.prewarm(prepared, limits).await
    }

    /// Whether any version of a function has a compartment.
    #[must_use]
    pub fn is_warm(&self, function: &FunctionKey) -> bool {
        self.inner.pool.is_warm(function)
    }

    /// What was done so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let compartments_wanted = self.inner.pool.compartments_wanted();
        Snapshot { compartments_wanted, ..self.inner.stats.snapshot() }
    }

    /// The newest starts one by one, oldest first.
    #[must_use]
    pub fn recent_starts(&self) -> Vec<StartSample> {
        self.inner.stats.recent()
    }

    /// The clock that `taken_us` is read from.
    #[must_use]
    pub fn monotonic(&self) -> Arc<dyn Monotonic> {
        Arc::clone(&self.inner.parts.monotonic)
    }

    /// The clock that tells the date.
    #[must_use]
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.parts.clock)
    }

    /// Destroys every compartment; returns when nothing is left. Attempts that still run end as crashed.
    pub async fn shutdown(&self) {
        self.inner.pool.shutdown().await;
    }
}

/// Counts an attempt as running, for as long as it lives.
struct Running<'a>(&'a Stats);

impl<'a> Running<'a> {
    fn begin(stats: &'a Stats) -> Self {
        stats.running.fetch_add(1, Ordering::Relaxed);
        Self(stats)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
