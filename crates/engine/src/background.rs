//! What time alone brings about: dead leases, waits that are over, start-by deadlines, due schedules,
//! old history.
//!
//! Each loop looks at state, does what is due, and sleeps until the next moment the store knows of or until
//! somebody says that it may be sooner. Doing it twice does nothing more, so recovery after a crash is one more
//! ordinary turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bulkhead_store::hot::model::Tick;
use bulkhead_store::hot::news::News;
use bulkhead_types::{Timestamp, WorkerId};
use tokio::sync::Notify;

use crate::worker::Recall;
use crate::{Engine, EngineError, RecallReason, Resolve};

/// Executions moved in one transaction; more follow in the next.
const TICK_SIZE: usize = 256;

/// Executions looked at, and forgotten if they are old, in one transaction.
const FORGOTTEN_AT_ONCE: usize = 200;

/// The longest sleep: the wall clock may have been set while we slept.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The shortest sleep: many moments close together become one turn.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// The pause after a turn that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

impl Engine {
    /// Runs the background until `shutdown` resolves. Run exactly one per server.
    pub async fn run_background(
        &self,
        resolve: Arc<dyn Resolve>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let leases = every_moment(&self.inner.sooner, self, |engine| engine.tick());
        let schedules = every_moment(&self.inner.schedules, self, |engine| {
            let resolve = Arc::clone(&resolve);
            async move { engine.fire_due(resolve.as_ref()).await }
        });
        // History has no hurry: it is looked at when the longest sleep is over.
        let unhurried = Notify::new();
        let history = every_moment(&unhurried, self, |engine| engine.forget_old());
        tokio::select! {
            biased;
            () = shutdown => {}
            () = async { tokio::join!(leases, schedules, history, self.hear(), self.sweep_for_ever()); } => {}
        }
    }

    /// One turn: ends dead leases, queues what has waited, expires what did not start in time. Returns when the
    /// next turn is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tick(&self) -> Result<Option<Timestamp>, EngineError> {
        loop {
            let tick = self.inner.store.tick(self.inner.clock.now(), TICK_SIZE).await?;
            self.tell(&tick);
            if !tick.more {
                return Ok(tick.next_at);
            }
        }
    }

    /// Forgets executions older than [`crate::EngineOptions::retention`]. Returns `None`: there is no next moment
    /// to wait for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_old(&self) -> Result<Option<Timestamp>, EngineError> {
        let now = self.inner.clock.now();
        let retention = i64::try_from(self.inner.options.retention.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(now.as_millis().saturating_sub(retention));
        let mut cursor = Some(0);
        while let Some(after) = cursor {
            cursor = self.inner.store.forget(before, after, FORGOTTEN_AT_ONCE).await?.cursor;
        }
        Ok(None)
    }

    /// Ends at once the leases of a worker that is known to be dead: a server's own, from before it was started
    /// again. Workers elsewhere live on, and have the time of a lease to say so. Returns how many executions were
    /// taken back.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover(&self, dead: &WorkerId) -> Result<usize, EngineError> {
        let tick = self.inner.store.recover(dead.clone(), self.inner.clock.now()).await?;
        self.tell(&tick);
        Ok(tick.lost.len())
    }

    /// Passes on what other servers brought about to those who wait here.
    async fn hear(&self) {
        loop {
            for news in self.inner.store.news().await {
                match news {
                    News::Runnable => self.inner.runnable.notify_one(),
                    News::Sooner => self.inner.sooner.notify_one(),
                    News::Schedules => self.inner.schedules.notify_one(),
                    News::Ended(id) => self.inner.tickets.ended(&id),
                    News::Cancelled(worker, lease) => {
                        let reason = RecallReason::Cancelled;
                        self.inner.recalls.push(&worker, Recall { lease, reason });
                    }
                    News::Lost(worker, lease) => {
                        let reason = RecallReason::Lost;
                        self.inner.recalls.push(&worker, Recall { lease, reason });
                    }
                    News::Catalog => drop(self.inner.catalog.fetch_add(1, Ordering::SeqCst)),
                    News::Missed => {
                        self.inner.catalog.fetch_add(1, Ordering::SeqCst);
                        self.inner.runnable.notify_one();
                        self.inner.sooner.notify_one();
                        self.inner.schedules.notify_one();
                        self.inner.tickets.look_again();
                    }
                }
            }
        }
    }

    pub(crate) fn tell(&self, tick: &Tick) {
        for id in &tick.ended {
            self.inner.tickets.ended(id);
        }
        for (worker, lease) in &tick.lost {
            tracing::warn!(%worker, execution = %lease.execution, "a lease was lost");
            self.inner
                .recalls
                .push(worker, Recall { lease: lease.clone(), reason: RecallReason::Lost });
        }
        if tick.runnable {
            self.inner.runnable.notify_one();
        }
    }
}

/// Takes turns for ever: `turn`, then sleep until the moment it named, or until `sooner`.
async fn every_moment<'a, F>(sooner: &Notify, engine: &'a Engine, turn: impl Fn(&'a Engine) -> F)
where
    F: Future<Output = Result<Option<Timestamp>, EngineError>> + 'a,
{
    loop {
        let sleep = match turn(engine).await {
            Ok(Some(at)) => at.since(engine.inner.clock.now()).clamp(SLEEP_MIN, SLEEP_MAX),
            Ok(None) => SLEEP_MAX,
            Err(error) => {
                tracing::error!(%error, "a turn of the engine's background failed");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        // Either way the next turn looks at everything.
        drop(tokio::time::timeout(sleep, sooner.notified()).await);
    }
}
