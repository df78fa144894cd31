//! The lease loop: takes leases for as much as there is room, runs them, renews them, settles them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_types::Lease;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::capacity::Capacity;
use crate::config::WorkerConfig;
use crate::leases::Leases;
use crate::runner::{Runner, Stop};
use crate::source::WorkSource;

/// After the source failed, this long until it is asked again, growing twofold to the second: a server that is
/// started again is back within seconds.
const SOURCE_WAIT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Tries to settle one outcome, as long as the lease lives. If all fail it runs out, and the attempt is made again.
const SETTLE_TRIES_MAX: u32 = 20;

/// After a renewal that failed, so long until the next: leases must not run out for one lost message.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// After an answer with leases was lost, for so long a worker renews even when it holds nothing: what it was given and
/// never heard of is found missing in a renewal, once it is as old as a lease gets.
const UNSURE: Duration = Duration::from_secs(40);

/// How long attempts that were told to stop have until they are gone: what a guest has to confirm a kill, and some.
const STOPPED_WAIT: Duration = Duration::from_secs(10);

/// Takes leases from a source and runs them.
pub struct Worker {
    config: WorkerConfig,
    source: Arc<dyn WorkSource>,
    runner: Runner,
    leases: Arc<Leases>,
    capacity: Arc<Capacity>,
    /// When asking for leases last failed, by the runner's monotonic clock; 0 is never.
    failed_us: AtomicU64,
}

impl Worker {
    /// A worker that does nothing until [`Self::run`].
    #[must_use]
    pub fn new(config: WorkerConfig, source: Arc<dyn WorkSource>, runner: Runner) -> Self {
        let capacity = Arc::new(Capacity::new(config.capacity, config.headroom));
        let failed_us = AtomicU64::new(0);
        Self { config, source, runner, leases: Arc::default(), capacity, failed_us }
    }

    /// What runs the attempts; its snapshot is this worker's.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Works until `shutdown`, then takes no more leases, asks syncs to come to an end at a checkpoint, waits for what
    /// runs, ends what takes too long, and destroys every compartment.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut attempts = JoinSet::new();
        {
            let work = self.take_leases(&mut attempts);
            tokio::select! {
                () = work => {},
                () = self.keep_leases() => {},
                () = shutdown => {},
            }
        }
        self.leases.wind_down();
        tokio::select! {
            () = self.drain(&mut attempts) => {},
            () = self.keep_leases() => {},
        }
        attempts.shutdown().await;
        self.runner.shutdown().await;
    }

    /// Renews leases, stops those that are recalled or run out, for ever.
    async fn keep_leases(&self) {
        let clock = self.runner.clock();
        tokio::join!(
            self.renew(),
            self.pass_recalls(),
            self.leases.expire_for_ever(clock.as_ref())
        );
    }

    /// Takes leases for ever, for no more than there is room.
    async fn take_leases(&self, attempts: &mut JoinSet<()>) {
        let mut wait = SOURCE_WAIT[0];
        loop {
            let room = self.capacity.room().await;
            let asked = tokio::select! {
                asked = self.source.lease(room) => asked,
                // What did not fit may fit now: ask anew.
                () = self.capacity.grown(room), if self.source.may_ask_anew() => continue,
            };
            match asked {
                Ok(leases) => {
                    wait = SOURCE_WAIT[0];
                    let taken_us = self.runner.monotonic().micros();
                    for lease in leases {
                        self.begin(lease, taken_us, attempts);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no leases to be had; trying again");
                    self.failed_us
                        .store(self.runner.monotonic().micros().max(1), Ordering::Relaxed);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(SOURCE_WAIT[1]);
                }
            }
            while attempts.try_join_next().is_some() {}
        }
    }

    fn begin(&self, lease: Lease, taken_us: u64, attempts: &mut JoinSet<()>) {
        let units = self.capacity.take(lease.limits.units());
        let (holding, stopped) = self.leases.hold(&lease);
        let (source, runner) = (Arc::clone(&self.source), self.runner.clone());
        attempts.spawn(async move {
            let name = lease.lease.clone();
            let lost = stopped.clone();
            let settled = runner.run_attempt(lease, taken_us, stopped).await;
            settle(source.as_ref(), &name, settled, lost).await;
            drop((holding, units));
        });
    }

    /// Renews all leases in one go, again and again.
    async fn renew(&self) {
        let clock = self.runner.clock();
        let monotonic = self.runner.monotonic();
        let mut last_us = monotonic.micros();
        let mut every = self.config.renew_every;
        loop {
            let since = Duration::from_micros(monotonic.micros().saturating_sub(last_us));
            let due = self.leases.renew_in(every).saturating_sub(since);
            tokio::select! {
                () = tokio::time::sleep(due) => {},
                // Counted from the last renewal still: leases that keep coming do not put it off.
                () = self.leases.more() => continue,
            }
            last_us = monotonic.micros();
            let held = self.leases.refs();
            if held.is_empty() && !self.is_unsure() {
                continue;
            }
            let asked_at = clock.now();
            match self.source.renew(&held).await {
                Ok(recalls) => {
                    every = self.config.renew_every;
                    self.leases.renewed(&held, asked_at);
                    recalls.iter().for_each(|recall| self.leases.recall(recall));
                }
                Err(error) => {
                    every = self.config.renew_every.min(RENEW_AGAIN);
                    tracing::warn!(%error, leases = held.len(), "leases not renewed");
                }
            }
        }
    }

    /// Whether leases may have been given to this worker that it never heard of.
    fn is_unsure(&self) -> bool {
        let failed_us = self.failed_us.load(Ordering::Relaxed);
        let since = self.runner.monotonic().micros().saturating_sub(failed_us);
        failed_us > 0 && Duration::from_micros(since) < UNSURE
    }

    async fn pass_recalls(&self) {
        loop {
            let recall = self.source.recalls().await;
            self.leases.recall(&recall);
        }
    }

    /// Waits for what runs; ends what runs longer than a shutdown may wait.
    async fn drain(&self, attempts: &mut JoinSet<()>) {
        let all_done = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.config.drain, all_done).await.is_ok() {
            return;
        }
        self.leases.drain();
        let all_done = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(STOPPED_WAIT, all_done).await.is_err() {
            tracing::error!(left = attempts.len(), "attempts did not end; their leases run out");
        }
    }
}

/// Hands in an outcome, unless the lease is lost by then. A try under way is never broken off: a renewal finds the lease
/// gone as soon as the outcome is committed, and who waits for the execution is told after that.
async fn settle(
    source: &dyn WorkSource,
    lease: &bulkhead_types::LeaseRef,
    settled: crate::source::Settled,
    mut lost: watch::Receiver<Option<Stop>>,
) {
    let mut wait = SOURCE_WAIT[0];
    for _ in 0..SETTLE_TRIES_MAX {
        if *lost.borrow() == Some(Stop::Lost) {
            return;
        }
        match source.settle(lease, settled.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, execution = %lease.execution, "outcome not taken"),
        }
        tokio::select! {
            biased;
            // An error would mean that nobody holds the lease: it is held here.
            _ = lost.wait_for(|stop| *stop == Some(Stop::Lost)) => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(SOURCE_WAIT[1]);
    }
    tracing::error!(execution = %lease.execution, "outcome given up; the lease will run out");
}
