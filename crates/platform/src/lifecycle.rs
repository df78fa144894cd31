//! A connection's life, for functions that want to know of it: `validate-connection` and `post-connection-creation`
//! after one was made, `pre-connection-deletion` before one goes.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::Idempotency;
use bulkhead_types::{
    ConnectionId, Execution, ExecutionId, ExecutionState, FunctionKind, IntegrationId, TenantId,
    Trigger, Version,
};
use serde_json::{Value, json};

use crate::error::PlatformError;
use crate::model::Connection;
use crate::platform::Platform;
use crate::run::submit_of;

const VALIDATE: &str = "validate-connection";
const CREATED: &str = "post-connection-creation";
const DELETED: &str = "pre-connection-deletion";

/// How long whoever makes or removes a connection waits for such functions: within the request's own deadline.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it is remembered that a connection's creation was told.
const TOLD_TTL: Duration = Duration::from_secs(24 * 60 * 60);

impl Platform {
    /// A connection was made. Functions that validate decide whether it stays; then those that want to know are told,
    /// once, however often this is repeated.
    ///
    /// # Errors
    /// `connection_invalid` when it was not found valid in time: it is gone then. When the store fails.
    pub(crate) async fn connection_made(
        &self,
        tenant: &TenantId,
        connection: &Connection,
        new: bool,
    ) -> Result<(), PlatformError> {
        let (integration, id) = (&connection.integration, &connection.id);
        if new && let Err(invalid) = self.validate(tenant, integration, id).await {
            self.forget_connection(tenant, integration, id).await?;
            return Err(invalid);
        }
        let once = format!("{CREATED}/{id}/{}", connection.created_at.as_millis());
        for version in self.listeners(tenant, integration, CREATED).await? {
            self.tell(&version, id, Some(once.clone())).await?;
        }
        let data = json!({ "integration": integration, "connection_id": id });
        let notification =
            format!("created_{integration}_{id}_{}", connection.created_at.as_millis());
        self.notify(tenant, "connection.created", notification, data).await
    }

    /// A connection is about to go. Whatever the functions make of it, it goes; but it waits for them a while, since
    /// they may need it.
    pub(crate) async fn connection_goes(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        id: &ConnectionId,
    ) -> Result<(), PlatformError> {
        let mut told = Vec::new();
        for version in self.listeners(tenant, integration, DELETED).await? {
            told.push(self.tell(&version, id, None).await?);
        }
        for execution in &told {
            if self.engine.wait(execution, PATIENCE).await?.is_none() {
                tracing::warn!(%tenant, %execution, "a connection goes before its function has ended");
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        id: &ConnectionId,
    ) -> Result<(), PlatformError> {
        for version in self.listeners(tenant, integration, VALIDATE).await? {
            let execution = self.tell(&version, id, None).await?;
            let ended = self.engine.wait(&execution, PATIENCE).await?;
            verdict(&version, &execution, ended.as_ref())?;
        }
        Ok(())
    }

    async fn tell(
        &self,
        version: &Version,
        connection: &ConnectionId,
        once: Option<String>,
    ) -> Result<ExecutionId, PlatformError> {
        let mut submit = submit_of(version, Trigger::Event, Value::Null);
        submit.connection = Some(connection.clone());
        submit.idempotency = once.map(|key| Idempotency { key, ttl: TOLD_TTL });
        Ok(self.submit(submit).await?.execution)
    }

    /// The live functions of an integration that want to know of `event`.
    async fn listeners(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        event: &str,
    ) -> Result<Vec<Arc<Version>>, PlatformError> {
        let generation = self.generation();
        let key = (tenant.clone(), integration.clone());
        let all = match self.caches.listeners.get(&key, generation) {
            Some(all) => all,
            None => {
                let live = self.functions(tenant).await?.into_iter().map(|info| info.version);
                let of = live.filter(|version| {
                    version.spec.kind == FunctionKind::Event
                        && version.spec.integration == *integration
                });
                let all: Arc<Vec<_>> = Arc::new(of.map(Arc::new).collect());
                self.caches.listeners.put(key, generation, Arc::clone(&all));
                all
            }
        };
        let wanted = all.iter().filter(|version| version.spec.event.as_deref() == Some(event));
        Ok(wanted.cloned().collect())
    }
}

/// What a validating function's end means. Pure.
fn verdict(
    version: &Version,
    execution: &ExecutionId,
    ended: Option<&Execution>,
) -> Result<(), PlatformError> {
    let name = &version.spec.name;
    let why = match ended {
        Some(ended) if ended.state == ExecutionState::Succeeded => return Ok(()),
        Some(ended) => ended.error.as_ref().map_or_else(String::new, |error| error.message.clone()),
        None => format!("it did not end within {} s", PATIENCE.as_secs()),
    };
    let message =
        format!("the function {name} found the connection not valid ({execution}): {why}");
    Err(PlatformError::invalid("connection_invalid", message))
}
