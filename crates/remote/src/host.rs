//! What attempts need before they start, and what their functions ask for: carried to the server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bulkhead_api::Op;
use bulkhead_api::worker::{CallAnswer, CallRequest, EventRequest, Line, LogRequest};
use bulkhead_client::ClientError;
use bulkhead_egress::Upload;
use bulkhead_protocol::{CallError, LogLine};
use bulkhead_types::{Lease, LeaseRef, TimelineEvent};
use bulkhead_worker::{Host, Prepared, SourceError, Streamed};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Remote;
use crate::again::{Waits, had_no_effect, is_repeatable, may_pass};

/// For one try of a call. Beyond the server's own deadline, which counts from the message's arrival.
const CALL_WAIT: Duration = Duration::from_secs(16 * 60);

/// How long is waited, in all, to carry a call again. A worker that is cut off for this long has lost its leases, and
/// this sandbox.
const CALL_TRIES: Duration = Duration::from_secs(60);

/// For one try to hand over lines or an event. Those who wait for it give up after ten seconds.
const NOTE_WAIT: Duration = Duration::from_secs(5);

#[async_trait]
impl Host for Remote {
    async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError> {
        let held = self.held().get(&lease.lease).and_then(|held| held.prepared.clone());
        let (version, prepared) = held.ok_or_else(|| {
            let message = "the server did not say what the attempt needs; see the worker's log";
            failure("not_prepared", message)
        })?;
        let bundle = self.inner.bundles.get(&self.inner.client, &version.bundle).await?;
        Ok(Prepared { version, bundle, context: prepared.context.clone(), wall: prepared.wall })
    }

    async fn call(&self, lease: &Lease, method: &str, params: Value) -> Result<Value, CallError> {
        let repeatable = is_repeatable(method, &params);
        let expected = params.get("version").and_then(Value::as_u64);
        let saved = params.get("checkpoint").cloned();
        let call = CallRequest {
            worker: self.inner.options.worker.clone(),
            lease: lease.lease.clone(),
            number: self.next_call(),
            method: method.to_owned(),
            params,
        };
        match self.persist(&call, repeatable).await {
            (Err(error), true) if error.code == "checkpoint_conflict" => {
                // It may be our own save that stands in the way: the one whose answer was lost.
                let ours = self.is_saved(&lease.lease, expected, saved.as_ref()).await;
                ours.map_or(Err(error), |version| Ok(json!({"version": version, "stop": false})))
            }
            (answer, _) => answer,
        }
    }

    async fn stream(
        &self,
        lease: &Lease,
        request: Value,
        upload: Option<Upload>,
    ) -> Result<Streamed, CallError> {
        self.open_stream(lease, request, upload).await
    }

    async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError> {
        let line = |line: LogLine| Line { at: line.at, level: line.level, message: line.message };
        let log = LogRequest {
            worker: self.inner.options.worker.clone(),
            lease: lease.lease.clone(),
            lines: lines.into_iter().map(line).collect(),
        };
        self.note(Op::WorkerLog, &log).await
    }

    async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), SourceError> {
        let worker = self.inner.options.worker.clone();
        let said = EventRequest { worker, lease: lease.lease.clone(), event };
        self.note(Op::WorkerEvent, &said).await
    }
}

impl Remote {
    /// Carries a call to the server, again where that does no harm. Says also whether an answer may have been lost on
    /// the way.
    async fn persist(
        &self,
        call: &CallRequest,
        repeatable: bool,
    ) -> (Result<Value, CallError>, bool) {
        let mut waits = Waits::default();
        let mut waited = Duration::ZERO;
        let mut unsure = false;
        loop {
            let error = match self.ask(Op::WorkerCall, call, CALL_WAIT).await {
                Ok(CallAnswer::Ok(value)) => return (Ok(value), unsure),
                Ok(CallAnswer::Error(error)) => {
                    let (code, message, payload) = (error.code, error.message, error.payload);
                    return (Err(CallError { code, message, payload }), unsure);
                }
                Err(error) => error,
            };
            let harmless = had_no_effect(&error);
            unsure |= !harmless;
            if !may_pass(&error) || !(harmless || repeatable) || waited >= CALL_TRIES {
                return (Err(cut_off(&call.method, &error)), unsure);
            }
            tracing::debug!(%error, method = call.method, "a call is carried again");
            let wait = waits.next();
            waited += wait;
            tokio::time::sleep(wait).await;
        }
    }

    fn next_call(&self) -> u64 {
        self.inner.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// The version of the checkpoint, if it is the one that was to be saved over `expected`.
    async fn is_saved(
        &self,
        lease: &LeaseRef,
        expected: Option<u64>,
        saved: Option<&Value>,
    ) -> Option<u64> {
        let look = CallRequest {
            worker: self.inner.options.worker.clone(),
            lease: lease.clone(),
            number: self.next_call(),
            method: "checkpoint.get".to_owned(),
            params: json!({}),
        };
        let kept = self.persist(&look, true).await.0.ok()?;
        let version = kept.get("version").and_then(Value::as_u64)?;
        let body = kept.get("checkpoint").unwrap_or(&Value::Null);
        let ours = version == expected?.checked_add(1)? && body == saved.unwrap_or(&Value::Null);
        ours.then_some(version)
    }

    /// Hands something over that nobody waits for the answer of. Told twice is better than not at all.
    async fn note<T: Serialize>(&self, op: Op, message: &T) -> Result<(), SourceError> {
        let mut waits = Waits::default();
        loop {
            match self.ask::<_, Value>(op, message, NOTE_WAIT).await {
                Ok(_) => return Ok(()),
                Err(error) if may_pass(&error) => tokio::time::sleep(waits.next()).await,
                Err(error) => return Err(SourceError(error.to_string())),
            }
        }
    }
}

pub(crate) fn failure(code: &str, message: impl Into<String>) -> CallError {
    CallError { code: code.to_owned(), message: message.into(), payload: None }
}

pub(crate) fn cut_off(method: &str, error: &ClientError) -> CallError {
    if let ClientError::Api { detail, .. } = error
        && !may_pass(error)
    {
        return failure(&detail.code, detail.message.clone());
    }
    let message = format!(
        "the platform's answer to {method} was lost on the way: it may or may not have been done ({error})"
    );
    failure("platform_unreachable", message)
}
