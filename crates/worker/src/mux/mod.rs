//! Many sandboxes over one byte stream: the worker's end of a compartment's channel.
//!
//! One task per compartment reads and writes. It never waits for an attempt while reading: what a sandbox may
//! have under way is bounded by its window, so the queue that takes it is bounded too, and a guest that passes on
//! more than was granted breaks the compartment. What is written comes from two queues: short orders to the
//! guest, which go first, and frames for sandboxes, one at a time in the order in which their senders asked, so
//! that a reply of megabytes lets the frames of others pass between its fragments.
//!
//! A compartment whose stream breaks, for whatever reason, is broken for all: each of its sandboxes ends with
//! [`Gone::Broken`], and the pool destroys it.

mod orders;
mod sandbox;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{
    Assembler, BundleHead, Decoder, Frame, FrameError, FromGuest, GUEST, GuestError, Kind,
    PAYLOAD_BYTES_MAX, SandboxGone, SandboxLimits, ToGuest, VERSION, ZygoteSpec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Monotonic;
use crate::tasks::Tasks;
use orders::Orders;
use table::Table;

pub(crate) use sandbox::{Event, Outgoing, Sandbox};
pub(crate) use table::Gone;

/// How long a guest may take until it says hello.
pub(crate) const HELLO_WAIT: Duration = Duration::from_secs(10);

/// How long a guest may take to confirm that a sandbox it was told to kill is gone: it waits up to two seconds for
/// the last words of what it killed, then wipes the scratch directory. Too short a wait costs the neighbours.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(5);

/// How long a guest may leave what is written to it unread.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// How often kills are checked against [`KILL_WAIT`].
const KILL_TICK: Duration = Duration::from_millis(250);

/// Frames for sandboxes that wait to be written: 4 MiB.
const OUT_FRAMES_MAX: usize = 64;

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;

/// Slots that are believed; more is a guest that lies.
const SLOTS_MAX: u32 = 65_536;

/// Why a compartment's stream cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the guest did not say hello within {} seconds", HELLO_WAIT.as_secs())]
    NoHello,
    #[error("the guest speaks protocol version {0}, this worker {VERSION}")]
    Version(u32),
    #[error("the guest hung up")]
    HungUp,
    #[error("the stream failed: {0}")]
    Stream(String),
    #[error("the guest sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the guest sent what it may not: {0}")]
    Violation(&'static str),
    #[error("the guest did not confirm a kill within {} seconds", KILL_WAIT.as_secs())]
    KillUnconfirmed,
    #[error("the guest left what was written to it unread for {} seconds", WRITE_WAIT.as_secs())]
    Unread,
    #[error("the compartment was closed")]
    Closed,
}

/// Why a zygote is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ZygoteLost {
    /// It said why.
    Failed { error: GuestError, output: String },
    /// The compartment broke.
    Broken(Broken),
}

/// What a pool wants to know of a guest at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A slot is free again.
    SlotFree,
    /// The zygote with this number, which served, died.
    ZygoteDied(u32),
    /// The compartment is broken.
    Broken,
}

/// Why no sandbox is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoFork {
    /// The compartment is broken.
    Broken(Broken),
    /// All slots are in use: those who share a compartment may have taken the last one meanwhile.
    Full,
}

pub(crate) type OnChange = Box<dyn Fn(Change) + Send + Sync>;

/// The guest of one compartment.
pub(crate) struct Guest {
    table: Table,
    orders: Orders,
    out: mpsc::Sender<Frame>,
    slots: u32,
    monotonic: Arc<dyn Monotonic>,
    on_change: OnChange,
}

impl Guest {
    /// Waits for the guest's hello and starts the task that serves its stream.
    pub(crate) async fn connect(
        stream: UnixStream,
        monotonic: Arc<dyn Monotonic>,
        tasks: &Tasks,
        on_change: OnChange,
    ) -> Result<Arc<Self>, Broken> {
        let (read, write) = stream.into_split();
        let mut incoming = Incoming::new(read);
        let hello = tokio::time::timeout(HELLO_WAIT, incoming.hello());
        let slots = hello.await.unwrap_or(Err(Broken::NoHello))?;
        let (out, queue) = mpsc::channel(OUT_FRAMES_MAX);
        let (table, orders) = (Table::default(), Orders::default());
        let guest = Arc::new(Self { table, orders, out, slots, monotonic, on_change });
        tasks.spawn(serve(Arc::clone(&guest), incoming, write, queue));
        Ok(guest)
    }

