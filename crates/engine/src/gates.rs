//! Limits on what runs at the same time, and pauses: of a function, a connection, a concurrency key, a tenant.

use bulkhead_types::TenantId;

use crate::{Engine, EngineError, Gate, GateChange, GateOf, Share, ShareLimits};

impl Engine {
    /// Sets how many attempts with something in common may run at the same time, or pauses them: what is queued
    /// waits, what runs goes on. Attempts that began before anything was set are not counted. Returns the limit as it
    /// is then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_gate(&self, of: GateOf, change: GateChange) -> Result<Gate, EngineError> {
        let gate = self.inner.store.set_gate(of, change).await?;
        self.inner.runnable.notify_one();
        Ok(gate)
    }

    /// A tenant's limits and pauses, and who is inside of each.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn gates(&self, tenant: &TenantId) -> Result<Vec<Gate>, EngineError> {
        Ok(self.inner.store.gates(tenant.clone()).await?)
    }

    /// Lets nothing of a tenant begin, or lets it go on. What runs goes on; what comes in is accepted and waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pause_tenant(&self, tenant: &TenantId, paused: bool) -> Result<(), EngineError> {
        self.inner.store.pause_tenant(tenant.clone(), paused).await?;
        self.inner.runnable.notify_one();
        Ok(())
    }

    /// Sets what a tenant may have running and queued, and its weight.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_share(
        &self,
        tenant: &TenantId,
        limits: ShareLimits,
    ) -> Result<(), EngineError> {
        self.inner.store.set_share(tenant.clone(), limits).await?;
        self.inner.runnable.notify_one();
        Ok(())
    }

    /// What a tenant has queued, waiting and running; `None` before its first execution.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn share(&self, tenant: &TenantId) -> Result<Option<Share>, EngineError> {
        Ok(self.inner.store.share(tenant.clone()).await?)
    }
}
