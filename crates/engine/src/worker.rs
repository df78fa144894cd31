//! The worker's side: taking work, keeping it, handing in how it ended.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use bulkhead_store::StoreError;
use bulkhead_store::hot::model::Dispatch;
use bulkhead_types::{
    Attempt, Cause, ErrorInfo, Execution, ExecutionState, Fault, Lease, LeaseRef, Outcome, Retry,
    Room, WorkerId,
};
use tokio::sync::Notify;

use crate::{Engine, EngineError, RecallReason, Settled, Settlement};

/// Leases that a worker was given and has not taken yet. Empty but for the moments between the two.
#[derive(Debug, Default)]
pub(crate) struct Inboxes {
    kept: Mutex<HashMap<WorkerId, Vec<Lease>>>,
    /// Tells those who wait now that something was put. What is put while nobody waits is found by the next call.
    filled: Notify,
}

impl Inboxes {
    pub(crate) fn put(&self, worker: WorkerId, leases: Vec<Lease>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(worker).or_default().extend(leases);
        drop(kept);
        self.filled.notify_waiters();
    }

    /// At most as many as there are CPU units for: each takes one at least.
    fn take(&self, worker: &WorkerId, room: Room) -> Vec<Lease> {
        let max = usize::try_from(room.free.cpu).unwrap_or(usize::MAX);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut leases) = kept.remove(worker) else { return Vec::new() };
        if leases.len() > max {
            kept.insert(worker.clone(), leases.split_off(max));
        }
        leases
    }
}

/// A running execution that must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Which.
    pub lease: LeaseRef,
    /// Why.
    pub reason: RecallReason,
}

impl Engine {
    /// Waits until there is work that fits into `room`, then takes leases for it. Returns none after
    /// [`crate::EngineOptions::lease_wait`], and at once when no CPU unit is free. May be given up at any moment, as
    /// when there is more room: leases that were on their way are what the worker's next call returns.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lease(
        &self,
        worker: &WorkerId,
        room: impl Into<Room>,
    ) -> Result<Vec<Lease>, EngineError> {
        let room = room.into();
        if room.free.cpu == 0 {
            return Ok(Vec::new());
        }
        let deadline = tokio::time::Instant::now() + self.inner.options.lease_wait;
        loop {
            let left_over = self.inner.inboxes.take(worker, room);
            if !left_over.is_empty() {
                return Ok(left_over);
            }
            // A task of its own: whoever calls may go away in the middle, and what the store has given by then
            // would be nobody's until its lease ends.
            let (engine, for_whom) = (self.clone(), worker.clone());
            #[allow(
                clippy::disallowed_methods,
                reason = "it is awaited on the next line; see above"
            )]
            let task = tokio::spawn(async move { engine.dispatch(for_whom, room).await });
            match task.await {
                Ok(dispatched) => dispatched?,
                Err(_) => return Err(StoreError::Closed.into()),
            }
            // The dispatch of a call that was given up may still be on its way, and then this call is who takes what
            // it brings: registered before the look, so that nothing comes in between.
            let mut filled = pin!(self.inner.inboxes.filled.notified());
            filled.as_mut().enable();
            let leases = self.inner.inboxes.take(worker, room);
            if !leases.is_empty() {
                return Ok(leases);
            }
            // In order, here and in the background: what happens next is for the seed of a simulated run to say.
            tokio::select! {
                biased;
                () = filled => {},
                // The permit of a notification that came during the dispatch was kept, so none is missed.
                () = self.inner.runnable.notified() => {},
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
            }
        }
    }

    /// Takes leases into the worker's inbox.
    async fn dispatch(&self, worker: WorkerId, room: Room) -> Result<(), EngineError> {
        let (now, lease) = (self.inner.clock.now(), self.inner.options.lease);
        let dispatch = Dispatch { worker: worker.clone(), room, now, lease };
        let dispatched = self.inner.store.dispatch(dispatch).await?;
        for id in &dispatched.ended {
            self.inner.tickets.ended(id);
        }
        if dispatched.more {
            self.inner.runnable.notify_one();
        }
        if !dispatched.leases.is_empty() {
            self.inner.inboxes.put(worker, self.with_inputs(dispatched.leases).await);
            self.inner.sooner.notify_one();
        }
        Ok(())
    }

    /// Leases with their inputs. One whose input can't be read is not handed out but given back, to be tried again.
    async fn with_inputs(&self, mut leases: Vec<Lease>) -> Vec<Lease> {
        let inputs = leases.iter_mut().map(|lease| lease.input.take()).collect();
        let mut readable = Vec::new();
        for (lease, input) in leases.into_iter().zip(self.all_whole(inputs).await) {
            match input {
                Ok(input) => readable.push(Lease { input, ..lease }),
                Err(error) => self.give_back(&lease, &error).await,
            }
        }
        readable
    }

    async fn give_back(&self, lease: &Lease, error: &StoreError) {
        let execution = &lease.lease.execution;
        tracing::error!(error = error as &dyn std::error::Error, %execution, "an input can't be read");
        let info = ErrorInfo::new(error.code(), "The execution's input could not be read.");
        let cause = Cause { error: info, fault: Fault::Platform, retry: Retry::Policy };
        if let Err(error) = self.settle(&lease.lease, Settled::new(Outcome::Failed(cause))).await {
            // The lease runs out, and comes back by itself.
            tracing::error!(%error, %execution, "nor can it be given back");
        }
    }

    /// Renews a worker's leases in one write: those named, and no others. Call it three times per
    /// [`crate::EngineOptions::lease`]. Returns what the worker must stop.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew(
        &self,
        worker: &WorkerId,
        leases: &[LeaseRef],
    ) -> Result<Vec<Recall>, EngineError> {
        let (now, lease) = (self.inner.clock.now(), self.inner.options.lease);
        let (recalls, tick) =
            self.inner.store.renew(worker.clone(), leases.to_vec(), now, lease).await?;
        self.tell(&tick);
        Ok(recalls.into_iter().map(|(lease, reason)| Recall { lease, reason }).collect())
    }

    /// The execution that `worker` runs under `lease`, with its attempt; `None` when the worker does not hold that
    /// lease, any more or ever. A large input is left where it is: see [`Self::held_whole`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn held(
        &self,
        worker: &WorkerId,
        lease: &LeaseRef,
    ) -> Result<Option<(Execution, Attempt)>, EngineError> {
        let store = &self.inner.store;
        let Some(execution) = store.execution(lease.execution.clone()).await? else {
            return Ok(None);
        };
        if execution.state != ExecutionState::Running || execution.fence != lease.fence {
            return Ok(None);
        }
        let attempts = store.attempts(lease.execution.clone()).await?;
        let is_it = |attempt: &Attempt| attempt.fence == lease.fence && attempt.worker == *worker;
        Ok(attempts.into_iter().find(is_it).map(|attempt| (execution, attempt)))
    }

    /// As [`Self::held`], with the input whatever its size.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn held_whole(
        &self,
        worker: &WorkerId,
        lease: &LeaseRef,
    ) -> Result<Option<(Execution, Attempt)>, EngineError> {
        match self.held(worker, lease).await? {
            Some((execution, attempt)) => Ok(Some((self.with_payloads(execution).await?, attempt))),
            None => Ok(None),
        }
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
    pub async fn settle(
        &self,
        lease: &LeaseRef,
        mut settled: Settled,
    ) -> Result<Settlement, EngineError> {
        if let Outcome::Completed(output) = &mut settled.outcome {
            *output = self.apart(output.take()).await?;
        }
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
