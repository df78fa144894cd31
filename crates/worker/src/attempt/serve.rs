//! Serves a sandbox from its `Start` to its end: calls, logs, connections, deadlines.
//!
//! One loop owns everything. What takes time (a call, a send, a flush of the log) is a future beside it, so that
//! no deadline waits for anything but the loop's own turns.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{
    Assembler, CONTROL, Frame, FrameError, Kind, SandboxResult, SignalKind, SlotUsage, Start,
};
use bulkhead_types::{FunctionKind, Lease, Limits, TimelineEvent, Timestamp, Trigger};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::Denied;
use super::calls::{Calls, Work, sending};
use super::connection::Ended;
use super::connections::Connections;
use super::logs::Logs;
use super::outcome::{Answer, Ending, Why};
use crate::mux::{Event, Gone, Outgoing};
use crate::pool::Taken;
use crate::runner::{Inner, Stop};
use crate::source::{Host, Prepared};

/// From the signal until the kill, when an execution is cancelled.
const CANCEL_WAIT: Duration = Duration::from_millis(500);

/// From the result until the kill, for a sandbox that does not leave by itself.
const LEAVE_WAIT: Duration = Duration::from_millis(500);

/// Log lines wait this long for company until they are handed on.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Log text that is handed on without waiting, bytes; and so much that nothing more is read until it is taken.
const FLUSH_BYTES: usize = 64 * 1024;
const LOG_BYTES_WAITING_MAX: usize = 1 << 20;

/// How long the host may take for one batch of lines.
const LOG_WAIT: Duration = Duration::from_secs(10);

/// Denials that are noted on the timeline; the log has them all, within its limit.
const DENIED_EVENTS_MAX: u32 = 20;

/// "Never", for a deadline that is not set: a sleep this long is cut off by the hard cap.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How serving went.
pub(super) struct Served {
    pub(super) ending: Ending,
    /// When `Started` came, by the monotonic clock.
    pub(super) started_us: Option<u64>,
    pub(super) started_at: Option<Timestamp>,
    /// From `Start` to the end: the answer, or gone.
    pub(super) wall_ms: u64,
}

/// Serves a sandbox to its end, or to an answer that settles the attempt: then it leaves behind the caller's back.
pub(super) async fn serve(
    inner: &Arc<Inner>,
    lease: &Lease,
    prepared: &Prepared,
    taken: Taken,
    stop: watch::Receiver<Option<Stop>>,
) -> Served {
    let begun_us = inner.parts.monotonic.micros();
    let mut serving = Serving::new(inner, lease, prepared, taken);
    serving.start(prepared);
    let ending = serving.run(stop).await;
    let wall_ms = inner.parts.monotonic.micros().saturating_sub(begun_us) / 1_000;
    serving.finish().await;
    let (started_us, started_at) = (serving.started_us, serving.started_at);
    if ending.gone.is_none() || serving.late_answers > 0 {
        serving.see_off();
    }
    Served { ending, started_us, started_at, wall_ms }
}

/// Keeps a sandbox that has answered until it is gone. One that does not leave is killed, by being dropped. Results
/// that it still sends are dropped and noted.
async fn leave(inner: Arc<Inner>, lease: Arc<Lease>, mut taken: Taken, mut late: u32) {
    let gone = async {
        loop {
            match taken.sandbox.next().await {
                Event::Gone(..) => return,
                Event::Frame(frame) if frame.kind == Kind::Result && !frame.more => late += 1,
                Event::Frame(_) => {}
            }
        }
    };
    if tokio::time::timeout(LEAVE_WAIT, gone).await.is_err() {
        taken.sandbox.kill();
    }
    if late > 0 {
        note(&inner, &lease, "late_result", json!({"count": late})).await;
    }
}

/// Puts an event on the execution's timeline.
fn note(
    inner: &Inner,
    lease: &Arc<Lease>,
    what: &str,
    detail: Value,
) -> impl Future<Output = ()> + Send + 'static {
    let event = TimelineEvent {
        at: inner.parts.clock.now(),
        what: what.to_owned(),
        attempt: lease.attempt,
        detail,
    };
    let (host, lease) = (Arc::clone(&inner.parts.host), Arc::clone(lease));
    async move {
        if let Err(error) = host.event(&lease, event).await {
            tracing::warn!(%error, "an event is missing from a timeline");
        }
    }
}

