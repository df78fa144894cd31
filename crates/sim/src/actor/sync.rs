//! What a sync does: page after page, each with its checkpoint, until it is through or its time is up.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_store::checkpoints::{Checkpoint, CheckpointError, sync_scope};
use bulkhead_store::hot::Store;
use bulkhead_types::{Clock, Fault, FunctionKind, Lease, Outcome, Retry, Trigger};
use serde_json::json;
use tokio::time::Instant;

use super::functions::{Script, at_the_cap, failed};
use super::worker::Worker;
use crate::server::Life;

/// Tries to read or save a checkpoint, until the attempt gives up.
const TRIES_MAX: u32 = 4;

/// A page, as a checkpoint's body tells it.
pub(crate) fn page_of(body: Option<&str>) -> u64 {
    let body = body.and_then(|body| serde_json::from_str::<serde_json::Value>(body).ok());
    body.and_then(|body| body["page"].as_u64()).unwrap_or(0)
}

impl Worker {
    /// Goes on after the page that the checkpoint names.
    pub(super) async fn sync(&self, lease: &Lease, script: &Script, begun: Instant) -> Outcome {
        let ours = || failed(Fault::Platform, Retry::Policy);
        let soft = Duration::from_millis(lease.limits.soft_ms());
        let cap = Duration::from_millis(lease.limits.time_ms);
        let Some(mut checkpoint) = self.read(lease).await else { return ours() };
        if lease.attempt <= script.bad && script.pages > 6 {
            // Some fail at once, others after their work.
            return script.outcome(lease.attempt);
        }
        loop {
            let page = page_of(checkpoint.body.as_deref()) + 1;
            let body = (page <= script.pages).then(|| json!({"page": page}).to_string());
            let through = body.is_none();
            if !through {
                self.step(Duration::from_millis(script.ms)).await;
            }
            if begun.elapsed() >= cap {
                return at_the_cap();
            }
            match self.save(lease, checkpoint.version, body.clone()).await {
                Some(Ok(version)) => checkpoint = Checkpoint { body, version },
                // Of an answer that was lost, or somebody else's: what is kept is what counts.
                Some(Err(CheckpointError::Conflict { .. })) => match self.read(lease).await {
                    Some(kept) => {
                        checkpoint = kept;
                        continue;
                    }
                    None => return ours(),
                },
                Some(Err(_)) | None => return ours(),
            }
            if through {
                return script.outcome(lease.attempt);
            }
            if begun.elapsed() >= soft || self.winds_down() {
                return Outcome::Interrupted;
            }
        }
    }

    async fn read(&self, lease: &Lease) -> Option<Checkpoint> {
        let scope = scope_of(lease);
        for _ in 0..TRIES_MAX {
            let scope = scope.clone();
            let read = |life: Arc<Life>| async move { life.store.checkpoint(scope).await };
            if let Ok(Ok(found)) = self.link.ask(read).await {
                return Some(found.unwrap_or(Checkpoint { body: None, version: 0 }));
            }
            self.step(Duration::from_millis(100)).await;
        }
        None
    }

    /// `None` when nobody answered.
    async fn save(
        &self,
        lease: &Lease,
        expected: u64,
        body: Option<String>,
    ) -> Option<Result<u64, CheckpointError>> {
        for _ in 0..TRIES_MAX {
            let (name, body) = (lease.lease.clone(), body.clone());
            let save = |life: Arc<Life>| async move {
                let now = life.clock.now();
                life.store.save_checkpoint(name, expected, body, now).await
            };
            match self.link.ask(save).await {
                Ok(Err(CheckpointError::Store(_))) | Err(_) => {}
                Ok(done) => return Some(done),
            }
            self.step(Duration::from_millis(100)).await;
        }
        None
    }
}

/// Under which the checkpoint of what this lease runs is kept.
fn scope_of(lease: &Lease) -> String {
    if lease.function.kind == FunctionKind::Sync && lease.trigger != Trigger::Webhook {
        sync_scope(&lease.function, lease.connection.as_ref())
    } else {
        lease.lease.execution.as_str().to_owned()
    }
}
