//! The lease loop: takes as many leases as there is room for, runs them, renews them, settles them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_types::Lease;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::config::WorkerConfig;
use crate::leases::Leases;
use crate::runner::{Runner, Stop};
use crate::source::WorkSource;

/// After the source failed, this long until it is asked again, growing twofold to the second.
const SOURCE_WAIT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// Tries to settle one outcome. The lease runs out meanwhile if all fail, and the attempt is made again.
const SETTLE_TRIES_MAX: u32 = 8;

/// How long attempts that were told to stop have until they are gone: what a guest has to confirm a kill, and some.
const STOPPED_WAIT: Duration = Duration::from_secs(10);

/// Takes leases from a source and runs them.
pub struct Worker {
    config: WorkerConfig,
    source: Arc<dyn WorkSource>,
    runner: Runner,
    leases: Arc<Leases>,
    room: Arc<Semaphore>,
}

impl Worker {
    /// A worker that does nothing until [`Self::run`].
    #[must_use]
    pub fn new(config: WorkerConfig, source: Arc<dyn WorkSource>, runner: Runner) -> Self {
        let room = Arc::new(Semaphore::new(config.concurrency));
        Self { config, source, runner, leases: Arc::default(), room }
    }

    /// What runs the attempts; its snapshot is this worker's.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Works until `shutdown`, then takes no more leases, waits for what runs, ends what takes too long, and
    /// destroys every compartment.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut attempts = JoinSet::new();
        {
            let work = self.take_leases(&mut attempts);
            tokio::select! {
                () = work => {},
                () = self.renew() => {},
                () = self.pass_recalls() => {},
                () = shutdown => {},
            }
        }
        tokio::select! {
            () = self.drain(&mut attempts) => {},
            () = self.renew() => {},
            () = self.pass_recalls() => {},
        }
        attempts.shutdown().await;
        self.runner.shutdown().await;
    }

    /// Takes leases for ever, never more than there is room for.
    async fn take_leases(&self, attempts: &mut JoinSet<()>) {
        let mut wait = SOURCE_WAIT[0];
        loop {
            let Ok(first) = Arc::clone(&self.room).acquire_owned().await else { return };
            let mut room = vec![first];
            while let Ok(more) = Arc::clone(&self.room).try_acquire_owned() {
                room.push(more);
            }
            match self.source.lease(room.len()).await {
                Ok(leases) => {
                    wait = SOURCE_WAIT[0];
                    let taken_us = self.runner.monotonic().micros();
                    for (lease, permit) in leases.into_iter().zip(room) {
                        self.begin(lease, taken_us, permit, attempts);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no leases to be had; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(SOURCE_WAIT[1]);
                }
            }
            while attempts.try_join_next().is_some() {}
        }
    }

    fn begin(
        &self,
        lease: Lease,
        taken_us: u64,
        permit: OwnedSemaphorePermit,
        attempts: &mut JoinSet<()>,
    ) {
        let (holding, stopped) = self.leases.hold(&lease);
        let (source, runner) = (Arc::clone(&self.source), self.runner.clone());
        attempts.spawn(async move {
            let name = lease.lease.clone();
            let settled = runner.run_attempt(lease, taken_us, stopped.clone()).await;
            let lost = *stopped.borrow() == Some(Stop::Lost);
            if !lost {
                settle(source.as_ref(), &name, settled).await;
            }
            drop((holding, permit));
        });
    }

    /// Renews all leases in one go, again and again.
    async fn renew(&self) {
        let clock = self.runner.clock();
        let monotonic = self.runner.monotonic();
        let mut last_us = monotonic.micros();
        loop {
            let since = Duration::from_micros(monotonic.micros().saturating_sub(last_us));
            let due = self.leases.renew_in(self.config.renew_every).saturating_sub(since);
            tokio::select! {
                () = tokio::time::sleep(due) => {},
                // Counted from the last renewal still: leases that keep coming do not put it off.
                () = self.leases.more() => continue,
            }
            last_us = monotonic.micros();
            let held = self.leases.refs();
            if held.is_empty() {
                continue;
            }
            let asked_at = clock.now();
            match self.source.renew(&held).await {
                Ok(recalls) => {
                    self.leases.renewed(&held, asked_at);
                    recalls.iter().for_each(|recall| self.leases.recall(recall));
                }
                Err(error) => tracing::warn!(%error, leases = held.len(), "leases not renewed"),
            }
            self.leases.expire(clock.now());
        }
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

async fn settle(
    source: &dyn WorkSource,
    lease: &bulkhead_types::LeaseRef,
    settled: crate::source::Settled,
) {
    let mut wait = SOURCE_WAIT[0];
    for _ in 0..SETTLE_TRIES_MAX {
        match source.settle(lease, settled.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, execution = %lease.execution, "outcome not taken"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(SOURCE_WAIT[1]);
    }
    tracing::error!(execution = %lease.execution, "outcome given up; the lease will run out");
}
