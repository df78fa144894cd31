//! What a running function asks for (`docs/protocol.md`, "Calls"). Whose call it is comes from the lease, never from
//! the parameters.

mod actions;
mod checkpoints;
mod connections;
mod locks;
mod records;

use bulkhead_protocol::CallError;
use bulkhead_store::StoreError;
use bulkhead_store::fence::FenceError;
use bulkhead_types::{ConnectionId, Fault, IntegrationId, Lease, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::PlatformError;
use crate::platform::Platform;

/// A failure as the function sees it.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) CallError);

impl Failure {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self(CallError { code: code.to_owned(), message: message.into(), payload: None })
    }

    pub(crate) fn with(code: &str, message: impl Into<String>, payload: Value) -> Self {
        Self(CallError { code: code.to_owned(), message: message.into(), payload: Some(payload) })
    }
}

impl From<PlatformError> for Failure {
    /// Our own failures are told in the server's log; a function hears only that they are ours.
    fn from(error: PlatformError) -> Self {
        if error.fault() == Fault::Platform {
            tracing::error!(error = &error as &dyn std::error::Error, "a platform call failed");
            return Self::new(error.code(), "the platform could not do that; try again");
        }
        Self(CallError {
            code: error.code().to_owned(),
            message: error.to_string(),
            payload: error.payload().cloned(),
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        PlatformError::from(error).into()
    }
}

impl From<FenceError> for Failure {
    fn from(error: FenceError) -> Self {
        match error {
            FenceError::Stale(stale) => Self::new("lease_lost", stale.to_string()),
            FenceError::Store(error) => error.into(),
        }
    }
}

type Answer = Result<Value, Failure>;

impl Platform {
    /// Answers a call of a running function.
    ///
    /// # Errors
    /// As the function shall see it.
    pub async fn call(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        self.call_once(lease, method, params, None).await
    }

    /// As [`Self::call`], for one that may be carried here again because its answer was lost: `number` is the same
    /// then, and another for every other call of the attempt.
    ///
    /// # Errors
    /// As the function shall see it.
    pub async fn call_once(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
        number: Option<u64>,
    ) -> Result<Value, CallError> {
        self.answer(lease, method, params, number).await.map_err(|failure| failure.0)
    }

    async fn answer(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
        number: Option<u64>,
    ) -> Answer {
        match method {
            "proxy.request" => self.proxy_call(lease, read(params)?).await,
            "connection.get" => self.connection_get(lease, read(params)?).await,
            "integration.get" => self.integration_get(lease).await,
            "metadata.get" => self.metadata_get(lease).await,
            "metadata.set" => self.metadata_change(lease, read(params)?, false).await,
            "metadata.update" => self.metadata_change(lease, read(params)?, true).await,
            "variables.list" => self.variables_list(lease).await,
            "checkpoint.get" => self.checkpoint_get(lease).await,
            "checkpoint.save" => self.checkpoint_save(lease, read(params)?).await,
            "checkpoint.clear" => self.checkpoint_clear(lease, read(params)?).await,
            "records.save" => self.records_save(lease, read(params)?).await,
            "records.update" => self.records_update(lease, read(params)?).await,
            "records.delete" => self.records_delete(lease, read(params)?).await,
            "records.get" => self.records_get(lease, read(params)?).await,
            "records.list" => self.records_list(lease, read(params)?).await,
            "records.trackDeletesStart" => self.track_start(lease, read(params)?).await,
            "records.trackDeletesEnd" => self.track_end(lease, read(params)?).await,
            "records.deleteUnseen" => self.delete_unseen(lease, read(params)?).await,
            "records.setMergingStrategy" => self.merging(lease, read(params)?).await,
            "action.trigger" => self.action_trigger(lease, read(params)?, number).await,
            "sync.trigger" => self.sync_trigger(lease, read(params)?).await,
            "sync.start" => self.sync_start(lease, read(params)?).await,
            "lock.acquire" => self.lock_acquire(lease, read(params)?).await,
            "lock.release" => self.lock_release(lease, read(params)?).await,
            "lock.releaseAll" => self.lock_release_all(lease).await,
            "dns.lookup" => self.dns_lookup(lease, read(params)?).await,
            _ => {
                let method: String = method.chars().take(80).collect();
                Err(Failure::new("unknown_method", format!("this server knows no call {method:?}")))
            }
        }
    }

    async fn dns_lookup(&self, lease: &Lease, params: DnsLookup) -> Answer {
        let Some(family) = bulkhead_egress::Family::from_number(params.family) else {
            return Err(Failure::new("call_invalid", "family has to be 0, 4 or 6"));
        };
        let tenant = &lease.function.tenant;
        let version = self.version(tenant, &lease.version).await?;
        let policy = self.egress_policy_of(tenant, &version).await?;
        let found = self.gateway.lookup(&policy, &params.host, family).await;
        let addresses = found.map_err(|refused| {
            let payload = refused.rule.map(|rule| json!({ "rule": rule }));
            Failure(CallError { code: refused.code, message: refused.message, payload })
        })?;
        let shown = |address: std::net::IpAddr| {
            let family = if address.is_ipv4() { 4 } else { 6 };
            json!({ "address": address.to_string(), "family": family })
        };
        Ok(addresses.into_iter().map(shown).collect())
    }

    /// The connection that a call is about: the named one, else the execution's own.
    pub(crate) fn target(
        lease: &Lease,
        integration: Option<IntegrationId>,
        connection: Option<ConnectionId>,
    ) -> (IntegrationId, Option<ConnectionId>) {
        let integration = integration.unwrap_or_else(|| lease.function.integration.clone());
        // The execution's own connection is one of its own integration.
        let own = lease.connection.clone().filter(|_| integration == lease.function.integration);
        (integration, connection.or(own))
    }
}

#[derive(serde::Deserialize)]
struct DnsLookup {
    host: String,
    #[serde(default)]
    family: u64,
}

/// How long an attempt may wait for its sandbox before its time begins, and some: the worker's `PoolConfig::wait`.
const SANDBOX_WAIT: std::time::Duration = std::time::Duration::from_secs(90);

/// When the attempt is surely dead. It is the worker that kills, by a clock that began with the sandbox: a call that
/// gave up before that would fail a function that was about to be cut, and go on from its checkpoint.
pub(crate) fn deadline(lease: &Lease) -> Timestamp {
    let time = std::time::Duration::from_millis(lease.limits.time_ms);
    lease.leased_at.after(time.saturating_add(SANDBOX_WAIT))
}

/// When the attempt is asked to come to an end.
pub(crate) fn soft_deadline(lease: &Lease) -> Timestamp {
    lease.leased_at.after(std::time::Duration::from_millis(lease.limits.soft_ms()))
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    serde_json::from_value(params).map_err(|error| Failure::new("call_invalid", error.to_string()))
}
