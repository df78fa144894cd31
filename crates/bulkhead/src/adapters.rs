//! Joins the crates that must not know one another: the worker's seams are answered by engine and platform.

use std::sync::Arc;

use async_trait::async_trait;
use bulkhead_egress::{Gateway, Upload};
use bulkhead_engine::{Engine, EngineError, Live, Resolve};
use bulkhead_platform::{Platform, PlatformError};
use bulkhead_protocol::{CallError, LogLine, OpenRequest, Refused, StartKind};
use bulkhead_types::{
    ConnectionId, FunctionKey, Lease, LeaseRef, Limits, Outcome, Room, TimelineEvent, Version,
    WorkerId,
};
use bulkhead_worker::{
    Connected, Egress, Host, Prepared, Recall, RecallReason, Settled, SourceError, Streamed,
    WorkSource, declared,
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

/// The engine as a source of work.
pub(crate) struct EngineSource {
    pub(crate) engine: Engine,
    pub(crate) worker: WorkerId,
    /// Hold for every attempt, whatever a version was deployed with.
    pub(crate) ceilings: Limits,
}

fn source_error(error: &EngineError) -> SourceError {
    SourceError(error.to_string())
}

fn recall(recall: bulkhead_engine::Recall) -> Recall {
    let reason = match recall.reason {
        bulkhead_engine::RecallReason::Cancelled => RecallReason::Cancelled,
        bulkhead_engine::RecallReason::Lost => RecallReason::Lost,
    };
    Recall { lease: recall.lease, reason }
}

const fn start_text(start: StartKind) -> &'static str {
    match start {
        StartKind::Parked => "parked",
        StartKind::Forked => "forked",
        StartKind::Cold => "cold",
    }
}

#[async_trait]
impl WorkSource for EngineSource {
    fn may_ask_anew(&self) -> bool {
        true
    }

    async fn lease(&self, room: Room) -> Result<Vec<Lease>, SourceError> {
        let leases = self.engine.lease(&self.worker, room).await.map_err(|e| source_error(&e))?;
        let within = |lease: Lease| Lease { limits: lease.limits.within(&self.ceilings), ..lease };
        Ok(leases.into_iter().map(within).collect())
    }

    async fn renew(&self, leases: &[LeaseRef]) -> Result<Vec<Recall>, SourceError> {
        let recalls =
            self.engine.renew(&self.worker, leases).await.map_err(|e| source_error(&e))?;
        Ok(recalls.into_iter().map(recall).collect())
    }

    async fn recalls(&self) -> Recall {
        recall(self.engine.recalls(&self.worker).await)
    }

    async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<(), SourceError> {
        let settled = bulkhead_engine::Settled {
            outcome: settled.outcome,
            usage: settled.usage,
            started_at: settled.started_at,
            start: settled.start.map(|start| start_text(start).to_owned()),
            wall: settled.wall.map(|wall| wall.as_str().to_owned()),
        };
        self.engine.settle(lease, settled).await.map(drop).map_err(|e| source_error(&e))
    }
}

/// The platform as what answers a running function.
pub(crate) struct PlatformHost(pub(crate) Arc<Platform>);

fn kept(error: &PlatformError) -> SourceError {
    SourceError(error.to_string())
}

#[async_trait]
impl Host for PlatformHost {
    async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        let prepared = self.0.prepare(lease).await?;
        let bulkhead_platform::Prepared { version, bundle, context, wall } = prepared;
        Ok(Prepared { version, bundle, context, wall })
    }

    async fn call(&self, lease: &Lease, method: &str, params: Value) -> Result<Value, CallError> {
        self.0.call(lease, method, params).await
    }

    async fn stream(
        &self,
        lease: &Lease,
        request: Value,
        upload: Option<Upload>,
    ) -> Result<Streamed, CallError> {
        let streamed = self.0.proxy_stream_call(lease, request, upload).await?;
        let head = streamed.head();
        let body = stream::unfold(streamed.body, |mut body| async {
            let piece = body.recv().await?;
            Some((piece.map_err(|why| why.to_string()), body))
        });
        Ok(Streamed { head, body: body.boxed() })
    }

    async fn presentable(&self, lease: &Lease, outcome: Outcome) -> Outcome {
        self.0.presentable(lease, outcome).await
    }

    async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError> {
        self.0.log(lease, lines).await.map_err(|error| kept(&error))
    }

    async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), SourceError> {
        self.0.event(lease, event).await.map_err(|error| kept(&error))
    }
}

/// The gateway under the policy of each attempt's tenant.
pub(crate) struct TenantEgress {
    pub(crate) platform: Arc<Platform>,
    pub(crate) gateway: Gateway,
}

#[async_trait]
impl Egress for TenantEgress {
    async fn connect(
        &self,
        lease: &Lease,
        version: &Version,
        request: &OpenRequest,
    ) -> Result<Connected, Refused> {
        declared(version)?;
        let tenant = &lease.function.tenant;
        let policy = self.platform.egress_policy_of(tenant, version).await.map_err(|error| {
            tracing::error!(%error, "no egress policy to be had: denied");
            Refused {
                code: "egress_denied".to_owned(),
                message: "the policy could not be read".to_owned(),
                rule: Some("platform.policy_unknown".to_owned()),
            }
        })?;
        self.gateway.connect(&policy, request).await.map(Connected::from)
    }
}

/// The platform as what says which version a due schedule runs.
pub(crate) struct LiveVersions(pub(crate) Arc<Platform>);

#[async_trait]
impl Resolve for LiveVersions {
    async fn live(&self, function: &FunctionKey, _: Option<&ConnectionId>) -> Result<Live, String> {
        let version = self.0.live_version(function).await.map_err(|error| error.to_string())?;
        Ok(Live {
            version: version.id.clone(),
            limits: version.spec.limits.clone(),
            retry: version.spec.retry.clone(),
            concurrency: version.spec.concurrency.key.clone(),
            input: Value::Null,
        })
    }
}
