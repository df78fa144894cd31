//! Executions that a function starts: actions, whose result it waits for, and syncs.

use std::time::Duration;

use bulkhead_engine::Idempotency;
use bulkhead_protocol::CallError;
use bulkhead_types::{
    ConnectionId, ErrorInfo, Execution, ExecutionState, FunctionKey, FunctionKind, FunctionName,
    IntegrationId, Lease, Trigger,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failure, deadline};
use crate::error::PlatformError;
use crate::platform::Platform;
use crate::run::submit_of;

/// How long a call is remembered that may come again: longer than an attempt lives.
const CALL_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Syncs that one call may start.
const SYNCS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActionTrigger {
    #[serde(default)]
    provider_config_key: Option<IntegrationId>,
    #[serde(default)]
    connection_id: Option<ConnectionId>,
    action: FunctionName,
    #[serde(default)]
    input: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncTrigger {
    #[serde(default)]
    provider_config_key: Option<IntegrationId>,
    #[serde(default)]
    connection_id: Option<ConnectionId>,
    sync: FunctionName,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncStart {
    #[serde(default)]
    provider_config_key: Option<IntegrationId>,
    #[serde(default)]
    connection_id: Option<ConnectionId>,
    syncs: Vec<FunctionName>,
}

impl Platform {
    /// Runs an action as an execution of its own, in a sandbox of its own, and waits for it until the caller's
    /// deadline. It expires if it did not start by then: parents that wait must not be starved by children that
    /// nobody waits for any more.
    pub(super) async fn action_trigger(
        &self,
        lease: &Lease,
        params: ActionTrigger,
        number: Option<u64>,
    ) -> Answer {
        let mut permit = self
            .children
            .admit(&lease.lease.execution)
            .map_err(|why| Failure::new("depth_limit", why))?;
        let (integration, connection) =
            Self::target(lease, params.provider_config_key, params.connection_id);
        let (tenant, kind) = (lease.function.tenant.clone(), FunctionKind::Action);
        let function = FunctionKey { tenant, integration, kind, name: params.action };
        let version = self.live_version(&function).await?;
        if let Some(connection) = &connection {
            self.connection(&function.tenant, Some(&function.integration), connection).await?;
        }
        let mut submit = submit_of(&version, Trigger::Execution, params.input);
        submit.connection = connection;
        submit.start_by = Some(deadline(lease));
        // Carried here again, it waits for the child that it made the first time.
        submit.idempotency = number.map(|number| Idempotency {
            key: format!("call.{}.{}.{number}", lease.lease.execution, lease.lease.fence.0),
            ttl: CALL_TTL,
        });
        let child = self.submit(submit).await?.execution;
        permit.is(&child);
        let patience = deadline(lease).since(self.now());
        let ended = self.engine.wait(&child, patience).await.map_err(PlatformError::from)?;
        match ended {
            Some(execution) => result_of(execution),
            None => Err(Failure::new(
                "still_running",
                format!("action {} ({child}) did not end in time", function.name),
            )),
        }
    }

    pub(super) async fn sync_trigger(&self, lease: &Lease, params: SyncTrigger) -> Answer {
        let (integration, connection) =
            Self::target(lease, params.provider_config_key, params.connection_id);
        let connection = connection.ok_or_else(no_connection)?;
        let tenant = &lease.function.tenant;
        let trigger = crate::model::SyncTrigger {
            integration,
            name: params.sync,
            connection,
            reset: false,
            empty_cache: false,
            idempotency_key: None,
        };
        let accepted = self.trigger_sync(tenant, trigger).await?;
        Ok(json!({ "execution": accepted.execution }))
    }

    pub(super) async fn sync_start(&self, lease: &Lease, params: SyncStart) -> Answer {
        if params.syncs.len() > SYNCS_MAX {
            return Err(Failure::new(
                "call_invalid",
                format!("one call starts at most {SYNCS_MAX} syncs"),
            ));
        }
        let (integration, connection) =
            Self::target(lease, params.provider_config_key, params.connection_id);
        let connection = connection.ok_or_else(no_connection)?;
        for sync in &params.syncs {
            self.resume_sync(&lease.function.tenant, &integration, sync, &connection).await?;
        }
        Ok(json!({}))
    }
}

fn no_connection() -> Failure {
    Failure::new("connection_not_found", "a sync runs for a connection; name one")
}

fn result_of(execution: Execution) -> Answer {
    if execution.state == ExecutionState::Succeeded {
        return Ok(execution.output.unwrap_or(Value::Null));
    }
    let state = execution.state.as_str();
    let error =
        execution.error.unwrap_or_else(|| ErrorInfo::new(state, format!("the action was {state}")));
    Err(Failure(CallError { code: error.code, message: error.message, payload: error.payload }))
}
