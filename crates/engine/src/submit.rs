//! Accepting an execution.

use bulkhead_types::ExecutionId;

use crate::{Engine, Submit, SubmitError, Submitted};

impl Engine {
    /// Accepts an execution: once this returns, it is durable and will reach a final state. A submit with an
    /// idempotency key that is known, or of a sync that is live already, returns that execution.
    ///
    /// # Errors
    /// [`SubmitError::QueueFull`] at the tenant's cap, with when to try again; a too long input or key; the store.
    pub async fn submit(&self, mut submit: Submit) -> Result<Submitted, SubmitError> {
        submit.input = self.input_apart(submit.input, &submit.limits).await?;
        let now = self.inner.clock.now();
        let id = ExecutionId::generate(now, self.inner.entropy.as_ref());
        let has_deadline = submit.start_by.is_some();
        let submitted = self.inner.store.submit(id, submit, now).await?;
        if !submitted.duplicate {
            self.inner.runnable.notify_one();
            if has_deadline {
                self.inner.sooner.notify_one();
            }
        }
        Ok(submitted)
    }
}
