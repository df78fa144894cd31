//! Stopping executions, and repeating them.

use std::time::Duration;

use bulkhead_store::hot::model::CancelResult;
use bulkhead_types::{ExecutionId, ExecutionState, FunctionKey, TenantId};

use crate::worker::Recall;
use crate::{Engine, EngineError, ExecutionFilter, Idempotency, RecallReason, SubmitError};

/// Dead letters repeated in one call.
pub const REPLAYED_MAX: usize = 1_000;

/// How long it is remembered that a dead letter was repeated by a filter: as long as executions are kept.
const REPLAY_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What came of repeating dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Which were repeated, and by which executions, newest first.
    pub executions: Vec<(ExecutionId, ExecutionId)>,
    /// Whether there are more that match.
    pub more: bool,
    /// The tenant's queue was full: those that are left are as they were. When to go on.
    pub queue_full: Option<Duration>,
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is cancelled.
    Cancelled,
    /// It runs; its worker was told and stops it within a second.
    Asked,
    /// It had ended before, in this state; nothing changed.
    AlreadyFinal(ExecutionState),
}

impl Engine {
    /// Cancels an execution: at once if it does not run, else through its worker.
    ///
    /// # Errors
    /// [`EngineError::ExecutionNotFound`]; when the store fails.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<CancelOutcome, EngineError> {
        let now = self.inner.clock.now();
        match self.inner.store.cancel(tenant.clone(), id.clone(), now).await? {
            CancelResult::NotFound => Err(EngineError::ExecutionNotFound(id.clone())),
            CancelResult::Final(state) => Ok(CancelOutcome::AlreadyFinal(state)),
            CancelResult::Cancelled => {
                self.inner.tickets.ended(id);
                // What was behind it at a limit may be runnable now.
                self.inner.runnable.notify_one();
                Ok(CancelOutcome::Cancelled)
            }
            CancelResult::Asked { worker, lease } => {
                self.inner.recalls.push(&worker, Recall { lease, reason: RecallReason::Cancelled });
                Ok(CancelOutcome::Asked)
            }
        }
    }

    /// Repeats an execution that ended badly: a new one, of the same build, with the same input.
    ///
    /// # Errors
    /// [`EngineError::ExecutionNotFound`], [`EngineError::NotRetryable`], and those of [`Engine::submit`].
    pub async fn retry(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<ExecutionId, EngineError> {
        let not_found = || EngineError::ExecutionNotFound(id.clone());
        let state = self.execution(tenant, id).await?.ok_or_else(not_found)?.state;
        if !state.is_final() || state == ExecutionState::Succeeded {
            return Err(EngineError::NotRetryable { id: id.clone(), state });
        }
        let mut submit =
            self.inner.store.again(tenant.clone(), id.clone()).await?.ok_or_else(not_found)?;
        submit.input = self.whole(submit.input).await?;
        Ok(self.submit(submit).await?.execution)
    }

    /// Repeats the dead letters that match, newest first, at most `max` and [`REPLAYED_MAX`] of them. Each is
    /// repeated once, however often and by however many this is called.
    ///
    /// # Errors
    /// When the store fails. A full queue is no error: it says how far this came.
    pub async fn replay(
        &self,
        tenant: &TenantId,
        filter: ExecutionFilter,
        max: usize,
    ) -> Result<Replayed, EngineError> {
        let max = max.min(REPLAYED_MAX);
        let mut replayed = Replayed::default();
        let mut filter = ExecutionFilter { dead: true, state: None, limit: 0, ..filter };
        loop {
            let page = self.executions(tenant, filter.clone()).await?;
            for dead in page.executions {
                if replayed.executions.len() == max {
                    replayed.more = true;
                    return Ok(replayed);
                }
                let Some(mut submit) =
                    self.inner.store.again(tenant.clone(), dead.id.clone()).await?
                else {
                    continue;
                };
                submit.input = self.whole(submit.input).await?;
                submit.idempotency =
                    Some(Idempotency { key: format!("replay:{}", dead.id), ttl: REPLAY_TTL });
                match self.submit(submit).await {
                    Ok(submitted) => replayed.executions.push((dead.id, submitted.execution)),
                    Err(SubmitError::QueueFull { retry_after }) => {
                        (replayed.more, replayed.queue_full) = (true, Some(retry_after));
                        return Ok(replayed);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(replayed),
            }
        }
    }

    /// The execution that was accepted under an idempotency key, while that is remembered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn repeated(
        &self,
        function: &FunctionKey,
        key: &str,
    ) -> Result<Option<ExecutionId>, EngineError> {
        let now = self.inner.clock.now();
        Ok(self.inner.store.repeated(function.clone(), key.to_owned(), now).await?)
    }
}
