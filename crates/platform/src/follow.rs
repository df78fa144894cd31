//! Who follows an execution's log live.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bulkhead_types::ExecutionId;
use tokio::sync::watch;

/// One channel per followed execution. A channel that nobody listens to any more is dropped with the next line.
#[derive(Default)]
pub(crate) struct Followers {
    channels: Mutex<HashMap<ExecutionId, watch::Sender<i64>>>,
}

/// Channels from which on each new follower sweeps those that nobody listens to.
const SWEEP_FROM: usize = 1_000;

impl Followers {
    pub(crate) fn follow(&self, execution: &ExecutionId) -> watch::Receiver<i64> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.len() >= SWEEP_FROM {
            channels.retain(|_, channel| channel.receiver_count() > 0);
        }
        channels.entry(execution.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    pub(crate) fn added(&self, execution: &ExecutionId, newest: i64) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = channels.get(execution) else { return };
        if channel.send(newest).is_err() {
            channels.remove(execution);
        }
    }
}
