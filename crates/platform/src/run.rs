//! Making executions: actions that are called, syncs that are triggered.

use std::time::Duration;

use bulkhead_engine::{Idempotency, Live, Resolve, Submit};
use bulkhead_store::{checkpoints, records};
use bulkhead_types::{
    ConnectionId, FunctionKey, FunctionKind, FunctionName, IntegrationId, TenantId, Trigger,
    Version,
};
use serde_json::Value;

use crate::error::PlatformError;
use crate::model::{Accepted, ActionCall, SyncTrigger};
use crate::platform::Platform;

/// How long an idempotency key of a caller is remembered.
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Records removed in one transaction, so that others get their turn.
const RECORDS_REMOVED_AT_ONCE: usize = 1_000;

/// What a version's executions are submitted with.
pub(crate) fn submit_of(version: &Version, trigger: Trigger, input: Value) -> Submit {
    let mut submit = Submit::new(version.function(), version.id.clone(), trigger, input);
    submit.limits = version.spec.limits.clone();
    submit.retry = version.spec.retry.clone();
    submit.concurrency.clone_from(&version.spec.concurrency.key);
    submit
}

fn idempotency(key: String) -> Idempotency {
    Idempotency { key, ttl: IDEMPOTENCY_TTL }
}

impl Platform {
    /// Submits an action; wait for it with the engine.
    ///
    /// # Errors
    /// `function_not_found`, `connection_not_found`, those of the engine's submit; when the store fails.
    pub async fn run_action(
        &self,
        tenant: &TenantId,
        call: ActionCall,
    ) -> Result<Accepted, PlatformError> {
        let ActionCall { integration, name, connection, input, .. } = call;
        let kind = FunctionKind::Action;
        let function = FunctionKey { tenant: tenant.clone(), integration, kind, name };
        let version = self.live_version(&function).await?;
        if let Some(connection) = &connection {
            self.connection(tenant, Some(&function.integration), connection).await?;
        }
        let mut submit = submit_of(&version, Trigger::Api, input);
        submit.connection = connection;
        submit.idempotency = call.idempotency_key.map(idempotency);
        submit.concurrency = call.concurrency.or(submit.concurrency);
        submit.start_by = call.start_within.map(|within| self.now().after(within));
        submit.told = call.told;
        self.submit(submit).await
    }

    pub(crate) async fn submit(&self, submit: Submit) -> Result<Accepted, PlatformError> {
        let submitted =
            self.engine.submit(submit).await.map_err(bulkhead_engine::EngineError::from)?;
        Ok(Accepted { execution: submitted.execution, duplicate: submitted.duplicate })
    }

    /// Runs a sync now, besides its schedule; joins the execution that runs already, if one does.
    ///
    /// # Errors
    /// `function_not_found`, `connection_not_found`, those of the engine's submit; when the store fails.
    pub async fn trigger_sync(
        &self,
        tenant: &TenantId,
        trigger: SyncTrigger,
    ) -> Result<Accepted, PlatformError> {
        let SyncTrigger { integration, name, connection, .. } = trigger;
        let sync = sync_key(tenant, &integration, &name);
        let version = self.live_version(&sync).await?;
        self.connection(tenant, Some(&integration), &connection).await?;
        if let Some(key) = &trigger.idempotency_key
            && let Some(execution) = self.engine.repeated(&sync, key).await?
        {
            // Before anything is reset or removed: that was done, and may have been filled anew since.
            return Ok(Accepted { execution, duplicate: true });
        }
        if trigger.reset {
            let (scope, now) = (checkpoints::sync_scope(&sync, Some(&connection)), self.now());
            self.db.write(move |tx| checkpoints::reset(tx, &scope, now)).await?;
        }
        if trigger.empty_cache {
            for model in version.spec.models.keys() {
                self.empty_stream(tenant, &integration, &connection, model).await?;
            }
        }
        let mut submit = submit_of(&version, Trigger::Api, Value::Null);
        submit.connection = Some(connection);
        submit.idempotency = trigger.idempotency_key.map(idempotency);
        self.submit(submit).await
    }

    async fn empty_stream(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
        model: &str,
    ) -> Result<(), PlatformError> {
        let key = records::StreamKey {
            tenant: tenant.clone(),
            integration: integration.clone(),
            connection: connection.clone(),
            model: model.to_owned(),
        };
        loop {
            let key = key.clone();
            let work =
                move |tx: &_| records::remove_sync_records(tx, &key, RECORDS_REMOVED_AT_ONCE);
            if self.db.write(move |tx| work(tx)).await? < RECORDS_REMOVED_AT_ONCE {
                return Ok(());
            }
        }
    }
}

pub(crate) fn sync_key(
    tenant: &TenantId,
    integration: &IntegrationId,
    name: &FunctionName,
) -> FunctionKey {
    FunctionKey {
        tenant: tenant.clone(),
        integration: integration.clone(),
        kind: FunctionKind::Sync,
        name: name.clone(),
    }
}

/// What a due schedule runs: the version that is live then.
#[async_trait::async_trait]
impl Resolve for Platform {
    async fn live(
        &self,
        function: &FunctionKey,
        connection: Option<&ConnectionId>,
    ) -> Result<Live, String> {
        let version = self.live_version(function).await.map_err(|error| error.to_string())?;
        if let Some(connection) = connection {
            let found =
                self.connection(&function.tenant, Some(&function.integration), connection).await;
            found.map_err(|error| error.to_string())?;
        }
        Ok(Live {
            version: version.id.clone(),
            limits: version.spec.limits.clone(),
            retry: version.spec.retry.clone(),
            concurrency: version.spec.concurrency.key.clone(),
            input: Value::Null,
        })
    }
}
