//! Who is who on a compartment's stream: routes from numbers to those who wait for their frames.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bulkhead_protocol::{
    Frame, HEADER_BYTES, PAYLOAD_BYTES_MAX, SANDBOX_WINDOW_BYTES, SandboxGone, SlotUsage,
};
use tokio::sync::{mpsc, oneshot};

use super::{Broken, NoFork, ZygoteLost};

/// Bytes of a sandbox that may wait here. A guest looks at the credit before it reads, so that one read of the
/// stream and one of the output may go over the window.
const WAITING_BYTES_MAX: usize = SANDBOX_WINDOW_BYTES as usize + 4 * PAYLOAD_BYTES_MAX;

/// Frames that fit into that: those without payload count their header.
const FRAMES_MAX: usize = WAITING_BYTES_MAX / HEADER_BYTES;

/// How a sandbox ended, as seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The guest said so.
    Guest(SandboxGone),
    /// Its compartment broke.
    Broken(Broken),
}

/// What the stream's task and a sandbox's holder share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes that were received and not yet taken by the holder.
    pub(super) waiting: AtomicUsize,
    /// What it had used when it answered; set before the answer is delivered.
    pub(super) at_answer: OnceLock<SlotUsage>,
    /// Set before the queue of frames is closed.
    pub(super) gone: OnceLock<(Gone, SlotUsage)>,
}

struct Route {
    frames: mpsc::Sender<Frame>,
    ready: Option<oneshot::Sender<()>>,
    shared: Arc<Shared>,
    dying: bool,
}

type ZygoteAnswer = oneshot::Sender<Result<u64, ZygoteLost>>;

#[derive(Default)]
struct Routes {
    sandboxes: HashMap<u32, Route>,
    zygotes: HashMap<u32, ZygoteAnswer>,
    /// Kills that the guest has not confirmed, by when it must; in order, as all have the same wait.
    kills: VecDeque<(u64, u32)>,
    last: u32,
    broken: Option<Broken>,
}

#[derive(Default)]
pub(super) struct Table {
    routes: Mutex<Routes>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    pub(super) fn sandboxes(&self) -> u32 {
        u32::try_from(self.lock().sandboxes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn await_zygote(&self, zygote: u32, answer: ZygoteAnswer) -> Result<(), Broken> {
        let mut routes = self.lock();
        if let Some(broken) = &routes.broken {
            return Err(broken.clone());
        }
        routes.zygotes.insert(zygote, answer);
        Ok(())
    }

    /// Tells whoever waits for the zygote; false when nobody does.
    pub(super) fn zygote_answered(&self, zygote: u32, answer: Result<u64, ZygoteLost>) -> bool {
        let waiting = self.lock().zygotes.remove(&zygote);
        waiting.is_some_and(|waiting| {
            waiting.send(answer).ok();
            true
        })
    }

    /// A new sandbox, if there are not `slots` of them: its number, its frames, and what is shared about it.
    pub(super) fn add(
        &self,
        ready: oneshot::Sender<()>,
        slots: u32,
    ) -> Result<(u32, mpsc::Receiver<Frame>, Arc<Shared>), NoFork> {
        let mut routes = self.lock();
        if let Some(broken) = &routes.broken {
            return Err(NoFork::Broken(broken.clone()));
        }
        if routes.sandboxes.len() >= slots as usize {
            return Err(NoFork::Full);
        }
        routes.last += 1;
        let number = routes.last;
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        let shared: Arc<Shared> = Arc::default();
        let route = Route { frames, ready: Some(ready), shared: Arc::clone(&shared), dying: false };
        routes.sandboxes.insert(number, route);
        Ok((number, receiver, shared))
    }

    pub(super) fn ready(&self, sandbox: u32) {
        if let Some(ready) = self.lock().sandboxes.get_mut(&sandbox).and_then(|it| it.ready.take())
        {
            ready.send(()).ok();
        }
    }

    /// Notes what a sandbox had used when it answered; the first word counts.
    pub(super) fn answers(&self, sandbox: u32, usage: SlotUsage) {
        if let Some(route) = self.lock().sandboxes.get(&sandbox) {
            route.shared.at_answer.set(usage).ok();
        }
    }

    /// Hands a frame to its sandbox's holder. Frames for a sandbox that is gone, or that nobody holds any more,
    /// are dropped.
    pub(super) fn deliver(&self, frame: Frame) -> Result<(), Broken> {
        let routes = self.lock();
        let Some(route) = routes.sandboxes.get(&frame.sandbox) else { return Ok(()) };
        let bytes = HEADER_BYTES + frame.payload.len();
        let waiting = route.shared.waiting.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if waiting > WAITING_BYTES_MAX {
            return Err(Broken::Violation("more of a sandbox than was granted"));
        }
        match route.frames.try_send(frame) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Broken::Violation("more frames of a sandbox than fit what was granted"))
            }
        }
    }

    /// Notes that a sandbox is to be gone by `deadline_us`; false when it is gone or dying already.
    pub(super) fn dying(&self, sandbox: u32, deadline_us: u64) -> bool {
        let mut routes = self.lock();
        let Some(route) = routes.sandboxes.get_mut(&sandbox) else { return false };
        if std::mem::replace(&mut route.dying, true) {
            return false;
        }
        routes.kills.push_back((deadline_us, sandbox));
        true
    }

    /// Whether the guest owes the confirmation of a kill.
    pub(super) fn overdue(&self, now_us: u64) -> bool {
        let mut routes = self.lock();
        while let Some((deadline_us, sandbox)) = routes.kills.front().copied() {
            if routes.sandboxes.contains_key(&sandbox) {
                return deadline_us <= now_us;
            }
            routes.kills.pop_front();
        }
        false
    }

    /// The last word about a sandbox; false when it was unknown.
    pub(super) fn gone(&self, sandbox: u32, gone: Gone, usage: SlotUsage) -> bool {
        let route = self.lock().sandboxes.remove(&sandbox);
        route.is_some_and(|route| {
            // Said once: the route was in the table. Closing its queue, by dropping it, tells the holder to look.
            route.shared.gone.set((gone, usage)).ok();
            true
        })
    }

    /// Ends everybody; false when that happened before.
    pub(super) fn break_off(&self, broken: &Broken) -> bool {
        let mut routes = self.lock();
        if routes.broken.is_some() {
            return false;
        }
        routes.broken = Some(broken.clone());
        for (_, route) in routes.sandboxes.drain() {
            route.shared.gone.set((Gone::Broken(broken.clone()), SlotUsage::default())).ok();
        }
        for (_, waiting) in routes.zygotes.drain() {
            waiting.send(Err(ZygoteLost::Broken(broken.clone()))).ok();
        }
        true
    }
}
