//! The fake's guest: obeys the worker as the real one does, with tasks for processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_protocol::{
    CONTROL, Decoder, Frame, FromGuest, GUEST, GuestError, Kind, SANDBOX_WINDOW_BYTES, SandboxGone,
    SlotUsage, ToGuest, fragments,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::sandbox::FakeSender;
use super::{Counters, FakeOptions, FakeSandbox, Script};
use crate::CompartmentSpec;

/// Frames that may wait for a script to read them.
const INBOX_FRAMES_MAX: usize = 8_192;
const OUT_FRAMES_MAX: usize = 64;

pub(super) struct Guest {
    spec: Arc<CompartmentSpec>,
    options: FakeOptions,
    script: Script,
    counters: Arc<Counters>,
    slots: u32,
    zygotes: Vec<u32>,
    /// Bytes that are still to come of their bundles.
    loading: HashMap<u32, u64>,
    sandboxes: Arc<Mutex<HashMap<u32, Slot>>>,
}

struct Slot {
    inbox: mpsc::Sender<Frame>,
    credit: Arc<Semaphore>,
    usage: Arc<Mutex<SlotUsage>>,
    task: Option<AbortHandle>,
}

impl Guest {
    pub(super) fn new(
        spec: CompartmentSpec,
        options: FakeOptions,
        script: Script,
        counters: Arc<Counters>,
    ) -> Self {
        let slots = options.slots.unwrap_or(spec.slots);
        let (spec, sandboxes) = (Arc::new(spec), Arc::default());
        Self {
            spec,
            options,
            script,
            counters,
            slots,
            zygotes: Vec::new(),
            loading: HashMap::new(),
            sandboxes,
        }
    }

