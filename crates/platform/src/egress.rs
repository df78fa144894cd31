//! Where a tenant's functions may connect, and the client that goes there for them.

use std::sync::Arc;

use bulkhead_egress::{HttpClient, Policy};
use bulkhead_types::TenantId;

use crate::caches::Egress;
use crate::error::PlatformError;
use crate::platform::Platform;

impl Platform {
    /// The egress policy of a tenant's sandboxes: the operator's rules, narrowed by the tenant's own.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn egress_policy(&self, tenant: &TenantId) -> Result<Arc<Policy>, PlatformError> {
        Ok(self.egress(tenant).await?.policy)
    }

    /// The policy with the HTTP client that dials under it. A client has a connection pool, and a connection made
    /// under one policy must not serve another: each tenant has its own, and a new one when the rules change.
    pub(crate) async fn egress(&self, tenant: &TenantId) -> Result<Egress, PlatformError> {
        let generation = self.caches.generation();
        if let Some(egress) = self.caches.egress.get(tenant, generation) {
            return Ok(egress);
        }
        let rules = self.tenant(tenant).await?.settings.egress;
        let policy = Policy::new()
            .with_own(self.config.listeners.clone(), self.config.addresses.clone())
            .with_operator_rules(self.config.egress.clone())
            .with_tenant_rules(rules);
        // The same rules as before keep their client, with the connections that are open.
        let kept = self.caches.egress.peek(tenant).filter(|kept| *kept.policy == policy);
        let egress = kept.unwrap_or_else(|| {
            let policy = Arc::new(policy);
            let client = HttpClient::new(self.gateway.clone(), Arc::clone(&policy));
            Egress { policy, client }
        });
        self.caches.egress.put(tenant.clone(), generation, egress.clone());
        Ok(egress)
    }
}