    /// Sandboxes that can exist at the same time.
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// Sandboxes that hold a slot: on their way, parked, running, or being wiped.
    pub(crate) fn slots_used(&self) -> u32 {
        self.table.sandboxes()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.table.broken().is_some()
    }

    /// Starts a zygote, with a bundle that it is sent if there is one; returns what it took to load, in microseconds.
    pub(crate) async fn start_zygote(
        &self,
        zygote: u32,
        spec: ZygoteSpec,
        bundle: Option<(BundleHead, Vec<u8>)>,
    ) -> Result<u64, ZygoteLost> {
        let (answer, answered) = oneshot::channel();
        self.table.await_zygote(zygote, answer).map_err(ZygoteLost::Broken)?;
        let (head, content) = bundle.unzip();
        self.orders.push(ToGuest::StartZygote { zygote, spec, bundle: head });
        for part in content.iter().flat_map(|content| content.chunks(PAYLOAD_BYTES_MAX)) {
            let frame = Frame::new(GUEST, zygote, Kind::Bundle, part.to_vec());
            // Closed is broken: whoever waits for the zygote is told.
            if self.out.send(frame).await.is_err() {
                break;
            }
        }
        answered.await.unwrap_or(Err(ZygoteLost::Broken(Broken::Closed)))
    }

    /// Ends a zygote, if it still lives, and removes what was sent for it.
    pub(crate) fn stop_zygote(&self, zygote: u32) {
        self.table.zygote_answered(zygote, Err(ZygoteLost::Broken(Broken::Closed)));
        self.orders.push(ToGuest::StopZygote { zygote });
    }

    /// Asks for a sandbox. It holds a slot from now on, and is to be waited for.
    pub(crate) fn fork(
        self: &Arc<Self>,
        zygote: u32,
        limits: SandboxLimits,
    ) -> Result<Forking, NoFork> {
        let (ready, readied) = oneshot::channel();
        let (number, frames, route) = self.table.add(ready, self.slots)?;
        let sandbox = Sandbox::new(number, Arc::clone(self), frames, route);
        self.orders.push(ToGuest::NewSandbox { sandbox: number, zygote, limits });
        Ok(Forking { sandbox, readied })
    }

    /// Ends everything: the stream's task stops, every sandbox is gone.
    pub(crate) fn close(&self) {
        self.break_off(Broken::Closed);
    }

    fn kill(&self, sandbox: u32) {
        let wait_us = u64::try_from(KILL_WAIT.as_micros()).unwrap_or(u64::MAX);
        if self.table.dying(sandbox, self.monotonic.micros().saturating_add(wait_us)) {
            self.orders.push(ToGuest::KillSandbox { sandbox });
        }
    }

    fn break_off(&self, broken: Broken) {
        if self.table.break_off(&broken) {
            if broken != Broken::Closed {
                tracing::warn!(%broken, "a compartment broke");
            }
            self.orders.wake();
            // Who closes knows; it may hold locks that its own notification would want.
            if broken != Broken::Closed {
                (self.on_change)(Change::Broken);
            }
        }
    }

    /// Takes one frame from the guest.
    fn receive(&self, frame: Frame, assembler: &mut Assembler) -> Result<(), Broken> {
        if frame.sandbox != GUEST {
            if !frame.kind.from_sandbox() && frame.kind != Kind::Output {
                return Err(Broken::Violation("a frame that no sandbox may send"));
            }
            return self.table.deliver(frame);
        }
        if frame.kind != Kind::FromGuest {
            return Err(Broken::Violation("a frame that a guest may not send"));
        }
        let Some((_, _, message)) = assembler.push(frame)? else { return Ok(()) };
        let message = serde_json::from_slice(&message)
            .map_err(|_| Broken::Violation("a message that is no FromGuest"))?;
        self.hear(message)
    }

    fn hear(&self, message: FromGuest) -> Result<(), Broken> {
        match message {
            FromGuest::Hello { .. } => return Err(Broken::Violation("a second hello")),
            FromGuest::ZygoteReady { zygote, load_us } => {
                self.table.zygote_answered(zygote, Ok(load_us));
            }
            FromGuest::ZygoteFailed { zygote, error, output } => {
                let lost = ZygoteLost::Failed { error, output };
                if !self.table.zygote_answered(zygote, Err(lost)) {
                    (self.on_change)(Change::ZygoteDied(zygote));
                }
            }
            FromGuest::SandboxReady { sandbox, .. } => self.table.ready(sandbox),
            FromGuest::SandboxAnswers { sandbox, usage } => self.table.answers(sandbox, usage),
            FromGuest::SandboxGone { sandbox, gone, usage } => {
                if self.table.gone(sandbox, Gone::Guest(gone), usage) {
                    (self.on_change)(Change::SlotFree);
                }
            }
        }
        Ok(())
    }
}

