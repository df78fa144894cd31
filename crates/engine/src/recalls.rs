//! Recalls: what each worker is to stop, kept until it asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_types::WorkerId;
use tokio::sync::Notify;

use crate::worker::Recall;

/// Recalls kept per worker. A worker that does not ask for this many is dead, and hears of the rest when it renews.
const KEPT_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Recalls {
    workers: Mutex<HashMap<WorkerId, Arc<Line>>>,
}

#[derive(Debug, Default)]
struct Line {
    kept: Mutex<VecDeque<Recall>>,
    added: Notify,
}

impl Recalls {
    pub(crate) fn push(&self, worker: &WorkerId, recall: Recall) {
        let line = self.line(worker);
        let mut kept = line.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX && !kept.contains(&recall) {
            kept.push_back(recall);
            line.added.notify_one();
        }
    }

    /// Waits for the next recall of `worker`.
    pub(crate) async fn next(&self, worker: &WorkerId) -> Recall {
        let line = self.line(worker);
        loop {
            let next = line.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(recall) = next {
                return recall;
            }
            line.added.notified().await;
        }
    }

    /// Forgets a worker that is gone.
    pub(crate) fn forget(&self, worker: &WorkerId) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).remove(worker);
    }

    fn line(&self, worker: &WorkerId) -> Arc<Line> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(workers.entry(worker.clone()).or_default())
    }
}