    /// Serves until the worker hangs up. All sandboxes end with it.
    pub(super) async fn run(mut self, stream: UnixStream) {
        let (mut read, write) = stream.into_split();
        let (out, queue) = mpsc::channel(OUT_FRAMES_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(write, queue));
        if self.options.says_hello {
            let hello = FromGuest::Hello { version: self.options.version, slots: self.slots };
            say(&out, &hello).await;
        }
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            decoder.feed(&buffer[..length]);
            while let Ok(Some(frame)) = decoder.next_frame() {
                self.handle(frame, &out, &mut tasks).await;
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn handle(&mut self, frame: Frame, out: &mpsc::Sender<Frame>, tasks: &mut JoinSet<()>) {
        if frame.kind == Kind::Bundle {
            self.load(frame.channel, frame.payload.len(), out).await;
            return;
        }
        if frame.kind != Kind::ToGuest {
            if frame.kind == Kind::Start {
                count(&self.counters.started);
            }
            if let Some(slot) = lock(&self.sandboxes).get(&frame.sandbox) {
                slot.inbox.try_send(frame).ok();
            }
            return;
        }
        match serde_json::from_slice(&frame.payload) {
            Ok(ToGuest::StartZygote { zygote, bundle, .. }) => {
                self.loading.insert(zygote, bundle.map_or(0, |bundle| bundle.bytes));
                self.load(zygote, 0, out).await;
            }
            Ok(ToGuest::StopZygote { zygote }) => {
                self.loading.remove(&zygote);
                self.zygotes.retain(|other| *other != zygote);
                count(&self.counters.zygotes_ended);
            }
            Ok(ToGuest::NewSandbox { sandbox, zygote, .. }) => {
                self.new_sandbox(sandbox, zygote, out, tasks).await;
            }
            Ok(ToGuest::KillSandbox { sandbox }) => self.kill(sandbox, out, tasks),
            Ok(ToGuest::Credit { sandbox, bytes }) => {
                if let Some(slot) = lock(&self.sandboxes).get(&sandbox) {
                    slot.credit.add_permits(usize::try_from(bytes).unwrap_or(0));
                }
            }
            Err(error) => tracing::error!(%error, "the worker said what no guest understands"),
        }
    }

    /// Takes the next bytes of a bundle; with the last ones its zygote starts.
    async fn load(&mut self, zygote: u32, bytes: usize, out: &mpsc::Sender<Frame>) {
        let Some(left) = self.loading.get_mut(&zygote) else { return };
        *left = left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        if *left == 0 {
            self.loading.remove(&zygote);
            self.start_zygote(zygote, out).await;
        }
    }

    async fn start_zygote(&mut self, zygote: u32, out: &mpsc::Sender<Frame>) {
        count(&self.counters.zygotes);
        let answer = match (self.options.zygote)(&self.spec) {
            Ok(()) => {
                self.zygotes.push(zygote);
                FromGuest::ZygoteReady { zygote, load_us: 1 }
            }
            Err(failure) => {
                FromGuest::ZygoteFailed { zygote, error: failure.error, output: failure.output }
            }
        };
        say(out, &answer).await;
    }

    async fn new_sandbox(
        &mut self,
        sandbox: u32,
        zygote: u32,
        out: &mpsc::Sender<Frame>,
        tasks: &mut JoinSet<()>,
    ) {
        if let Err(error) = self.refuse(zygote) {
            say(out, &gone(sandbox, SandboxGone::NotStarted { error }, SlotUsage::default())).await;
            return;
        }
        count(&self.counters.sandboxes);
        let (inbox, received) = mpsc::channel(INBOX_FRAMES_MAX);
        let credit = Arc::new(Semaphore::new(SANDBOX_WINDOW_BYTES as usize));
        let usage: Arc<Mutex<SlotUsage>> = Arc::default();
        let sender = FakeSender::new(sandbox, out.clone(), Arc::clone(&credit), Arc::clone(&usage));
        let spec = Arc::clone(&self.spec);
        let fake = FakeSandbox::new(sender, received, spec);
        let slot = Slot { inbox, credit, usage, task: None };
        lock(&self.sandboxes).insert(sandbox, slot);
        let life = Life {
            sandbox,
            fork_delay: self.options.fork_delay,
            script: Arc::clone(&self.script),
            sandboxes: Arc::clone(&self.sandboxes),
            out: out.clone(),
        };
        let task = tasks.spawn(life.run(fake));
        if let Some(slot) = lock(&self.sandboxes).get_mut(&sandbox) {
            slot.task = Some(task);
        }
    }

    fn refuse(&self, zygote: u32) -> Result<(), GuestError> {
        let error =
            |stage: &str| GuestError { stage: stage.to_owned(), message: "refused".to_owned() };
        if !self.zygotes.contains(&zygote) {
            return Err(error("zygote"));
        }
        let used = lock(&self.sandboxes).len();
        if used >= self.slots as usize { Err(error("slots")) } else { Ok(()) }
    }

    fn kill(&self, sandbox: u32, out: &mpsc::Sender<Frame>, tasks: &mut JoinSet<()>) {
        if !self.options.obeys_kill {
            return;
        }
        let Some(slot) = lock(&self.sandboxes).remove(&sandbox) else {
            return;
        };
        count(&self.counters.killed);
        let out = out.clone();
        tasks.spawn(async move {
            if let Some(task) = slot.task {
                task.abort();
                while !task.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
            let usage = *lock(&slot.usage);
            say(&out, &gone(sandbox, SandboxGone::Killed, usage)).await;
        });
    }
}

/// One sandbox, from fork to gone.
struct Life {
    sandbox: u32,
    fork_delay: Duration,
    script: Script,
    sandboxes: Arc<Mutex<HashMap<u32, Slot>>>,
    out: mpsc::Sender<Frame>,
}

impl Life {
    async fn run(self, fake: FakeSandbox) {
        tokio::time::sleep(self.fork_delay).await;
        let fork_us = u64::try_from(self.fork_delay.as_micros()).unwrap_or(u64::MAX);
        say(&self.out, &FromGuest::SandboxReady { sandbox: self.sandbox, fork_us }).await;
        let how = (self.script)(fake).await;
        // Whoever takes the slot out of the table says the last word, and says it once.
        let slot = lock(&self.sandboxes).remove(&self.sandbox);
        if let Some(slot) = slot {
            let usage = *lock(&slot.usage);
            say(&self.out, &gone(self.sandbox, how, usage)).await;
        }
    }
}

fn gone(sandbox: u32, gone: SandboxGone, usage: SlotUsage) -> FromGuest {
    FromGuest::SandboxGone { sandbox, gone, usage }
}

pub(super) async fn say(out: &mpsc::Sender<Frame>, message: &FromGuest) {
    let json = serde_json::to_vec(message).unwrap_or_default();
    for frame in fragments(GUEST, CONTROL, Kind::FromGuest, &json) {
        out.send(frame).await.ok();
    }
}

async fn write_frames(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>) {
    let mut bytes = Vec::new();
    while let Some(frame) = queue.recv().await {
        bytes.clear();
        frame.encode(&mut bytes);
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &std::sync::atomic::AtomicU64) {
    counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}
