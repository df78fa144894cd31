//! Compartments that nobody needs go: after a time without use, and by everybody's share ([`super::warmth`]) when places
//! or memory run short.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bulkhead_types::{TenantId, WallKind};

use super::Pool;
use super::entry::Entry;
use super::home::Home;
use super::warmth::{Asked, Held, make_room};
use crate::stats::{Eviction, Stats};

/// What an idle compartment keeps, MiB, until one behind that wall was measured: two parked sandboxes and a zygote with
/// a bundle of ordinary size, as measured once; behind gVisor with its kernel.
const fn usual_mib(wall: WallKind) -> u64 {
    match wall {
        WallKind::Process => 64,
        WallKind::Gvisor => 160,
        WallKind::Microvm => 320,
    }
}

/// Looks again and again, until the pool is gone.
pub(super) async fn evict_for_ever(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.evict().await;
    }
}

/// Whenever an attempt ends, or somebody asks for a place: sees whether one is lacking.
pub(super) async fn make_places_for_ever(pool: Weak<Pool>) {
    loop {
        let Some(idle) = pool.upgrade().map(|pool| Arc::clone(&pool.idle)) else { return };
        idle.notified().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.make_places();
    }
}

/// A compartment, with what is decided by.
struct Seen {
    entry: Arc<Entry>,
    home: Arc<Home>,
    used_us: u64,
    idle: bool,
}

impl Seen {
    fn held(&self, amount: u64) -> Held<'_> {
        let Self { entry, used_us, idle, .. } = self;
        Held { tenant: &entry.function.tenant, amount, used_us: *used_us, idle: *idle }
    }
}

impl Pool {
    fn seen(&self) -> Vec<Seen> {
        let entries: Vec<Arc<Entry>> = self.lock().values().map(Arc::clone).collect();
        let mut seen = Vec::new();
        for entry in entries {
            let homes = entry.homes();
            seen.extend(homes.into_iter().map(|(home, used_us, idle)| Seen {
                entry: Arc::clone(&entry),
                home,
                used_us,
                idle,
            }));
        }
        seen
    }

    async fn evict(&self) {
        let now_us = self.monotonic.micros();
        let idle_us = u64::try_from(self.config.idle.as_micros()).unwrap_or(u64::MAX);
        for old in self.seen() {
            if old.idle && now_us.saturating_sub(old.home.used_us()) >= idle_us {
                self.give_up(&old, Eviction::Unused);
            }
        }
        let idle = self.measured(now_us).await;
        self.evict_for_memory(&idle, None);
        drop(idle);
        self.lock().retain(|_, entry| !entry.tick(now_us, idle_us));
    }

    /// The idle compartments, each measured since it was last used.
    async fn measured(&self, now_us: u64) -> Vec<Seen> {
        let idle: Vec<Seen> = self.seen().into_iter().filter(|it| it.idle).collect();
        for one in &idle {
            one.home.measure(now_us).await;
        }
        let bytes = idle.iter().map(|it| it.home.memory_bytes()).sum();
        self.stats.warm_memory_bytes.store(bytes, Ordering::Relaxed);
        idle
    }

    /// Gives up as many of the idle as it takes for the others to be within the budget, with what is asked for. False,
    /// with nothing given up, where not enough may go.
    fn evict_for_memory(&self, idle: &[Seen], asked: Option<Asked<'_>>) -> bool {
        let budget = self.config.warm_memory_mib.saturating_mul(1 << 20);
        let held: Vec<_> = idle.iter().map(|it| it.held(it.home.memory_bytes())).collect();
        let room = make_room(&held, asked, budget);
        if asked.is_some() && !room.enough {
            return false;
        }
        for place in room.goes {
            self.give_up(&idle[place], Eviction::Memory);
        }
        true
    }

    /// Whether one more compartment of a tenant may be kept warm; what has to go for it is given up.
    pub(super) async fn make_memory(&self, tenant: &TenantId, wall: WallKind) -> bool {
        let idle = self.measured(self.monotonic.micros()).await;
        // Estimated by what those behind the same wall were measured to keep.
        let alike = idle.iter().filter(|it| it.entry.wall_kind == wall);
        let known: Vec<u64> =
            alike.map(|it| it.home.memory_bytes()).filter(|bytes| *bytes > 0).collect();
        let amount = match known.len() as u64 {
            0 => usual_mib(wall) << 20,
            count => known.iter().sum::<u64>() / count,
        };
        self.evict_for_memory(&idle, Some(Asked { tenant, amount, urgent: false }))
    }

    /// Gives up an idle compartment for each tenant in turn that waits for a place, as far as its share goes.
    fn make_places(&self) {
        loop {
            let lacking = self.places.lacking();
            if lacking.is_empty() {
                return;
            }
            let seen = self.seen();
            let held: Vec<_> = seen.iter().map(|it| it.held(1)).collect();
            // What is being destroyed, or built, has a place too, and is in nobody's list.
            let budget = held.len() as u64;
            let went = lacking.iter().any(|it| {
                let asked = Asked { tenant: &it.tenant, amount: 1, urgent: it.urgent };
                let room = make_room(&held, Some(asked), budget);
                room.enough && room.goes.iter().any(|it| self.give_up(&seen[*it], Eviction::Place))
            });
            if !went {
                return;
            }
        }
    }

    fn give_up(&self, seen: &Seen, why: Eviction) -> bool {
        let gone = seen.entry.evict(&seen.home);
        if gone {
            Stats::count(self.stats.evictions(why));
        }
        gone
    }
}
