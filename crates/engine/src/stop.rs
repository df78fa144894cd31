//! Stopping executions, and repeating them.

use bulkhead_store::hot::model::CancelResult;
use bulkhead_types::{ExecutionId, ExecutionState, TenantId};

use crate::worker::Recall;
use crate::{Engine, EngineError, RecallReason};

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
        let submit =
            self.inner.store.again(tenant.clone(), id.clone()).await?.ok_or_else(not_found)?;
        Ok(self.submit(submit).await?.execution)
    }
}
