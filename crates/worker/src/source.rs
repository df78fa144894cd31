//! The two seams of a worker: where work comes from, and who answers what functions ask for. In one process they
//! are the engine and the platform; on a worker machine they go over HTTP to a server.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_egress::Upload;
use bulkhead_protocol::{CallError, LogLine};
use bulkhead_types::{
    Lease, LeaseRef, Outcome, Room, TimelineEvent, Timestamp, Usage, Version, WallKind,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;

/// Where leases come from and outcomes go to.
#[async_trait::async_trait]
pub trait WorkSource: Send + Sync + 'static {
    /// Whether a call of [`Self::lease`] may be given up in the middle to ask anew, with more room: leases that were on
    /// their way are then what the next call returns.
    fn may_ask_anew(&self) -> bool {
        false
    }

    /// Waits until there is work that fits into `room`, then takes leases for it.
    async fn lease(&self, room: Room) -> Result<Vec<Lease>, SourceError>;

    /// Renews leases. Returns what the worker must act on: leases it has lost, executions to cancel.
    async fn renew(&self, leases: &[LeaseRef]) -> Result<Vec<Recall>, SourceError>;

    /// Waits until an execution this worker runs is to be recalled: so that a cancel takes effect at once.
    async fn recalls(&self) -> Recall;

    /// Says how an attempt ended. An outcome that comes too late is refused, which is no error here.
    async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<(), SourceError>;
}

/// How an attempt ended, with what is told along.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// When the handler's first line ran.
    pub started_at: Option<Timestamp>,
    /// How its sandbox came to be.
    pub start: Option<bulkhead_protocol::StartKind>,
    /// The wall that it ran behind; `None` where it had no sandbox.
    pub wall: Option<WallKind>,
}

/// A running execution that must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Which.
    pub lease: LeaseRef,
    /// Why.
    pub reason: RecallReason,
}

/// Why a running execution must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecallReason {
    /// Somebody cancelled it: tell the sandbox, then kill it.
    Cancelled,
    /// The lease belongs to somebody else now: kill it, nobody waits for the outcome.
    Lost,
}

/// The source could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What an attempt needs besides its lease.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The build to run.
    pub version: Arc<Version>,
    /// A directory with the bundle in it as `bundle.js`, complete and never changed once it is there.
    pub bundle: PathBuf,
    /// Values of the context's properties (`docs/protocol.md`, "A sandbox's life").
    pub context: Value,
    /// The wall to run it behind, and no other.
    pub wall: WallKind,
}

/// An answer of an external API whose body is still to come.
pub struct Streamed {
    /// `{status, statusText, headers}`.
    pub head: Value,
    /// The body; an error says why it broke off, and is the last. Dropping it lets the API go: nothing may hold what is
    /// read from beside it, such as a task that waits for the next piece.
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamed").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Bytes of a body that a host without streams holds: as many as a whole answer of the proxy may have.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Who answers what a running function asks for.
#[async_trait::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Gathers what the attempt needs.
    ///
    /// # Errors
    /// When the version or its bundle is not to be had; the attempt fails with that as the platform's fault.
    async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError>;

    /// Answers a call (`docs/protocol.md`, "Calls") on behalf of the attempt that holds `lease`.
    ///
    /// # Errors
    /// As the function shall see it.
    async fn call(&self, lease: &Lease, method: &str, params: Value) -> Result<Value, CallError>;

    /// Makes a `proxy.request` whose bodies pass piece by piece. An `upload` is the request's body. An answer that is not
    /// 2xx is the error that `proxy.request` has for it. Here both bodies are held, and the whole is one call.
    ///
    /// # Errors
    /// As the function shall see it.
    async fn stream(
        &self,
        lease: &Lease,
        mut request: Value,
        upload: Option<Upload>,
    ) -> Result<Streamed, CallError> {
        if let (Some(upload), Some(fields)) = (upload, request.as_object_mut()) {
            let body = held(upload).await?;
            fields.insert("dataBase64".to_owned(), STANDARD.encode(body).into());
        }
        let mut head = self.call(lease, "proxy.request", request).await?;
        let fields = head
            .as_object_mut()
            .map(|fields| ["base64", "text", "json"].map(|name| fields.remove(name)));
        let bytes = match fields {
            Some([Some(Value::String(encoded)), _, _]) => {
                STANDARD.decode(encoded).unwrap_or_default()
            }
            Some([_, Some(Value::String(text)), _]) => text.into_bytes(),
            Some([_, _, Some(json)]) => json.to_string().into_bytes(),
            _ => Vec::new(),
        };
        Ok(Streamed { head, body: stream::iter([Ok(bytes.into())]).boxed() })
    }

    /// How an attempt ended, as it may be kept and shown: without credentials that its function had. As it is where the
    /// host is another machine, which sees to that itself.
    async fn presentable(&self, _: &Lease, outcome: Outcome) -> Outcome {
        outcome
    }

    /// Keeps log lines; already cut to the attempt's limits.
    async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError>;

    /// Keeps an event on the execution's timeline, such as a denied connection.
    async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), SourceError>;
}

async fn held(upload: Upload) -> Result<Bytes, CallError> {
    let refused =
        |code: &str, message: String| CallError { code: code.to_owned(), message, payload: None };
    let mut pieces = upload.into_pieces();
    let mut held = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        held.extend_from_slice(&piece.map_err(|why| refused("call_invalid", why.to_string()))?);
        if held.len() > HELD_BYTES_MAX {
            let message = format!("the body has more than {HELD_BYTES_MAX} bytes");
            return Err(refused("call_too_large", message));
        }
    }
    Ok(held.freeze())
}
