//! Compartments that nobody needs go: after a time, and the longest unused first when places or memory run short.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Pool;
use super::entry::Entry;
use super::home::Home;

/// An idle compartment, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Idle {
    used_us: u64,
    memory_bytes: u64,
}

/// Which of `idle` to give up: those unused for `idle_us_max`, and the longest unused until the others' memory is
/// within `memory_bytes_max`. `idle` is ordered by last use.
fn choose(idle: &[Idle], now_us: u64, idle_us_max: u64, memory_bytes_max: u64) -> usize {
    let mut memory: u64 = idle.iter().map(|home| home.memory_bytes).sum();
    let mut chosen = 0;
    for home in idle {
        let old = now_us.saturating_sub(home.used_us) >= idle_us_max;
        if !old && memory <= memory_bytes_max {
            break;
        }
        memory -= home.memory_bytes;
        chosen += 1;
    }
    chosen
}

/// Looks again and again, until the pool is gone.
pub(super) async fn evict_for_ever(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.evict().await;
    }
}

impl Pool {
    /// Idle homes of all entries, the longest unused first.
    fn idle(&self) -> Vec<(Arc<Entry>, Arc<Home>)> {
        let entries: Vec<Arc<Entry>> = self.lock().values().map(Arc::clone).collect();
        let mut idle = Vec::new();
        for entry in entries {
            let homes = entry.idle_homes();
            idle.extend(homes.into_iter().map(|home| (Arc::clone(&entry), home)));
        }
        idle.sort_by_key(|(_, home)| home.used_us());
        idle
    }

    async fn evict(&self) {
        let now_us = self.monotonic.micros();
        let idle_us = u64::try_from(self.config.idle.as_micros()).unwrap_or(u64::MAX);
        let idle = self.idle();
        let mut seen = Vec::with_capacity(idle.len());
        for (_, home) in &idle {
            let memory_bytes = home.memory_bytes().await;
            seen.push(Idle { used_us: home.used_us(), memory_bytes });
        }
        let memory_bytes_max = self.config.idle_memory_mib.saturating_mul(1 << 20);
        let chosen = choose(&seen, now_us, idle_us, memory_bytes_max);
        for (entry, home) in idle.iter().take(chosen) {
            entry.evict(home);
        }
        drop(idle);
        self.lock().retain(|_, entry| !entry.tick(now_us, idle_us));
    }

    /// Gives up the idle compartment that was not used for longest; false when there is none.
    pub(super) fn evict_oldest(&self) -> bool {
        self.idle().iter().any(|(entry, home)| entry.evict(home))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_no_more_than_needed() {
        let idle: Vec<Idle> =
            [10, 20, 30].map(|used_us| Idle { used_us, memory_bytes: 100 }).to_vec();
        let check = |now_us, idle_us_max, memory_bytes_max| {
            choose(&idle, now_us, idle_us_max, memory_bytes_max)
        };
        assert_eq!(check(30, 1_000, 300), 0);
        assert_eq!(check(30, 1_000, 299), 1);
        assert_eq!(check(30, 1_000, 100), 2);
        assert_eq!(check(30, 1_000, 0), 3);
        assert_eq!(check(35, 15, 300), 2);
        assert_eq!(check(45, 15, 300), 3);
    }
}