struct Serving {
    inner: Arc<Inner>,
    lease: Arc<Lease>,
    taken: Taken,
    out: Outgoing,
    assembler: Assembler,
    work: Work,
    /// Events on their way to the timeline: unlike answers, these outlive the sandbox.
    notes: FuturesUnordered<BoxFuture<'static, ()>>,
    calls: Calls,
    connections: Connections,
    logs: Logs,
    flushing: Option<BoxFuture<'static, ()>>,
    deadlines: Deadlines,
    answer: Option<Answer>,
    late_answers: u32,
    denials: u32,
    why: Option<Why>,
    cancelled: bool,
    started_us: Option<u64>,
    started_at: Option<Timestamp>,
}

/// Moments at which something is done without an event.
struct Deadlines {
    soft: Option<Instant>,
    hard: Instant,
    /// Kill then, for this reason.
    kill: Option<(Instant, Why)>,
    flush: Option<Instant>,
}

impl Deadlines {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock: what its sleeps are measured by")]
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms).min(FAR);
        Self { soft: Some(at(limits.soft_ms())), hard: at(limits.time_ms), kill: None, flush: None }
    }

    #[allow(clippy::disallowed_methods, reason = "tokio's clock: what its sleeps are measured by")]
    fn after(wait: Duration) -> Instant {
        Instant::now() + wait
    }
}

/// Sleeps until `at`; for ever without.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until the lines under way are kept; for ever when there are none.
async fn flushed(flushing: &mut Option<BoxFuture<'static, ()>>) {
    match flushing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
    *flushing = None;
}

impl Serving {
    fn new(inner: &Arc<Inner>, lease: &Lease, prepared: &Prepared, taken: Taken) -> Self {
        let lease = Arc::new(lease.clone());
        let out = taken.sandbox.outgoing();
        let (host, egress) = (Arc::clone(&inner.parts.host), Arc::clone(&inner.parts.egress));
        let version = Arc::clone(&prepared.version);
        let clock = || Arc::clone(&inner.parts.monotonic);
        Self {
            calls: Calls::new(host, Arc::clone(&lease), out.clone(), clock()),
            connections: Connections::new(
                egress,
                Arc::clone(&lease),
                version,
                out.clone(),
                clock(),
            ),
            logs: Logs::new(&lease.limits, inner.parts.clock.now()),
            deadlines: Deadlines::new(&lease.limits),
            inner: Arc::clone(inner),
            lease,
            taken,
            out,
            assembler: Assembler::default(),
            work: Work::new(),
            notes: FuturesUnordered::new(),
            flushing: None,
            answer: None,
            late_answers: 0,
            denials: 0,
            why: None,
            cancelled: false,
            started_us: None,
            started_at: None,
        }
    }

    /// Hands the execution over.
    fn start(&mut self, prepared: &Prepared) {
        let (lease, parts) = (&self.lease, &self.inner.parts);
        let now = parts.clock.now();
        let mut seed = [0_u8; 32];
        parts.entropy.fill(&mut seed);
        let at = |ms| now.after(Duration::from_millis(ms)).as_millis();
        let start = Start {
            execution: lease.lease.execution.to_string(),
            attempt: lease.attempt,
            kind: start_kind(lease).as_str().to_owned(),
            soft_deadline: at(lease.limits.soft_ms()),
            deadline: at(lease.limits.time_ms),
            input: lease.input.clone(),
            context: prepared.context.clone(),
            seed: hex::encode(seed),
            output_bytes: lease.limits.output_bytes,
        };
        let json = serde_json::to_vec(&start).unwrap_or_default();
        self.work.push(sending(self.out.clone(), Kind::Start, json));
    }

    async fn run(&mut self, mut stop: watch::Receiver<Option<Stop>>) -> Ending {
        let mut obeyed = None;
        loop {
            let reads = self.reads();
            let kill = self.deadlines.kill.as_ref().map(|(at, _)| *at);
            let hard = self.why.is_none().then_some(self.deadlines.hard);
            tokio::select! {
                biased;
                told = told(&mut stop, obeyed) => {
                    obeyed = Some(told);
                    self.stop(told);
                }
                () = until(kill) => {
                    if let Some((_, why)) = self.deadlines.kill.take() {
                        self.kill(why);
                    }
                }
                () = until(hard) => self.kill(Why::TimeLimit),
                () = until(self.deadlines.soft) => self.soft_deadline(),
                Some(done) = self.work.next() => {
                    self.calls.done(&done);
                    done.denied.into_iter().for_each(|denied| self.denied(denied));
                }
                Some(()) = self.notes.next() => {},
                () = flushed(&mut self.flushing) => {},
                () = until(self.deadlines.flush) => self.flush(),
                ended = self.connections.ended() => self.connection_ended(ended),
                event = self.taken.sandbox.next(), if reads => match event {
                    Event::Frame(frame) => {
                        self.take(frame);
                        if self.why.is_none() && self.answer.as_ref().is_some_and(Answer::settles) {
                            let usage = self.taken.sandbox.usage_at_answer();
                            return self.ending(None, usage);
                        }
                    }
                    Event::Gone(gone, usage) => return self.ending(Some(gone), usage),
                },
            }
        }
    }

