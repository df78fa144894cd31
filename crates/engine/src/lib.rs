//! The engine: executions from accepted to final. One transaction per event: load, decide, commit, hand out.
//!
//! Layout, in the order of an execution's life:
//! - [`Engine::submit`]: idempotency and admission, then a queued execution (`submit.rs`).
//! - [`Engine::lease`], [`Engine::renew`], [`Engine::recalls`], [`Engine::settle`]: the worker's side (`worker.rs`).
//! - [`Engine::wait`], [`Engine::execution`], …: looking at it (`look.rs`).
//! - [`Engine::cancel`], [`Engine::retry`], [`Engine::replay`]: stopping it, repeating it (`stop.rs`).
//! - [`Engine::set_gate`], [`Engine::set_share`], …: limits and pauses (`gates.rs`).
//! - [`Engine::put_schedule`], …: what makes executions by the clock (`schedule.rs`).
//! - [`Engine::run_background`], [`Engine::recover`]: what time alone brings about (`background.rs`).
//!
//! Invariant: the engine knows no SQL and decides nothing: `bulkhead-store` keeps, `bulkhead-sched` decides, inside
//! one transaction each. What this crate adds is who is woken: callers that wait for an end, workers that wait for
//! work, the background that waits for a moment. It holds nothing in memory that a restart would miss.

mod background;
mod error;
mod gates;
mod look;
mod payloads;
mod recalls;
mod schedule;
mod stop;
mod submit;
mod tickets;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_blobs::Store as Blobs;
use bulkhead_store::hot::Store;
use bulkhead_types::{Clock, Entropy};
use tokio::sync::Notify;

pub use bulkhead_sched::frequency::{Frequency, FrequencyError};
pub use bulkhead_sched::gate::Gate;
pub use bulkhead_sched::room::headroom;
pub use bulkhead_sched::share::{Share, ShareLimits};
pub use bulkhead_store::hot::model::{
    ExecutionFilter, GateChange, GateOf, Idempotency, Overlap, Page, RecallReason, Schedule,
    ScheduleKey, Settled, Settlement, Submit, SubmitError, Submitted,
};
pub use error::EngineError;
pub use schedule::{Live, Resolve, ScheduleSpec};
pub use stop::{CancelOutcome, REPLAYED_MAX, Replayed};
pub use worker::Recall;

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: EngineOptions,
    /// Something may be runnable: one worker is woken, and wakes the next if there is more.
    runnable: Notify,
    /// The background's next moment may be earlier than it thinks.
    sooner: Notify,
    /// The schedules' next moment may be earlier than it was.
    schedules: Notify,
    tickets: tickets::Tickets,
    recalls: recalls::Recalls,
    inboxes: worker::Inboxes,
    /// Where large inputs and outputs are; without, they stand in the database like others.
    blobs: Option<Blobs>,
    /// Grows when another server has changed what tenants deploy and set up.
    catalog: AtomicU64,
}

/// How the engine behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long a lease lives unless renewed.
    pub lease: Duration,
    /// How long [`Engine::lease`] waits before it answers that there is nothing.
    pub lease_wait: Duration,
    /// How long executions are kept after they were accepted, once they are final.
    pub retention: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lease: bulkhead_sched::lease::LEASE,
            lease_wait: Duration::from_secs(30),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Engine {
    /// An engine over a store: [`bulkhead_store::hot::sqlite::SqliteStore`] or
    /// [`bulkhead_store::hot::mem::MemStore`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: EngineOptions,
    ) -> Self {
        Self::build(store, clock, entropy, options, None)
    }

    /// The same, with large inputs and outputs kept in `blobs`.
    #[must_use]
    pub fn with_blobs(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: EngineOptions,
        blobs: Blobs,
    ) -> Self {
        Self::build(store, clock, entropy, options, Some(blobs))
    }

    /// Grows whenever another server that shares the database has changed what tenants deploy and set up: what was
    /// read before, and kept in memory, counts no more then.
    #[must_use]
    pub fn catalog_generation(&self) -> u64 {
        self.inner.catalog.load(Ordering::SeqCst)
    }

    fn build(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: EngineOptions,
        blobs: Option<Blobs>,
    ) -> Self {
        let inner = Inner {
            store,
            clock,
            entropy,
            options,
            runnable: Notify::new(),
            sooner: Notify::new(),
            schedules: Notify::new(),
            tickets: tickets::Tickets::default(),
            recalls: recalls::Recalls::default(),
            inboxes: worker::Inboxes::default(),
            blobs,
            catalog: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.inner.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
