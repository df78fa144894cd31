//! The leases a worker holds: which to renew, which ran out, whom a recall is for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_types::{Clock, Lease, LeaseRef, Timestamp};
use tokio::sync::{Notify, watch};

use crate::runner::Stop;
use crate::source::{Recall, RecallReason};

/// Leases are renewed at this part of their life, if that is sooner than the configured interval.
const RENEW_PART: u32 = 3;

struct Held {
    stop: watch::Sender<Option<Stop>>,
    life: Duration,
    expires_at: Timestamp,
}

/// The table.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<LeaseRef, Held>>,
    /// There is one more: it may want to be renewed sooner than those before.
    more: Notify,
    /// There is one more, or one ends at another time: whoever waits for the next to run out looks again.
    changed: Notify,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseRef, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a lease until the guard is dropped; the receiver tells when to stop.
    pub(crate) fn hold(
        self: &Arc<Self>,
        lease: &Lease,
    ) -> (Holding, watch::Receiver<Option<Stop>>) {
        let (stop, stopped) = watch::channel(None);
        let life = lease.expires_at.since(lease.leased_at);
        let held = Held { stop, life, expires_at: lease.expires_at };
        self.lock().insert(lease.lease.clone(), held);
        self.more.notify_one();
        self.changed.notify_one();
        let holding = Holding { leases: Arc::clone(self), lease: lease.lease.clone() };
        (holding, stopped)
    }

    pub(crate) fn refs(&self) -> Vec<LeaseRef> {
        self.lock().keys().cloned().collect()
    }

    /// Returns when another lease is held since the last time.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }

    /// How long after a renewal the next is due.
    pub(crate) fn renew_in(&self, configured: Duration) -> Duration {
        let shortest = self.lock().values().map(|held| held.life / RENEW_PART).min();
        shortest.map_or(configured, |part| part.min(configured)).max(Duration::from_millis(10))
    }

    /// All of `renewed` were renewed at `now`.
    pub(crate) fn renewed(&self, renewed: &[LeaseRef], now: Timestamp) {
        let mut held = self.lock();
        for lease in renewed {
            if let Some(held) = held.get_mut(lease) {
                held.expires_at = now.after(held.life);
            }
        }
    }

    /// Stops what ran out by `now` without being renewed: somebody else may be running it already. Returns how long
    /// until the next one runs out.
    pub(crate) fn expire(&self, now: Timestamp) -> Option<Duration> {
        let held = self.lock();
        for held in held.values().filter(|held| held.expires_at <= now) {
            held.say(Stop::Lost);
        }
        let alive = held.values().filter(|held| held.expires_at > now);
        alive.map(|held| held.expires_at.since(now)).min()
    }

    /// Stops each lease at the moment at which it runs out, for ever: a renewal that hangs must not put that off.
    pub(crate) async fn expire_for_ever(&self, clock: &dyn Clock) {
        loop {
            match self.expire(clock.now()) {
                // Not to the millisecond: clocks that tell the date may be set.
                Some(next) => {
                    let next = next.max(Duration::from_millis(10));
                    drop(tokio::time::timeout(next, self.changed.notified()).await);
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Passes a recall on; one for a lease that is not held is nobody's.
    pub(crate) fn recall(&self, recall: &Recall) {
        if let Some(held) = self.lock().get(&recall.lease) {
            held.say(match recall.reason {
                RecallReason::Cancelled => Stop::Cancelled,
                RecallReason::Lost => Stop::Lost,
            });
        }
    }

    /// Lets everything come to its end, for a shutdown.
    pub(crate) fn wind_down(&self) {
        self.lock().values().for_each(|held| held.say(Stop::Winding));
    }

    /// Stops everything, for a shutdown.
    pub(crate) fn drain(&self) {
        self.lock().values().for_each(|held| held.say(Stop::Drained));
    }
}

/// A lease in the table. Even an attempt that panics lets go of it: renewed for ever, it would never be run again.
pub(crate) struct Holding {
    leases: Arc<Leases>,
    lease: LeaseRef,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.lease);
    }
}

impl Held {
    /// The first reason counts, except that a lost lease always does, since nothing may be written under it; and that
    /// winding down gives way to all others.
    fn say(&self, stop: Stop) {
        self.stop.send_if_modified(|said| {
            let changes = match said {
                None => true,
                Some(Stop::Winding) => stop != Stop::Winding,
                Some(_) => stop == Stop::Lost && *said != Some(Stop::Lost),
            };
            if changes {
                *said = Some(stop);
            }
            changes
        });
    }
}
