//! A function's calls of the platform: taken from the sandbox, answered by the host, sent back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkhead_protocol::{CALLS_UNANSWERED_MAX, CONTROL, Call, CallError, Kind, Reply};
use bulkhead_types::Lease;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::budget::{Denied, Rate, over};
use super::streams::{self, Streams};
use crate::clock::Monotonic;
use crate::mux::Outgoing;
use crate::source::Host;

/// Calls of one attempt that are worked on at the same time; the others wait their turn.
const CALLS_AT_ONCE: usize = 32;

/// Parameters of unanswered calls, bytes, beyond which nothing more is read from the sandbox.
const PARAMS_BYTES_MAX: usize = 16 << 20;

/// A call that was answered, or something else that was sent: its size counts no more.
#[derive(Default)]
pub(super) struct Done {
    call_bytes: Option<usize>,
    /// What was denied thereby.
    pub(super) denied: Option<Denied>,
}

impl Done {
    pub(super) fn with(self, denied: Denied) -> Self {
        Self { denied: Some(denied), ..self }
    }
}

pub(super) type Work = FuturesUnordered<BoxFuture<'static, Done>>;

/// The calls of one attempt.
pub(super) struct Calls {
    host: Arc<dyn Host>,
    lease: Arc<Lease>,
    out: Outgoing,
    turns: Arc<Semaphore>,
    /// Whether the soft deadline is past: then a saved checkpoint ends the attempt.
    soft_past: Arc<AtomicBool>,
    lookups: Rate,
    streams: Arc<Streams>,
    unanswered: usize,
    unanswered_bytes: usize,
}

impl Calls {
    pub(super) fn new(
        host: Arc<dyn Host>,
        lease: Arc<Lease>,
        out: Outgoing,
        clock: Arc<dyn Monotonic>,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(CALLS_AT_ONCE));
        let lookups = Rate::new(clock, lease.limits.lookups_per_minute);
        let soft_past = Arc::default();
        let streams = Arc::new(Streams::new(Arc::clone(&host), Arc::clone(&lease)));
        let (unanswered, unanswered_bytes) = (0, 0);
        Self { host, lease, out, turns, soft_past, lookups, streams, unanswered, unanswered_bytes }
    }

    pub(super) fn soft_deadline_is_past(&self) {
        self.soft_past.store(true, Ordering::Release);
    }

    /// Whether more may be read from the sandbox.
    pub(super) fn has_room(&self) -> bool {
        self.unanswered_bytes < PARAMS_BYTES_MAX
    }

    /// Takes a call; what is returned answers it.
    ///
    /// # Errors
    /// When the sandbox breaks the rules.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<BoxFuture<'static, Done>, String> {
        if self.unanswered >= CALLS_UNANSWERED_MAX {
            return Err(format!("more than {CALLS_UNANSWERED_MAX} unanswered calls"));
        }
        let call: Call = serde_json::from_slice(message)
            .map_err(|error| format!("a call that is none: {error}"))?;
        self.unanswered += 1;
        self.unanswered_bytes += message.len();
        let call_bytes = Some(message.len());
        let allowed = self.may_be_carried(&call);
        let answering = Answering {
            host: Arc::clone(&self.host),
            lease: Arc::clone(&self.lease),
            out: self.out.clone(),
            turns: Arc::clone(&self.turns),
            soft_past: Arc::clone(&self.soft_past),
            streams: Arc::clone(&self.streams),
        };
        Ok(Box::pin(async move {
            let denied = answering.answer(call, allowed).await;
            Done { call_bytes, denied }
        }))
    }

    /// Names carry data out, so an attempt may ask for so many only.
    fn may_be_carried(&mut self, call: &Call) -> Result<(), CallError> {
        if call.method != "dns.lookup" || self.lookups.take() {
            return Ok(());
        }
        let max = self.lease.limits.lookups_per_minute;
        let message = format!("an attempt may look up {max} names within a minute");
        let refused = over("limit.lookups_per_minute", message);
        let payload = Some(json!({"rule": refused.rule}));
        Err(CallError { code: refused.code, message: refused.message, payload })
    }

    pub(super) fn done(&mut self, done: &Done) {
        if let Some(bytes) = done.call_bytes {
            self.unanswered -= 1;
            self.unanswered_bytes -= bytes;
        }
    }
}

/// A message to send that is no answer.
pub(super) fn sending(out: Outgoing, kind: Kind, message: Vec<u8>) -> BoxFuture<'static, Done> {
    sending_on(out, CONTROL, kind, message)
}

/// The same on any channel.
pub(super) fn sending_on(
    out: Outgoing,
    channel: u32,
    kind: Kind,
    message: Vec<u8>,
) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        out.send(channel, kind, &message).await;
        Done::default()
    })
}

/// What it takes to answer one call.
struct Answering {
    host: Arc<dyn Host>,
    lease: Arc<Lease>,
    out: Outgoing,
    turns: Arc<Semaphore>,
    soft_past: Arc<AtomicBool>,
    streams: Arc<Streams>,
}

impl Answering {
    /// Says what was denied, if anything was.
    async fn answer(self, call: Call, allowed: Result<(), CallError>) -> Option<Denied> {
        let Call { id, method, params } = call;
        let saves = method == "checkpoint.save";
        let host = params.get("host").and_then(Value::as_str).map(str::to_owned);
        let mut answer = match allowed {
            Ok(()) => {
                // Never closed: the turn is always had.
                let _turn = self.turns.acquire().await;
                if method.starts_with(streams::PREFIX) {
                    self.streams.answer(&method, params).await
                } else {
                    self.host.call(&self.lease, &method, params).await
                }
            }
            Err(error) => Err(error),
        };
        if let Ok(Value::Object(saved)) = &mut answer
            && saves
        {
            // Time is the worker's: the host does not know when this attempt's soft deadline is.
            saved.insert("stop".to_owned(), json!(self.soft_past.load(Ordering::Acquire)));
        }
        let denied = answer.as_ref().err().and_then(|error| denial(&method, host, error));
        self.out.send(CONTROL, Kind::Reply, &encode(id, answer)).await;
        denied
    }
}

/// What stands in the log of a call that a rule refused.
fn denial(method: &str, host: Option<String>, error: &CallError) -> Option<Denied> {
    let rule = error.payload.as_ref().and_then(|payload| payload.get("rule")?.as_str());
    let rule = rule.filter(|_| error.code == "egress_denied")?;
    Some(Denied::call(method, host.as_deref(), rule, &error.message))
}

/// The reply's bytes; an answer over the limit becomes an error.
fn encode(id: u64, answer: Result<Value, CallError>) -> Vec<u8> {
    let reply = match answer {
        Ok(ok) => Reply { id, ok: Some(ok), error: None },
        Err(error) => Reply { id, ok: None, error: Some(error) },
    };
    let json = serde_json::to_vec(&reply).unwrap_or_default();
    let max = Kind::Reply.message_bytes_max();
    if !json.is_empty() && json.len() <= max {
        return json;
    }
    let message = format!("The answer has {} bytes; at most {max} fit. Ask for less", json.len());
    let error = CallError { code: "answer_too_large".to_owned(), message, payload: None };
    serde_json::to_vec(&Reply { id, ok: None, error: Some(error) }).unwrap_or_default()
}
