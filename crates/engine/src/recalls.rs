//! Recalls: what each worker is to stop, kept until it asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_types::WorkerId;
use tokio::sync::Notify;

use crate::worker::Recall;

/// Recalls kept per worker. A worker that does not ask for this many is dead, and hears of the rest when it renews.
const KEPT_MAX: usize = 10_000;

/// Workers kept before those that are gone are forgotten. Every start of a worker is a new one.
const WORKERS_MAX: usize = 1_000;

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

    fn line(&self, worker: &WorkerId) -> Arc<Line> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() >= WORKERS_MAX {
            // Lines nobody stands in: of workers that are gone.
            workers.retain(|_, line| Arc::strong_count(line) > 1);
        }
        Arc::clone(workers.entry(worker.clone()).or_default())
    }
}
