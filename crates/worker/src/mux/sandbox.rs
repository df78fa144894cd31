//! One sandbox, as its holder has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bulkhead_protocol::{
    CONTROL, Frame, HEADER_BYTES, Kind, SANDBOX_WINDOW_BYTES, SlotUsage, fragments,
};
use tokio::sync::mpsc;

use super::Guest;
use super::table::{Gone, Shared};

/// Credit is granted in pieces of this size, so that not every frame costs an order: an eighth of the window.
const CREDIT_BYTES: u32 = SANDBOX_WINDOW_BYTES / 8;

/// What comes from a sandbox.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame that a sandbox may send, or its output.
    Frame(Frame),
    /// Its end. Nothing comes after it.
    Gone(Gone, SlotUsage),
}

/// A sandbox that holds a slot. Dropping it kills it.
pub(crate) struct Sandbox {
    number: u32,
    guest: Arc<Guest>,
    frames: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
    /// Bytes taken for which no credit was granted yet.
    owed: u32,
}

impl Sandbox {
    pub(super) fn new(
        number: u32,
        guest: Arc<Guest>,
        frames: mpsc::Receiver<Frame>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { number, guest, frames, shared, owed: 0 }
    }

    /// The next frame, or the end once all frames are taken. May be dropped and called again: nothing is lost.
    /// Asking for the next frame says that the one before is dealt with.
    pub(crate) async fn next(&mut self) -> Event {
        if self.owed >= CREDIT_BYTES {
            self.guest.orders.credit(self.number, std::mem::take(&mut self.owed));
        }
        let Some(frame) = self.frames.recv().await else { return self.ended() };
        let bytes = HEADER_BYTES + frame.payload.len();
        self.shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
        self.owed = self.owed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        Event::Frame(frame)
    }

    /// Waits for the end; frames that come before are dropped.
    pub(crate) async fn gone(&mut self) -> (Gone, SlotUsage) {
        loop {
            if let Event::Gone(gone, usage) = self.next().await {
                return (gone, usage);
            }
        }
    }

    fn ended(&self) -> Event {
        // The queue closes only after `gone` is set; the fallback is for a table dropped with its runtime.
        let (gone, usage) = self
            .shared
            .gone
            .get()
            .cloned()
            .unwrap_or((Gone::Broken(super::Broken::Closed), SlotUsage::default()));
        Event::Gone(gone, usage)
    }

    /// Whether it has ended, frames still to be taken or not.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.gone.get().is_some()
    }

    /// What it had used when it answered, once it has.
    pub(crate) fn usage_at_answer(&self) -> SlotUsage {
        self.shared.at_answer.get().copied().unwrap_or_default()
    }

    /// Has it go through what a start touches, while it is parked. Only speed depends on it: where the way is full,
    /// it goes unsaid.
    pub(crate) fn rehearse(&self) {
        let rehearse = Frame::new(self.number, CONTROL, Kind::Rehearse, Vec::new());
        self.guest.out.try_send(rehearse).ok();
    }

    /// Kills it. Its end comes as an event; a guest that does not confirm it in time loses its compartment.
    pub(crate) fn kill(&self) {
        self.guest.kill(self.number);
    }

    /// The way to it, to keep and to clone.
    pub(crate) fn outgoing(&self) -> Outgoing {
        Outgoing { number: self.number, out: self.guest.out.clone() }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.is_gone() {
            self.kill();
        }
    }
}

/// The way to a sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    number: u32,
    out: mpsc::Sender<Frame>,
}

impl Outgoing {
    /// Sends a message, waiting its turn for each fragment. A sandbox that is gone takes nothing; whoever holds it
    /// hears of that in another way.
    pub(crate) async fn send(&self, channel: u32, kind: Kind, message: &[u8]) {
        for frame in fragments(self.number, channel, kind, message) {
            if self.out.send(frame).await.is_err() {
                return;
            }
        }
    }
}
