//! What takes the platform's place before running functions: each function has a scene, and a scene answers first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bulkhead_protocol::{CallError, LogLine, OpenRequest, Refused};
use bulkhead_types::{FunctionKind, Lease, TimelineEvent, Version};
use bulkhead_worker::{Connected, Egress, Host, Parts, Prepared, SourceError};
use serde_json::Value;

use super::scene::Scene;

/// Integration, kind and name.
pub(crate) type Role = (String, FunctionKind, String);

/// The scenes that are played, by function.
#[derive(Default)]
pub(crate) struct Stage {
    scenes: Mutex<HashMap<Role, Arc<Scene>>>,
}

fn role_of(lease: &Lease) -> Role {
    let function = &lease.function;
    (function.integration.to_string(), function.kind, function.name.to_string())
}

impl Stage {
    /// From now on `scene` answers what the function asks for.
    pub(crate) fn set(&self, role: Role, scene: Arc<Scene>) {
        self.scenes.lock().unwrap_or_else(PoisonError::into_inner).insert(role, scene);
    }

    fn scene(&self, lease: &Lease) -> Option<Arc<Scene>> {
        let scenes = self.scenes.lock().unwrap_or_else(PoisonError::into_inner);
        scenes.get(&role_of(lease)).map(Arc::clone)
    }

    /// Puts this stage between the worker and the platform.
    pub(crate) fn before(self: &Arc<Self>, parts: Parts, offline: bool) -> Parts {
        let host = Arc::new(StageHost { stage: Arc::clone(self), platform: parts.host });
        let egress = if offline { Arc::new(Offline) as Arc<dyn Egress> } else { parts.egress };
        Parts { host, egress, ..parts }
    }
}

struct StageHost {
    stage: Arc<Stage>,
    platform: Arc<dyn Host>,
}

#[async_trait]
impl Host for StageHost {
    async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        let mut prepared = self.platform.prepare(lease).await?;
        if let (Some(scene), Some(context)) =
            (self.stage.scene(lease), prepared.context.as_object_mut())
        {
            context.insert("isCLI".to_owned(), Value::from(true));
            let date = scene.mocks().nango.last_sync_date.clone();
            context.insert("lastSyncDate".to_owned(), Value::from(date));
        }
        Ok(prepared)
    }

    async fn call(&self, lease: &Lease, method: &str, params: Value) -> Result<Value, CallError> {
        if let Some(scene) = self.stage.scene(lease)
            && let Some(answer) = scene.call(method, params.clone()).await
        {
            return answer;
        }
        self.platform.call(lease, method, params).await
    }

    async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError> {
        self.platform.log(lease, lines).await
    }

    async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), SourceError> {
        self.platform.event(lease, event).await
    }
}

/// A test reaches nothing but its recordings.
struct Offline;

#[async_trait]
impl Egress for Offline {
    async fn connect(
        &self,
        _: &Lease,
        _: &Version,
        request: &OpenRequest,
    ) -> Result<Connected, Refused> {
        Err(Refused {
            code: "egress_denied".to_owned(),
            message: format!(
                "a test has no network, {} is not reached: call the API by nango.proxy, whose answers are recorded",
                request.host
            ),
            rule: Some("test.offline".to_owned()),
        })
    }
}
