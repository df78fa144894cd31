//! Where a tenant's functions may connect, and the client that goes there for them.

use std::net::SocketAddr;
use std::sync::Arc;

use bulkhead_egress::{Explanation, HttpClient, Policy, Rule};
use bulkhead_types::{FunctionKey, TenantId, Version};

use crate::caches::Egress;
use crate::error::PlatformError;
use crate::model::TenantSettings;
use crate::platform::Platform;

/// What a policy is made of, for a gateway on another machine, which adds that machine's own addresses.
#[derive(Debug, Clone)]
pub struct EgressRules {
    /// The platform's own listeners, each with an address that can be dialled: denied whatever the rules say.
    pub listeners: Vec<SocketAddr>,
    /// The operator's rules, in order.
    pub operator: Vec<Rule>,
    /// The tenant's rules.
    pub tenant: Vec<Rule>,
}

impl Platform {
    /// The rules that hold for a tenant's sandboxes.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn egress_rules(&self, tenant: &TenantId) -> Result<EgressRules, PlatformError> {
        let policy = self.egress(tenant).await?.policy;
        let everywhere = |own: &SocketAddr| -> Vec<SocketAddr> {
            if !own.ip().is_unspecified() {
                return vec![*own];
            }
            let here = self.config.addresses.iter().map(|ip| SocketAddr::new(*ip, own.port()));
            here.collect()
        };
        Ok(EgressRules {
            listeners: self.config.listeners.iter().flat_map(everywhere).collect(),
            operator: policy.operator_rules().to_vec(),
            tenant: policy.tenant_rules().to_vec(),
        })
    }

    /// The egress policy of a tenant's sandboxes: the operator's rules, narrowed by the tenant's own.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn egress_policy(&self, tenant: &TenantId) -> Result<Arc<Policy>, PlatformError> {
        Ok(self.egress(tenant).await?.policy)
    }

    /// The same for one version, whose author may have narrowed it further.
    ///
    /// # Errors
    /// `tenant_not_found`; `invalid_spec` when the version's rules can't be read; when the store fails.
    pub async fn egress_policy_of(
        &self,
        tenant: &TenantId,
        version: &Version,
    ) -> Result<Arc<Policy>, PlatformError> {
        Ok(self.egress_of(tenant, version).await?.policy)
    }

    /// What would happen if a tenant's function connected to a host, and why. Without a function, what holds for those
    /// that say nothing themselves.
    ///
    /// # Errors
    /// `tenant_not_found`, `function_not_found`; `invalid_query` when the host is none; when the store fails.
    pub async fn explain_egress(
        &self,
        tenant: &TenantId,
        function: Option<&FunctionKey>,
        host: &str,
        port: u16,
    ) -> Result<Explanation, PlatformError> {
        self.tenant(tenant).await?;
        let policy = match function {
            Some(function) => {
                let version = self.live_version(function).await?;
                self.egress_policy_of(tenant, &version).await?
            }
            None => self.egress_policy(tenant).await?,
        };
        let told = self.gateway.explain(&policy, host, port).await;
        told.map_err(|error| PlatformError::invalid("invalid_query", error.to_string()))
    }

    /// The policy of one version, with the client of its own that it then needs: a connection made for a function that
    /// may go anywhere must not serve one that may not.
    pub(crate) async fn egress_of(
        &self,
        tenant: &TenantId,
        version: &Version,
    ) -> Result<Egress, PlatformError> {
        let generation = self.generation();
        let all = self.egress(tenant).await?;
        if version.spec.egress.is_empty() {
            return Ok(all);
        }
        let key = (tenant.clone(), version.id.clone());
        if let Some(egress) = self.caches.egress_of.get(&key, generation) {
            return Ok(egress);
        }
        let rules = Rule::read_all(&version.spec.egress)
            .map_err(|error| PlatformError::invalid("invalid_spec", format!("egress: {error}")))?;
        let policy = Arc::new((*all.policy).clone().with_function_rules(rules));
        let client = HttpClient::new(self.gateway.clone(), Arc::clone(&policy));
        let egress = Egress { policy, client, ..all };
        self.caches.egress_of.put(key, generation, egress.clone());
        Ok(egress)
    }

    /// The policy with the HTTP client that dials under it. A client has a connection pool, and a connection made
    /// under one policy must not serve another: each tenant has its own, and a new one when the rules change.
    pub(crate) async fn egress(&self, tenant: &TenantId) -> Result<Egress, PlatformError> {
        let generation = self.generation();
        if let Some(egress) = self.caches.egress.get(tenant, generation) {
            return Ok(egress);
        }
        let TenantSettings { egress: rules, wall_floor, records, .. } =
            self.tenant(tenant).await?.settings;
        let encrypted = records.encrypted;
        let policy = Policy::new()
            .with_own(self.config.listeners.clone(), self.config.addresses.clone())
            .with_operator_rules(self.config.egress.clone())
            .with_tenant_rules(rules);
        // The same rules as before keep their client, with the connections that are open.
        let kept = self.caches.egress.peek(tenant).filter(|kept| *kept.policy == policy);
        let egress = kept.unwrap_or_else(|| {
            let policy = Arc::new(policy);
            let client = HttpClient::new(self.gateway.clone(), Arc::clone(&policy));
            Egress { policy, client, wall_floor, encrypted }
        });
        let egress = Egress { wall_floor, encrypted, ..egress };
        self.caches.egress.put(tenant.clone(), generation, egress.clone());
        Ok(egress)
    }
}