    fn ending(&mut self, gone: Option<Gone>, usage: SlotUsage) -> Ending {
        Ending {
            answer: self.answer.take(),
            why: self.why.take(),
            cancelled: self.cancelled,
            gone,
            usage,
            heap_exhausted: self.logs.heap_exhausted(),
        }
    }

    /// Lets go of the sandbox, whether it is gone or about to leave.
    fn see_off(self) {
        let inner = Arc::clone(&self.inner);
        let leaving = leave(Arc::clone(&inner), self.lease, self.taken, self.late_answers);
        inner.pool.background(leaving);
    }

    /// Whether more is read from the sandbox: not while too much of it waits here. A sandbox that is being killed
    /// is read to its end.
    fn reads(&self) -> bool {
        let room = self.calls.has_room() && self.logs.waiting_bytes() < LOG_BYTES_WAITING_MAX;
        room || self.why.is_some() || self.taken.sandbox.is_gone()
    }

    fn take(&mut self, frame: Frame) {
        let taken = if frame.channel == CONTROL {
            self.take_control(frame)
        } else if self.answer.is_some() || self.why.is_some() {
            Ok(())
        } else {
            self.connections.take(&frame).map(|sending| self.work.extend(sending))
        };
        if let Err(what) = taken {
            self.kill(Why::Violation(what));
        }
    }

