//! Short orders to the guest, which overtake everything else. Never full: there is at most one start and one kill
//! per sandbox, and credits add up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkhead_protocol::{CONTROL, GUEST, Kind, ToGuest, fragments};
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Orders {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    orders: Vec<ToGuest>,
    credits: HashMap<u32, u32>,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, order: ToGuest) {
        self.lock().orders.push(order);
        self.wake.notify_one();
    }

    pub(super) fn credit(&self, sandbox: u32, bytes: u32) {
        let mut waiting = self.lock();
        let sum = waiting.credits.entry(sandbox).or_default();
        *sum = sum.saturating_add(bytes);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Wakes the writer although there is no order.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns once something was pushed since the last [`Self::take`].
    pub(super) async fn pending(&self) {
        self.wake.notified().await;
    }

    /// Everything that waits, as bytes.
    pub(super) fn take(&self) -> Vec<u8> {
        let Waiting { mut orders, credits } = std::mem::take(&mut *self.lock());
        let credit = |(sandbox, bytes)| ToGuest::Credit { sandbox, bytes };
        orders.extend(credits.into_iter().map(credit));
        let mut bytes = Vec::new();
        for order in orders {
            // These types have no map with keys other than strings: they always serialize.
            let json = serde_json::to_vec(&order).unwrap_or_default();
            for frame in fragments(GUEST, CONTROL, Kind::ToGuest, &json) {
                frame.encode(&mut bytes);
            }
        }
        bytes
    }
}
