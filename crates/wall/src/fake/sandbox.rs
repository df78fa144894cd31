//! A scripted sandbox: what a script can do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_protocol::{
    Assembler, CONTROL, Call, CallError, Frame, FromGuest, HEADER_BYTES, Kind, LogLine,
    OpenRequest, Reply, ResultError, SandboxResult, SignalKind, SlotUsage, Start, fragments,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use crate::CompartmentSpec;

/// The sending side of a sandbox.
#[derive(Debug, Clone)]
pub struct FakeSender {
    number: u32,
    out: mpsc::Sender<Frame>,
    credit: Arc<Semaphore>,
    usage: Arc<Mutex<SlotUsage>>,
}

impl FakeSender {
    pub(super) fn new(
        number: u32,
        out: mpsc::Sender<Frame>,
        credit: Arc<Semaphore>,
        usage: Arc<Mutex<SlotUsage>>,
    ) -> Self {
        Self { number, out, credit, usage }
    }

    /// Sends a message, in fragments if it must be, as fast as the worker grants credit.
    pub async fn send(&self, channel: u32, kind: Kind, message: &[u8]) {
        for frame in fragments(self.number, channel, kind, message) {
            self.send_frame(frame).await;
        }
    }

    /// Sends a frame as it is, however wrong.
    pub async fn send_frame(&self, frame: Frame) {
        #[allow(clippy::cast_possible_truncation, reason = "a frame is at most 64 KiB")]
        let bytes = (HEADER_BYTES + frame.payload.len()) as u32;
        // Both fail only when the compartment is gone; this task is about to be aborted then.
        if let Ok(permit) = self.credit.acquire_many(bytes).await {
            permit.forget();
            self.out.send(frame).await.ok();
        }
    }

    async fn send_json<T: Serialize>(&self, kind: Kind, message: &T) {
        let json = serde_json::to_vec(message).unwrap_or_default();
        self.send(CONTROL, kind, &json).await;
    }

    /// Sends a result, behind the guest's word about what was used.
    pub async fn result(&self, result: &SandboxResult) {
        let usage = *self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = FromGuest::SandboxAnswers { sandbox: self.number, usage };
        super::guest::say(&self.out, &answers).await;
        self.send_json(Kind::Result, result).await;
    }
}

/// A sandbox as its script sees it. Dropping it does not end it; the script's return does.
#[derive(Debug)]
pub struct FakeSandbox {
    sender: FakeSender,
    inbox: mpsc::Receiver<Frame>,
    assembler: Assembler,
    /// Messages that came while another kind was waited for.
    aside: VecDeque<(u32, Kind, Vec<u8>)>,
    calls: u64,
    spec: Arc<CompartmentSpec>,
}

impl FakeSandbox {
    pub(super) fn new(
        sender: FakeSender,
        inbox: mpsc::Receiver<Frame>,
        spec: Arc<CompartmentSpec>,
    ) -> Self {
        let (assembler, aside) = (Assembler::default(), VecDeque::new());
        Self { sender, inbox, assembler, aside, calls: 0, spec }
    }

