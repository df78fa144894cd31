//! Tickets: callers that wait for an execution to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_types::ExecutionId;
use tokio::sync::Notify;

/// Who waits for which execution. An entry lives as long as somebody holds a ticket for it.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    waiting: Arc<Mutex<HashMap<ExecutionId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    ended: Arc<Notify>,
    holders: usize,
}

/// A place in the line for one execution. Taken **before** the execution is looked at, so that an end between the
/// look and the wait is not missed.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: ExecutionId,
    pub(crate) ended: Arc<Notify>,
    waiting: Arc<Mutex<HashMap<ExecutionId, Entry>>>,
}

impl Tickets {
    pub(crate) fn take(&self, id: &ExecutionId) -> Ticket {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = waiting.entry(id.clone()).or_default();
        entry.holders += 1;
        Ticket {
            id: id.clone(),
            ended: Arc::clone(&entry.ended),
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// Wakes everybody who waits for `id`.
    pub(crate) fn ended(&self, id: &ExecutionId) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = waiting.get(id) {
            entry.ended.notify_waiters();
        }
    }

    /// Wakes everybody: what they wait for may have ended unheard.
    pub(crate) fn look_again(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().for_each(|entry| entry.ended.notify_waiters());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = waiting.get_mut(&self.id) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            waiting.remove(&self.id);
        }
    }
}
