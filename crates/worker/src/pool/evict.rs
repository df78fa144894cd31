//! Compartments that nobody needs go: after a time without use, and by everybody's share ([`super::warmth`]) when places
//! or memory run short.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bulkhead_types::{TenantId, WallKind};

use super::Pool;
use super::entry::Entry;
use super::home::Home;
use super::house::House;
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

/// What a zygote more keeps in a compartment that is there, MiB: with two parked sandboxes.
const USUAL_ZYGOTE_MIB: u64 = 64;

/// A compartment, with what is decided by.
struct Seen {
    house: Arc<House>,
    lodgers: Vec<Lodger>,
    /// When the last attempt in any of its zygotes ended.
    used_us: u64,
    /// Whether all of it can go.
    idle: bool,
}

/// A zygote in it.
struct Lodger {
    entry: Arc<Entry>,
    home: Arc<Home>,
    idle: bool,
}

impl Seen {
    fn held(&self, amount: u64) -> Held<'_> {
        let Self { lodgers, used_us, idle, .. } = self;
        let tenant = &lodgers[0].entry.function.tenant;
        Held { tenant, amount, used_us: *used_us, idle: *idle }
    }
}

impl Pool {
    /// Each compartment that some entry has a zygote in. Those of one compartment are one tenant's.
    fn seen(&self) -> Vec<Seen> {
        let entries: Vec<Arc<Entry>> = self.lock().values().map(Arc::clone).collect();
        let mut seen: Vec<Seen> = Vec::new();
        let mut known: HashMap<*const House, usize> = HashMap::new();
        for entry in entries {
            for (home, used_us, idle) in entry.homes() {
                let house = Arc::clone(home.house());
                let lodger = Lodger { entry: Arc::clone(&entry), home, idle };
                let place = *known.entry(Arc::as_ptr(&house)).or_insert(seen.len());
                match seen.get_mut(place) {
                    None => seen.push(Seen { house, lodgers: vec![lodger], used_us, idle }),
                    Some(there) => {
                        there.lodgers.push(lodger);
                        there.used_us = there.used_us.max(used_us);
                        there.idle &= idle;
                    }
                }
            }
        }
        for it in &mut seen {
            // One more is on its way, or is gone but for attempts that still run.
            it.idle &= it.lodgers.len() >= it.house.zygotes();
        }
        seen
    }

    async fn evict(&self) {
        let now_us = self.monotonic.micros();
        let idle_us = u64::try_from(self.config.idle.as_micros()).unwrap_or(u64::MAX);
        for it in self.seen().iter().flat_map(|seen| &seen.lodgers) {
            let old = now_us.saturating_sub(it.home.used_us()) >= idle_us;
            if it.idle && old && it.entry.evict(&it.home) {
                Stats::count(self.stats.evictions(Eviction::Unused));
            }
        }
        let idle = self.measured(now_us).await;
        self.evict_for_memory(&idle, None);
        drop(idle);
        self.houses.prune();
        self.lock().retain(|_, entry| !entry.tick(now_us, idle_us));
    }

    /// The idle compartments, each measured since it was last used.
    async fn measured(&self, now_us: u64) -> Vec<Seen> {
        let idle: Vec<Seen> = self.seen().into_iter().filter(|it| it.idle).collect();
        for one in &idle {
            let used_us = one.lodgers.iter().map(|it| it.home.used_us()).max().unwrap_or(0);
            one.house.measure(used_us, now_us).await;
        }
        let bytes = idle.iter().map(|it| it.house.memory_bytes()).sum();
        self.stats.warm_memory_bytes.store(bytes, Ordering::Relaxed);
        idle
    }

    /// Bytes that idle compartments may keep now: what is theirs, and half of what attempts leave. Half, since a burst of
    /// attempts is faster than compartments go.
    pub(super) fn warm_budget(&self) -> u64 {
        let running_mib = self.stats.running_mib.load(Ordering::Relaxed);
        let left_mib = self.config.attempt_memory_mib.saturating_sub(running_mib);
        let budget =
            self.config.warm_memory_mib.saturating_add(left_mib / 2).saturating_mul(1 << 20);
        self.stats.warm_memory_bytes_max.store(budget, Ordering::Relaxed);
        budget
    }

    /// Gives up as many of the idle as it takes for the others to be within the budget, with what is asked for. False,
    /// with nothing given up, where not enough may go.
    fn evict_for_memory(&self, idle: &[Seen], asked: Option<Asked<'_>>) -> bool {
        let budget = self.warm_budget();
        let held: Vec<_> = idle.iter().map(|it| it.held(it.house.memory_bytes())).collect();
        let room = make_room(&held, asked, budget);
        if asked.is_some() && !room.enough {
            return false;
        }
        for place in room.goes {
            self.give_up(&idle[place], Eviction::Memory);
        }
        true
    }

    /// Whether one more compartment of a tenant, or one more zygote in one that it has, may be kept warm; what has to go for
    /// it is given up.
    pub(super) async fn make_memory(&self, tenant: &TenantId, wall: WallKind, joins: bool) -> bool {
        let idle = self.measured(self.monotonic.micros()).await;
        // Estimated by what those behind the same wall were measured to keep.
        let alike = idle.iter().filter(|it| it.lodgers[0].entry.wall_kind == wall);
        let known: Vec<u64> =
            alike.map(|it| it.house.memory_bytes()).filter(|bytes| *bytes > 0).collect();
        let amount = match known.len() as u64 {
            _ if joins => USUAL_ZYGOTE_MIB << 20,
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

    /// True when all of it went: what is used again meanwhile stays.
    fn give_up(&self, seen: &Seen, why: Eviction) -> bool {
        let gone = seen.lodgers.iter().all(|it| it.entry.evict(&it.home));
        if gone {
            Stats::count(self.stats.evictions(why));
        }
        gone
    }
}