    fn take_control(&mut self, frame: Frame) -> Result<(), String> {
        if frame.kind == Kind::Output {
            self.logs.output(&frame.payload, self.now());
            self.flush_soon();
            return Ok(());
        }
        let (_, kind, message) = match self.assembler.push(frame) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(FrameError::MessageTooLong(Kind::Result)) => {
                self.answered(Answer::TooLarge(Kind::Result.message_bytes_max() as u64));
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        match kind {
            Kind::Started => self.started(),
            Kind::Result => {
                let answer = read_result(&message, self.lease.limits.output_bytes)?;
                self.answered(answer);
            }
            Kind::Call if self.answer.is_some() || self.why.is_some() => {}
            Kind::Call => {
                let answering = self.calls.take(&message)?;
                self.work.push(answering);
            }
            Kind::Log => {
                let lines = serde_json::from_slice(&message)
                    .map_err(|error| format!("log lines that are none: {error}"))?;
                self.logs.lines(lines, self.now());
                self.flush_soon();
            }
            other => return Err(format!("{other:?} on the control channel")),
        }
        Ok(())
    }

    fn started(&mut self) {
        if self.started_us.is_none() {
            self.started_us = Some(self.inner.parts.monotonic.micros());
            self.started_at = Some(self.now());
        }
    }

    /// The first answer counts. A sandbox that has answered leaves, or is made to.
    fn answered(&mut self, answer: Answer) {
        if self.answer.is_some() {
            self.late_answers = self.late_answers.saturating_add(1);
            return;
        }
        self.answer = Some(answer);
        self.deadlines.soft = None;
        if self.deadlines.kill.is_none() {
            self.deadlines.kill = Some((Deadlines::after(LEAVE_WAIT), Why::Answered));
        }
    }

    fn stop(&mut self, told: Stop) {
        match told {
            Stop::Winding if self.lease.function.kind == FunctionKind::Sync => self.soft_deadline(),
            Stop::Winding => {}
            Stop::Lost => self.kill(Why::Lost),
            Stop::Drained => self.kill(Why::Drained),
            Stop::Cancelled if self.answer.is_none() => {
                self.cancelled = true;
                self.signal(SignalKind::Cancel);
                self.deadlines.kill = Some((Deadlines::after(CANCEL_WAIT), Why::Cancelled));
            }
            Stop::Cancelled => {}
        }
    }

    /// Once: at its time, or before it when the worker winds down.
    fn soft_deadline(&mut self) {
        if self.answer.is_some() || self.why.is_some() || self.deadlines.soft.take().is_none() {
            return;
        }
        self.calls.soft_deadline_is_past();
        self.signal(SignalKind::Deadline);
    }

    fn signal(&mut self, signal: SignalKind) {
        let json = serde_json::to_vec(&signal).unwrap_or_default();
        self.work.push(sending(self.out.clone(), Kind::Signal, json));
    }

    /// Kills the sandbox; the first reason counts. Its end comes as an event, within the guest's two seconds or
    /// with its compartment.
    fn kill(&mut self, why: Why) {
        if self.why.is_none() {
            self.why = Some(why);
            self.deadlines.soft = None;
            self.deadlines.kill = None;
            self.taken.sandbox.kill();
        }
    }

    fn connection_ended(&mut self, ended: Ended) {
        let Some((request, refused)) = ended.refused else { return };
        let Some(rule) = refused.rule else { return };
        self.denied(Denied::connection(&request.host, request.port, &rule));
    }

    /// Puts what was denied into the log, and on the timeline while there is room.
    fn denied(&mut self, denied: Denied) {
        let Denied { what, rule, detail } = denied;
        self.logs.note(format!("egress_denied: {what} refused by rule {rule}"), self.now());
        self.flush_soon();
        self.denials += 1;
        if self.denials <= DENIED_EVENTS_MAX {
            self.notes.push(Box::pin(note(&self.inner, &self.lease, "denied", detail)));
        }
    }

    fn now(&self) -> Timestamp {
        self.inner.parts.clock.now()
    }

    /// Sees to it that waiting lines are handed on.
    fn flush_soon(&mut self) {
        if self.flushing.is_none() && self.logs.waiting_bytes() >= FLUSH_BYTES {
            self.flush();
        } else if self.deadlines.flush.is_none() && self.logs.is_waiting() {
            self.deadlines.flush = Some(Deadlines::after(FLUSH_AFTER));
        }
    }

    /// Hands lines on, one batch at a time.
    fn flush(&mut self) {
        self.deadlines.flush = None;
        if self.flushing.is_some() {
            self.deadlines.flush = Some(Deadlines::after(FLUSH_AFTER));
        } else if self.logs.is_waiting() {
            self.flushing = Some(Box::pin(keep_lines(
                Arc::clone(&self.inner.parts.host),
                Arc::clone(&self.lease),
                self.logs.take(),
            )));
        }
    }

    /// What remains to be told once the attempt is over: the last lines, and what goes on the timeline.
    async fn finish(&mut self) {
        self.logs.end(self.now());
        loop {
            if self.flushing.is_some() {
                flushed(&mut self.flushing).await;
            }
            if !self.logs.is_waiting() {
                break;
            }
            self.flush();
        }
        let noted = async { while self.notes.next().await.is_some() {} };
        if tokio::time::timeout(LOG_WAIT, noted).await.is_err() {
            tracing::warn!("events are missing from a timeline: they were not taken in time");
        }
    }
}

async fn keep_lines(
    host: Arc<dyn Host>,
    lease: Arc<Lease>,
    lines: Vec<bulkhead_protocol::LogLine>,
) {
    let count = lines.len();
    match tokio::time::timeout(LOG_WAIT, host.log(&lease, lines)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, count, "log lines are lost"),
        Err(_) => tracing::warn!(count, "log lines are lost: they were not taken in time"),
    }
}

/// Waits until something other than `obeyed` is told.
async fn told(stop: &mut watch::Receiver<Option<Stop>>, obeyed: Option<Stop>) -> Stop {
    match stop.wait_for(|told| told.is_some() && *told != obeyed).await.map(|told| *told) {
        Ok(Some(told)) => told,
        _ => std::future::pending().await,
    }
}

/// A result as far as its size matters.
#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
}

/// Reads a result, whose output may have `output_bytes`.
fn read_result(message: &[u8], output_bytes: u64) -> Result<Answer, String> {
    let not_one = |error: serde_json::Error| format!("a result that is none: {error}");
    if message.len() as u64 > output_bytes {
        let output: Output = serde_json::from_slice(message).map_err(not_one)?;
        let bytes = output.output.map_or(0, |output| output.get().len() as u64);
        if bytes > output_bytes {
            return Ok(Answer::TooLarge(bytes));
        }
    }
    serde_json::from_slice::<SandboxResult>(message).map(Answer::Said).map_err(not_one)
}

/// What the handler is called as: a sync that a webhook woke runs its `onWebhook`.
fn start_kind(lease: &Lease) -> FunctionKind {
    if lease.trigger == Trigger::Webhook { FunctionKind::Webhook } else { lease.function.kind }
}
