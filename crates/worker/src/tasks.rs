//! Background tasks that belong to somebody: they end when their owner does.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Aborts everything and waits until it is gone.
    pub(crate) async fn shutdown(&self) {
        let mut running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.shutdown().await;
    }
}
