//! Looking at executions.

use std::time::Duration;

use bulkhead_types::{Attempt, Execution, ExecutionId, LeaseRef, TenantId, TimelineEvent};

use crate::{Engine, EngineError, ExecutionFilter, Page};

/// Who waits for an end looks again after so long, even if nobody told of one: on a database that several servers share
/// the word may be lost with a connection.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Engine {
    /// Waits for an execution to end. Returns it final, or `None` after `patience`, or when there is no such one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait(
        &self,
        id: &ExecutionId,
        patience: Duration,
    ) -> Result<Option<Execution>, EngineError> {
        let deadline = tokio::time::Instant::now() + patience;
        let ticket = self.inner.tickets.take(id);
        loop {
            let ended = ticket.ended.notified();
            tokio::pin!(ended);
            // Stand in line before looking: an end in between wakes us all the same.
            ended.as_mut().enable();
            match self.inner.store.execution(id.clone()).await? {
                Some(execution) if execution.state.is_final() => {
                    return Ok(Some(self.with_payloads(execution).await?));
                }
                None => return Ok(None),
                Some(_) => {}
            }
            let now = tokio::time::Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            // Woken or not, it looks.
            drop(tokio::time::timeout_at(deadline.min(now + LOOK_AGAIN), ended).await);
        }
    }

    /// An execution of a tenant, with its input and output.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn execution(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<Option<Execution>, EngineError> {
        match self.known(tenant, id).await? {
            Some(execution) => Ok(Some(self.with_payloads(execution).await?)),
            None => Ok(None),
        }
    }

    /// An execution of a tenant; large inputs and outputs stay where they are.
    async fn known(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<Option<Execution>, EngineError> {
        let found = self.inner.store.execution(id.clone()).await?;
        Ok(found.filter(|execution| execution.function.tenant == *tenant))
    }

    /// Executions that have ended and of which their tenants' products are to be told, at most `limit`; `None` for
    /// one that is gone. They come again until they are forgotten ([`Engine::forget_endings`]), whatever crashes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn endings(
        &self,
        limit: usize,
    ) -> Result<Vec<(ExecutionId, Option<Execution>)>, EngineError> {
        let mut endings = Vec::new();
        for id in self.inner.store.endings(limit).await? {
            let execution = match self.inner.store.execution(id.clone()).await? {
                Some(execution) => Some(self.with_payloads(execution).await?),
                None => None,
            };
            endings.push((id, execution));
        }
        Ok(endings)
    }

    /// What there is to tell of these is kept elsewhere.
    ///
    /// # Errors
    /// When the store fails; they come again then.
    pub async fn forget_endings(&self, ids: Vec<ExecutionId>) -> Result<(), EngineError> {
        if ids.is_empty() {
            return Ok(());
        }
        Ok(self.inner.store.forget_endings(ids).await?)
    }

    pub(crate) async fn with_payloads(
        &self,
        execution: Execution,
    ) -> Result<Execution, EngineError> {
        let output = match execution.output {
            Some(output) => Some(self.whole(output).await?),
            None => None,
        };
        Ok(Execution { input: self.whole(execution.input).await?, output, ..execution })
    }

    /// A tenant's executions, newest first, without inputs and outputs (`null`).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn executions(
        &self,
        tenant: &TenantId,
        filter: ExecutionFilter,
    ) -> Result<Page, EngineError> {
        Ok(self.inner.store.executions(tenant.clone(), filter).await?)
    }

    /// The attempts of a tenant's execution, oldest first; empty when there is no such execution.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn attempts(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<Vec<Attempt>, EngineError> {
        match self.known(tenant, id).await? {
            Some(_) => Ok(self.inner.store.attempts(id.clone()).await?),
            None => Ok(Vec::new()),
        }
    }

    /// What happened to a tenant's execution, oldest first; empty when there is no such execution.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn timeline(
        &self,
        tenant: &TenantId,
        id: &ExecutionId,
    ) -> Result<Vec<TimelineEvent>, EngineError> {
        match self.known(tenant, id).await? {
            Some(_) => Ok(self.inner.store.timeline(id.clone()).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Adds an event that the engine does not see by itself, such as a denied connection.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn append_event(
        &self,
        lease: &LeaseRef,
        event: TimelineEvent,
    ) -> Result<(), EngineError> {
        Ok(self.inner.store.append_event(lease.execution.clone(), event).await?)
    }
}
