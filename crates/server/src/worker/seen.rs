//! The workers that this server has heard of lately, for the operator.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_api as api;
use bulkhead_api::worker::{Me, NAME_LENGTH_MAX};
use bulkhead_types::{Timestamp, WorkerId};

use crate::wire;

/// Who was silent for so long is gone: a worker asks for work, or renews, every thirty seconds at least.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Workers remembered at the same time; beyond it new ones are not listed, and work all the same.
const WORKERS_MAX: usize = 10_000;

/// The table.
#[derive(Default)]
pub(crate) struct Seen {
    workers: Mutex<HashMap<WorkerId, Entry>>,
}

struct Entry {
    me: Me,
    token: String,
    since: Timestamp,
    seen: Timestamp,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Entry>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of a worker came.
    pub(super) fn heard(&self, token: &str, me: Me, now: Timestamp) {
        let short = |text: String| text.chars().take(NAME_LENGTH_MAX).collect();
        let me = Me { name: short(me.name), version: short(me.version), ..me };
        let mut workers = self.lock();
        if workers.len() >= WORKERS_MAX {
            workers.retain(|_, entry| now.since(entry.seen) < SILENT_MAX);
        }
        let since = workers.get(&me.worker).map_or(now, |entry| entry.since);
        if workers.len() < WORKERS_MAX || workers.contains_key(&me.worker) {
            let entry = Entry { token: token.to_owned(), since, seen: now, me };
            workers.insert(entry.me.worker.clone(), entry);
        }
    }

    /// A worker took its leave.
    pub(super) fn left(&self, worker: &WorkerId) {
        self.lock().remove(worker);
    }

    /// Those heard of lately, the longest known first.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<api::Worker> {
        let mut workers = self.lock();
        workers.retain(|_, entry| now.since(entry.seen) < SILENT_MAX);
        let mut entries: Vec<_> = workers.values().collect();
        entries.sort_by_key(|entry| (entry.since, entry.me.worker.clone()));
        entries.into_iter().map(|e| shown(&e.me, Some(&e.token), e.since, e.seen)).collect()
    }
}

/// A worker as the operator sees it; without a token, the server's own.
pub(crate) fn shown(
    me: &Me,
    token: Option<&str>,
    since: Timestamp,
    seen: Timestamp,
) -> api::Worker {
    api::Worker {
        id: me.worker.to_string(),
        name: me.name.clone(),
        token: token.map(str::to_owned),
        version: me.version.clone(),
        capacity: me.capacity.cpu,
        memory_mib: me.capacity.memory_mib,
        running: me.running,
        draining: me.draining,
        since: wire::time(since),
        seen: wire::time(seen),
        warmth: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use bulkhead_types::Units;

    use super::*;

    fn me(name: &str, running: u64) -> Me {
        let worker = WorkerId::parse(name).unwrap();
        let name = "n".repeat(500);
        Me {
            worker,
            name,
            version: "1".to_owned(),
            capacity: Units { cpu: 4, memory_mib: 64 },
            running,
            draining: false,
        }
    }

    #[test]
    fn who_is_silent_is_not_listed_and_who_speaks_keeps_its_place() {
        let seen = Seen::default();
        let at = |s: i64| Timestamp::from_millis(s * 1_000);
        seen.heard("t", me("wrk_a", 0), at(0));
        seen.heard("t", me("wrk_b", 0), at(1));
        seen.heard("t", me("wrk_a", 3), at(50));
        let ids = |list: Vec<api::Worker>| list.into_iter().map(|w| w.id).collect::<Vec<_>>();
        let listed = seen.list(at(55));
        assert_eq!((listed[0].running, listed[0].name.len()), (3, NAME_LENGTH_MAX));
        assert_eq!(ids(listed), ["wrk_a", "wrk_b"]);
        assert_eq!(ids(seen.list(at(70))), ["wrk_a"]);
        seen.left(&WorkerId::parse("wrk_a").unwrap());
        assert_eq!(ids(seen.list(at(70))), [""; 0]);
    }
}
