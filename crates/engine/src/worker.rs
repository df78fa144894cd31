//! The worker's side: taking work, keeping it, handing in how it ended.

use bulkhead_store::hot::model::Dispatch;
use bulkhead_types::{ExecutionState, Lease, LeaseRef, WorkerId};

use crate::{Engine, EngineError, RecallReason, Settled, Settlement};

/// A running execution that must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Which.
    pub lease: LeaseRef,
    /// Why.
    pub reason: RecallReason,
}

impl Engine {
    /// Waits until there is work, then takes 1 to `max` leases. Returns none after
    /// [`crate::EngineOptions::lease_wait`], and at once when `max` is 0.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lease(&self, worker: &WorkerId, max: usize) -> Result<Vec<Lease>, EngineError> {
        let deadline = tokio::time::Instant::now() + self.inner.options.lease_wait;
        while max > 0 {
            // The permit of a notification that comes during the dispatch is kept, so none is missed.
            let dispatch = Dispatch {
                worker: worker.clone(),
                max,
                now: self.inner.clock.now(),
                lease: self.inner.options.lease,
            };
            let dispatched = self.inner.store.dispatch(dispatch).await?;
            for id in &dispatched.ended {
                self.inner.tickets.ended(id);
            }
            if dispatched.more {
                self.inner.runnable.notify_one();
            }
            if !dispatched.leases.is_empty() {
                self.inner.sooner.notify_one();
                return Ok(dispatched.leases);
            }
            if tokio::time::timeout_at(deadline, self.inner.runnable.notified()).await.is_err() {
                break;
            }
        }
        Ok(Vec::new())
    }

    /// Renews a worker's leases in one write: those named, and no others. Call it three times per
    /// [`crate::EngineOptions::lease`]. Returns what the worker must stop.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew(&self, worker: &WorkerId, leases: &[LeaseRef]) -> Result<Vec<Recall>, EngineError> {
        let (now, lease) = (self.inner.clock.now(), self.inner.options.lease);
        let (recalls, tick) = self.inner.store.renew(worker.clone(), leases.to_vec(), now, lease).await?;
        self.tell(&tick);
        Ok(recalls.into_iter().map(|(lease, reason)| Recall { lease, reason }).collect())
    }

    /// Waits until an execution that `worker` runs is to be stopped.
    pub async fn recalls(&self, worker: &WorkerId) -> Recall {
        self.inner.recalls.next(worker).await
    }

    /// Takes the outcome of an attempt. [`Settlement::Stale`] when the lease is not the newest: somebody else has
    /// run the execution, or it was ended; the outcome counts for nothing.
    ///
    /// # Errors
    /// When the store fails; the outcome may then be handed in again.
    pub async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<Settlement, EngineError> {
        let (now, random) = (self.inner.clock.now(), self.random());
        let settlement = self.inner.store.settle(lease.clone(), settled, now, random).await?;
        if let Settlement::Accepted { state, .. } = settlement {
            if state.is_final() {
                self.inner.tickets.ended(&lease.execution);
            }
            if state == ExecutionState::Waiting {
                self.inner.sooner.notify_one();
            }
            // Its slot is free: for the execution itself, or for another of a tenant that was at its limit.
            self.inner.runnable.notify_one();
        }
        Ok(settlement)
    }
}
