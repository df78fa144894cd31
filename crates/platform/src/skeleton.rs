//! Signatures that are not carried out yet. This file empties as the others fill.
#![allow(
    clippy::unused_async,
    unused_variables,
    reason = "signatures first, so that others can code against them"
)]

use bulkhead_egress::Policy;
use bulkhead_protocol::{CallError, LogLine};
use bulkhead_types::{
    ConnectionId, DeploymentId, ExecutionId, FunctionKey, FunctionName, IntegrationId, Lease,
    TenantId, TimelineEvent, Version, VersionId,
};
use serde_json::Value;
use std::sync::Arc;

use crate::error::PlatformError;
use crate::model::*;
use crate::platform::{Platform, Prepared};

impl Platform {
    // Tenants and keys.

    /// Makes a tenant or changes its settings.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn put_tenant(
        &self,
        tenant: &TenantId,
        settings: TenantSettings,
    ) -> Result<Tenant, PlatformError> {
        Err(PlatformError::NotSupported("put_tenant".to_owned()))
    }

    /// One tenant. Errors: `tenant_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Tenant, PlatformError> {
        Err(PlatformError::NotSupported("tenant".to_owned()))
    }

    /// All tenants, by id.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, PlatformError> {
        Err(PlatformError::NotSupported("tenants".to_owned()))
    }

    /// Makes a key; its secret is shown this once. Errors: `tenant_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn create_key(
        &self,
        tenant: &TenantId,
        label: &str,
    ) -> Result<NewKey, PlatformError> {
        Err(PlatformError::NotSupported("create_key".to_owned()))
    }

    /// A tenant's keys.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<KeyInfo>, PlatformError> {
        Err(PlatformError::NotSupported("keys".to_owned()))
    }

    /// Takes a key back, at once. Errors: `key_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn revoke_key(&self, tenant: &TenantId, key: &str) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("revoke_key".to_owned()))
    }

    /// Whose key this is; from a cache after the first time.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<TenantId>, PlatformError> {
        Err(PlatformError::NotSupported("authenticate".to_owned()))
    }

    /// Sets a variable that the tenant's functions can read.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn set_variable(
        &self,
        tenant: &TenantId,
        name: &str,
        value: &str,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("set_variable".to_owned()))
    }

    /// Removes a variable; none is fine.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn remove_variable(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("remove_variable".to_owned()))
    }

    /// The tenant's variables, by name.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn variables(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<(String, String)>, PlatformError> {
        Err(PlatformError::NotSupported("variables".to_owned()))
    }

    // Deployments.

    /// Makes a set of versions live, atomically. Errors: `deployment_destructive`, `invalid_spec`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn deploy(
        &self,
        tenant: &TenantId,
        request: DeployRequest,
    ) -> Result<Deployment, PlatformError> {
        Err(PlatformError::NotSupported("deploy".to_owned()))
    }

    /// The newest 100, newest first.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn deployments(&self, tenant: &TenantId) -> Result<Vec<Deployment>, PlatformError> {
        Err(PlatformError::NotSupported("deployments".to_owned()))
    }

    /// Makes live again what a deployment made live, as a new deployment. Errors: `deployment_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn rollback(
        &self,
        tenant: &TenantId,
        deployment: &DeploymentId,
    ) -> Result<Deployment, PlatformError> {
        Err(PlatformError::NotSupported("rollback".to_owned()))
    }

    /// What is live.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn functions(&self, tenant: &TenantId) -> Result<Vec<FunctionInfo>, PlatformError> {
        Err(PlatformError::NotSupported("functions".to_owned()))
    }

    /// The live version. Errors: `function_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn live_version(
        &self,
        function: &FunctionKey,
    ) -> Result<Arc<Version>, PlatformError> {
        Err(PlatformError::NotSupported("live_version".to_owned()))
    }

    /// Any version that was ever deployed. Errors: `version_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn version(
        &self,
        tenant: &TenantId,
        version: &VersionId,
    ) -> Result<Arc<Version>, PlatformError> {
        Err(PlatformError::NotSupported("version".to_owned()))
    }

    // Integrations and connections.

    /// Makes an integration or changes it.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn put_integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        settings: IntegrationSettings,
    ) -> Result<Integration, PlatformError> {
        Err(PlatformError::NotSupported("put_integration".to_owned()))
    }

    /// One. Errors: `integration_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<Integration, PlatformError> {
        Err(PlatformError::NotSupported("integration".to_owned()))
    }

    /// All, by id.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn integrations(&self, tenant: &TenantId) -> Result<Vec<Integration>, PlatformError> {
        Err(PlatformError::NotSupported("integrations".to_owned()))
    }

    /// Removes it with its connections.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn remove_integration(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("remove_integration".to_owned()))
    }

    /// Makes a connection or replaces it; schedules the syncs that start by themselves. Errors: `integration_not_found`, `invalid_body`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn put_connection(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        credentials: Credentials,
        metadata: Value,
    ) -> Result<Connection, PlatformError> {
        Err(PlatformError::NotSupported("put_connection".to_owned()))
    }

    /// Replaces the credentials or merges metadata (shallow). Without integration, the connection's id must be one integration's only. Errors: `connection_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn patch_connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
        credentials: Option<Credentials>,
        metadata: Option<Value>,
    ) -> Result<Connection, PlatformError> {
        Err(PlatformError::NotSupported("patch_connection".to_owned()))
    }

    /// One.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<Connection, PlatformError> {
        Err(PlatformError::NotSupported("connection".to_owned()))
    }

    /// A page of them.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn connections(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ConnectionPage, PlatformError> {
        Err(PlatformError::NotSupported("connections".to_owned()))
    }

    /// Removes it, with its schedules and records.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn remove_connection(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("remove_connection".to_owned()))
    }

    /// Replaces the metadata.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn set_metadata(
        &self,
        tenant: &TenantId,
        integration: Option<&IntegrationId>,
        connection: &ConnectionId,
        metadata: Value,
    ) -> Result<Value, PlatformError> {
        Err(PlatformError::NotSupported("set_metadata".to_owned()))
    }

    // Running.

    /// Submits an action. Wait for it with the engine.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn run_action(
        &self,
        tenant: &TenantId,
        call: ActionCall,
    ) -> Result<Accepted, PlatformError> {
        Err(PlatformError::NotSupported("run_action".to_owned()))
    }

    /// Runs a sync now. `reset` clears its checkpoint first, `empty_cache` its records too.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn trigger_sync(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
        reset: bool,
        empty_cache: bool,
    ) -> Result<Accepted, PlatformError> {
        Err(PlatformError::NotSupported("trigger_sync".to_owned()))
    }

    /// Stops its schedule. Errors: `sync_not_scheduled`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn pause_sync(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("pause_sync".to_owned()))
    }

    /// Starts its schedule, making it if needed.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn resume_sync(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("resume_sync".to_owned()))
    }

    /// Sets how often it runs for this connection; `None` is what the function declares. Errors: `invalid_frequency`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn set_frequency(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
        frequency: Option<&str>,
    ) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("set_frequency".to_owned()))
    }

    /// Every sync with each connection it is scheduled for.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn syncs(&self, tenant: &TenantId) -> Result<Vec<SyncStatus>, PlatformError> {
        Err(PlatformError::NotSupported("syncs".to_owned()))
    }

    /// Takes a provider's webhook: one execution per handler, committed when this returns. Errors: `webhook_signature_wrong`, `integration_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn ingest_webhook(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<WebhookDelivery, PlatformError> {
        Err(PlatformError::NotSupported("ingest_webhook".to_owned()))
    }

    // What executions left.

    /// A page of records. Errors: `invalid_cursor`, `connection_not_found`.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn records(
        &self,
        tenant: &TenantId,
        query: RecordQuery,
    ) -> Result<RecordPage, PlatformError> {
        Err(PlatformError::NotSupported("records".to_owned()))
    }

    /// Lines with `seq > after`. The caller has checked whose execution it is.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn logs(
        &self,
        execution: &ExecutionId,
        after: i64,
        limit: usize,
    ) -> Result<LogPage, PlatformError> {
        Err(PlatformError::NotSupported("logs".to_owned()))
    }

    /// Changes whenever lines were added (the newest `seq`): read [`Self::logs`] again then.
    ///
    /// # Errors
    /// As named, and when the store fails.
    pub async fn follow_logs(
        &self,
        execution: &ExecutionId,
    ) -> Result<tokio::sync::watch::Receiver<i64>, PlatformError> {
        Err(PlatformError::NotSupported("follow_logs".to_owned()))
    }

    // A worker's side.

    /// Gathers what the attempt needs.
    ///
    /// # Errors
    /// When the version or its bundle is not to be had.
    pub async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        Err(CallError { code: "not_supported".into(), message: "prepare".into(), payload: None })
    }

    /// Answers a call of a running function (`docs/protocol.md`, "Calls").
    ///
    /// # Errors
    /// As the function shall see it.
    pub async fn call(
        &self,
        lease: &Lease,
        method: &str,
        params: Value,
    ) -> Result<Value, CallError> {
        Err(CallError { code: "not_supported".into(), message: "call".into(), payload: None })
    }

    /// Keeps log lines of an attempt.
    ///
    /// # Errors
    /// When the store fails; lines of an attempt that lost its lease are dropped.
    pub async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("log".to_owned()))
    }

    /// Keeps an event on the execution's timeline.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), PlatformError> {
        Err(PlatformError::NotSupported("event".to_owned()))
    }

    /// The egress policy of a tenant's sandboxes, for the worker's gateway.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn egress_policy(&self, tenant: &TenantId) -> Result<Arc<Policy>, PlatformError> {
        Err(PlatformError::NotSupported("egress_policy".to_owned()))
    }
}