    /// The number that the worker gave it.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.sender.number
    }

    /// What its compartment was built from; the first mount is the bundle.
    #[must_use]
    pub fn spec(&self) -> &CompartmentSpec {
        &self.spec
    }

    /// The sending side alone, to keep when the sandbox is handed on.
    #[must_use]
    pub fn sender(&self) -> FakeSender {
        self.sender.clone()
    }

    /// What the guest will report as used.
    pub fn uses(&self, usage: SlotUsage) {
        *self.sender.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// The next whole message from the worker; `None` when the compartment is gone.
    pub async fn next(&mut self) -> Option<(u32, Kind, Vec<u8>)> {
        if let Some(message) = self.aside.pop_front() {
            return Some(message);
        }
        self.receive().await
    }

    async fn receive(&mut self) -> Option<(u32, Kind, Vec<u8>)> {
        loop {
            let frame = self.inbox.recv().await?;
            // A script has no pages to warm.
            if frame.kind == Kind::Rehearse {
                continue;
            }
            if let Ok(Some(message)) = self.assembler.push(frame) {
                return Some(message);
            }
        }
    }

    /// The next message of `kind`; others are kept aside for later.
    pub async fn next_of(&mut self, kind: Kind) -> Option<(u32, Vec<u8>)> {
        if let Some(at) = self.aside.iter().position(|(_, other, _)| *other == kind) {
            return self.aside.remove(at).map(|(channel, _, message)| (channel, message));
        }
        loop {
            match self.receive().await? {
                (channel, got, message) if got == kind => return Some((channel, message)),
                other => self.aside.push_back(other),
            }
        }
    }

    /// Waits for the execution to run; `None` when the compartment is gone.
    pub async fn start(&mut self) -> Option<Start> {
        let (_, message) = self.next_of(Kind::Start).await?;
        serde_json::from_slice(&message).ok()
    }

    /// Says that the handler's first line is next.
    pub async fn started(&self) {
        self.sender.send(CONTROL, Kind::Started, &[]).await;
    }

    /// Calls the platform and waits for the answer.
    ///
    /// # Errors
    /// As the platform answers.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, CallError> {
        let id = self.call_begin(method, params).await;
        loop {
            let Some((_, message)) = self.next_of(Kind::Reply).await else {
                return Err(CallError {
                    code: "gone".into(),
                    message: String::new(),
                    payload: None,
                });
            };
            match serde_json::from_slice::<Reply>(&message) {
                Ok(reply) if reply.id == id => {
                    return reply.error.map_or(Ok(reply.ok.unwrap_or_default()), Err);
                }
                _ => {}
            }
        }
    }

    /// Calls the platform without waiting for the answer; returns the call's number.
    pub async fn call_begin(&mut self, method: &str, params: Value) -> u64 {
        self.calls += 1;
        let call = Call { id: self.calls, method: method.to_owned(), params };
        self.sender.send_json(Kind::Call, &call).await;
        self.calls
    }

    /// Logs a line.
    pub async fn log(&self, level: &str, message: &str) {
        let line = LogLine { at: 0, level: level.to_owned(), message: message.to_owned() };
        self.sender.send_json(Kind::Log, &[line]).await;
    }

    /// Writes to standard output; in truth the guest sends this.
    pub async fn output(&self, bytes: &[u8]) {
        self.sender.send(CONTROL, Kind::Output, bytes).await;
    }

    /// Opens an egress connection on `channel`; the answer comes as a message of that channel.
    pub async fn open(&self, channel: u32, host: &str, port: u16) {
        let request = OpenRequest { host: host.to_owned(), port };
        let json = serde_json::to_vec(&request).unwrap_or_default();
        self.sender.send(channel, Kind::Open, &json).await;
    }

    /// Sends any message.
    pub async fn send(&self, channel: u32, kind: Kind, message: &[u8]) {
        self.sender.send(channel, kind, message).await;
    }

    /// Waits for a signal; `None` when the compartment is gone.
    pub async fn signal(&mut self) -> Option<SignalKind> {
        let (_, message) = self.next_of(Kind::Signal).await?;
        serde_json::from_slice(&message).ok()
    }

    /// Sends a result; the script should return soon after.
    pub async fn result(&self, result: &SandboxResult) {
        self.sender.result(result).await;
    }

    /// The handler returned.
    pub async fn complete(&self, output: Value) {
        self.result(&SandboxResult::Completed { output }).await;
    }

    /// The handler threw.
    pub async fn fail(&self, code: &str, message: &str) {
        let (code, message) = (code.to_owned(), message.to_owned());
        let error = ResultError { code, message, ..ResultError::default() };
        self.result(&SandboxResult::Failed { error }).await;
    }
}