/// A sandbox on its way. Dropping it kills it.
pub(crate) struct Forking {
    sandbox: Sandbox,
    readied: oneshot::Receiver<()>,
}

impl Forking {
    /// Waits until it is parked; `Err` tells why there is none. One that takes longer than `wait` is killed.
    pub(crate) async fn ready(mut self, wait: Duration) -> Result<Sandbox, Gone> {
        match tokio::time::timeout(wait, self.readied).await {
            Ok(Ok(())) => Ok(self.sandbox),
            Ok(Err(_)) => Err(self.sandbox.gone().await.0),
            Err(_) => {
                let message = format!("no sandbox after {} seconds", wait.as_secs());
                let error = GuestError { stage: "fork".to_owned(), message };
                Err(Gone::Guest(SandboxGone::NotStarted { error }))
            }
        }
    }
}

/// The one task of a compartment.
async fn serve(
    guest: Arc<Guest>,
    mut incoming: Incoming,
    write: OwnedWriteHalf,
    queue: mpsc::Receiver<Frame>,
) {
    let broken = tokio::select! {
        broken = incoming.deliver_to(&guest) => broken,
        broken = write_out(&guest, write, queue) => broken,
        broken = watch_kills(&guest) => broken,
    };
    guest.break_off(broken);
}

/// Ends with [`Broken::KillUnconfirmed`] when a kill takes too long.
async fn watch_kills(guest: &Guest) -> Broken {
    let mut tick = tokio::time::interval(KILL_TICK);
    loop {
        tick.tick().await;
        if guest.table.overdue(guest.monotonic.micros()) {
            return Broken::KillUnconfirmed;
        }
    }
}

/// Writes orders and frames until the stream fails or the guest is closed.
async fn write_out(
    guest: &Guest,
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Frame>,
) -> Broken {
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    loop {
        bytes.clear();
        tokio::select! {
            biased;
            () = guest.orders.pending() => {},
            frame = queue.recv() => if let Some(frame) = frame { frame.encode(&mut bytes) },
        }
        if let Some(broken) = guest.table.broken() {
            return broken;
        }
        while bytes.len() < WRITE_BYTES {
            let Ok(frame) = queue.try_recv() else { break };
            frame.encode(&mut bytes);
        }
        // Orders overtake frames, also the frames gathered just now: none of them is about a sandbox to come.
        let mut first = guest.orders.take();
        first.append(&mut bytes);
        std::mem::swap(&mut first, &mut bytes);
        match tokio::time::timeout(WRITE_WAIT, write.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Broken::Stream(error.to_string()),
            Err(_) => return Broken::Unread,
        }
    }
}

/// Bytes from the guest, as frames.
struct Incoming {
    read: OwnedReadHalf,
    decoder: Decoder,
    assembler: Assembler,
    buffer: Vec<u8>,
}

impl Incoming {
    fn new(read: OwnedReadHalf) -> Self {
        let buffer = vec![0; 128 * 1024];
        Self { read, decoder: Decoder::default(), assembler: Assembler::default(), buffer }
    }

    /// The next frame. May be dropped and called again: nothing is lost.
    async fn next(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            match self.read.read(&mut self.buffer).await {
                Ok(0) => return Err(Broken::HungUp),
                Ok(length) => self.decoder.feed(&self.buffer[..length]),
                Err(error) => return Err(Broken::Stream(error.to_string())),
            }
        }
    }

    async fn hello(&mut self) -> Result<u32, Broken> {
        let frame = self.next().await?;
        let whole = frame.sandbox == GUEST && frame.kind == Kind::FromGuest && !frame.more;
        match serde_json::from_slice(&frame.payload) {
            Ok(FromGuest::Hello { version, .. }) if whole && version != VERSION => {
                Err(Broken::Version(version))
            }
            Ok(FromGuest::Hello { slots, .. }) if whole && (1..=SLOTS_MAX).contains(&slots) => {
                Ok(slots)
            }
            _ => Err(Broken::Violation("something else than a hello")),
        }
    }

    async fn deliver_to(&mut self, guest: &Guest) -> Broken {
        loop {
            let taken = match self.next().await {
                Ok(frame) => guest.receive(frame, &mut self.assembler),
                Err(broken) => Err(broken),
            };
            if let Err(broken) = taken {
                return broken;
            }
        }
    }
}
