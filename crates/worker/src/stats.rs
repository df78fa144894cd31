//! What a worker counts: for the demo, for metrics, for benchmarks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bulkhead_protocol::StartKind;
use bulkhead_types::WallKind;
use serde::{Deserialize, Serialize};

/// Starts that are remembered one by one.
pub const RECENT_STARTS_MAX: usize = 8_192;

/// Upper bounds of the histogram's buckets, microseconds; the last bucket has none. Dense where targets are.
pub const BUCKETS_US: [u64; 14] = [
    500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 150_000, 400_000,
    1_000_000, 5_000_000,
];

/// How long one sandbox took from lease to the handler's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSample {
    /// How the sandbox came to be.
    pub kind: StartKind,
    /// Behind which wall.
    pub wall: WallKind,
    /// Microseconds.
    pub start_us: u64,
}

/// Starts behind one wall, by how their sandboxes came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StartCounts {
    /// Parked when they were asked for.
    pub parked: u64,
    /// Forked on demand.
    pub forked: u64,
    /// For which compartment or zygote had to be made first.
    pub cold: u64,
}

/// Why an idle compartment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Nobody used it for long.
    Unused,
    /// The others keep within the budget of memory.
    Memory,
    /// Somebody else needed its place.
    Place,
}

/// What is kept warm, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Warmth {
    /// Memory of compartments without a running attempt, as last measured, bytes.
    pub memory_bytes: u64,
    /// What they may keep.
    pub memory_bytes_max: u64,
    /// Idle compartments that went because nobody used them for long.
    pub evicted_unused: u64,
    /// For the budget of memory.
    pub evicted_memory: u64,
    /// For somebody else's place.
    pub evicted_place: u64,
    /// Built for attempts that may come.
    pub prewarmed: u64,
    /// Not built, for there was no memory in the tenant's share.
    pub prewarms_refused: u64,
}

/// Percentiles of some samples, by the nearest rank; all zero when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub n: u64,
    pub min: u64,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    pub max: u64,
}

impl Percentiles {
    /// Of `samples`, in any order.
    #[must_use]
    pub fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let (Some(min), Some(max)) = (samples.first(), samples.last()) else {
            return Self::default();
        };
        let rank = |percent: usize| {
            let place = (samples.len() * percent).div_ceil(100).max(1);
            samples[place - 1]
        };
        let n = samples.len() as u64;
        Self { n, min: *min, p50: rank(50), p95: rank(95), p99: rank(99), max: *max }
    }
}

/// What a worker has done so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Attempts that got a sandbox and a `Start`.
    pub executions: u64,
    /// Attempts under way.
    pub running: u64,
    /// Sandboxes made, those still parked included.
    pub sandboxes_made: u64,
    /// Sandboxes that were given an execution; each exactly one.
    pub sandboxes_used: u64,
    /// Of those, parked when they were asked for.
    pub parked: u64,
    /// Forked on demand.
    pub forked: u64,
    /// For which compartment or zygote had to be made first.
    pub cold: u64,
    /// The same by wall, in the order of [`WallKind::ALL`].
    pub starts: [StartCounts; WallKind::ALL.len()],
    /// What is kept warm.
    pub warmth: Warmth,
    /// Compartments built.
    pub compartments_built: u64,
    /// Compartments that exist.
    pub compartments: u64,
    /// Compartments that wait for a place, or for the turn to be built.
    pub compartments_wanted: u64,
    /// Attempts that ended otherwise than completed, interrupted or cancelled.
    pub failures: u64,
    /// Lease to first line, microseconds, of the most recent starts.
    pub start_us: Percentiles,
    /// Starts per bucket of [`BUCKETS_US`], and one more for what is slower than the last.
    pub start_histogram: Vec<u64>,
    /// Microseconds of all starts together: what a histogram's sum is made of.
    pub start_us_sum: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) executions: AtomicU64,
    pub(crate) running: AtomicU64,
    /// Memory that attempts with a sandbox may take, MiB.
    pub(crate) running_mib: AtomicU64,
    pub(crate) sandboxes_made: AtomicU64,
    pub(crate) sandboxes_used: AtomicU64,
    pub(crate) compartments_built: AtomicU64,
    pub(crate) compartments_gone: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) warm_memory_bytes: AtomicU64,
    pub(crate) warm_memory_bytes_max: AtomicU64,
    pub(crate) prewarms: AtomicU64,
    pub(crate) prewarms_refused: AtomicU64,
    evicted: [AtomicU64; 3],
    starts: Mutex<Starts>,
}

#[derive(Debug, Default)]
struct Starts {
    recent: VecDeque<StartSample>,
    histogram: [u64; BUCKETS_US.len() + 1],
    sum_us: u64,
    by_wall: [StartCounts; WallKind::ALL.len()],
}

/// An attempt has a sandbox.
pub(crate) struct HasSandbox<'a> {
    stats: &'a Stats,
    memory_mib: u64,
}

impl Drop for HasSandbox<'_> {
    fn drop(&mut self) {
        self.stats.running_mib.fetch_sub(self.memory_mib, Ordering::Relaxed);
    }
}

impl Stats {
    /// Counts the memory that an attempt may take, for as long as what is returned lives. One that waits for its sandbox
    /// takes none: if it counted, a queue of cold starts would drive out what is warm, and so make itself longer.
    pub(crate) fn has_sandbox(&self, memory_mib: u64) -> HasSandbox<'_> {
        self.running_mib.fetch_add(memory_mib, Ordering::Relaxed);
        HasSandbox { stats: self, memory_mib }
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counter of compartments that went for this reason.
    pub(crate) fn evictions(&self, why: Eviction) -> &AtomicU64 {
        &self.evicted[why as usize]
    }

    pub(crate) fn started(&self, sample: StartSample) {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.recent.len() == RECENT_STARTS_MAX {
            starts.recent.pop_front();
        }
        starts.recent.push_back(sample);
        let bucket = BUCKETS_US.iter().position(|bound| sample.start_us <= *bound);
        starts.histogram[bucket.unwrap_or(BUCKETS_US.len())] += 1;
        starts.sum_us = starts.sum_us.saturating_add(sample.start_us);
        let counts = &mut starts.by_wall[sample.wall as usize];
        let count = match sample.kind {
            StartKind::Parked => &mut counts.parked,
            StartKind::Forked => &mut counts.forked,
            StartKind::Cold => &mut counts.cold,
        };
        *count += 1;
    }

    pub(crate) fn recent(&self) -> Vec<StartSample> {
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.recent.iter().copied().collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let recent = self.recent().iter().map(|sample| sample.start_us).collect();
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&StartCounts) -> u64| starts.by_wall.iter().map(of).sum();
        Snapshot {
            executions: read(&self.executions),
            running: read(&self.running),
            sandboxes_made: read(&self.sandboxes_made),
            sandboxes_used: read(&self.sandboxes_used),
            parked: sum(|counts| counts.parked),
            forked: sum(|counts| counts.forked),
            cold: sum(|counts| counts.cold),
            starts: starts.by_wall,
            warmth: self.warmth(),
            compartments_built: read(&self.compartments_built),
            compartments: read(&self.compartments_built)
                .saturating_sub(read(&self.compartments_gone)),
            compartments_wanted: 0,
            failures: read(&self.failures),
            start_us: Percentiles::of(recent),
            start_histogram: starts.histogram.to_vec(),
            start_us_sum: starts.sum_us,
        }
    }

    fn warmth(&self) -> Warmth {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let evicted = |why| read(self.evictions(why));
        Warmth {
            memory_bytes: read(&self.warm_memory_bytes),
            memory_bytes_max: read(&self.warm_memory_bytes_max),
            evicted_unused: evicted(Eviction::Unused),
            evicted_memory: evicted(Eviction::Memory),
            evicted_place: evicted(Eviction::Place),
            prewarmed: read(&self.prewarms),
            prewarms_refused: read(&self.prewarms_refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
        let one = Percentiles { n: 1, min: 7, p50: 7, p95: 7, p99: 7, max: 7 };
        assert_eq!(Percentiles::of(vec![7]), one);
        let hundred = Percentiles { n: 100, min: 1, p50: 50, p95: 95, p99: 99, max: 100 };
        assert_eq!(Percentiles::of((1..=100).rev().collect()), hundred);
    }

    #[test]
    fn a_start_lands_in_its_bucket_and_under_its_kind() {
        let stats = Stats::default();
        for (kind, start_us) in
            [(StartKind::Parked, 500), (StartKind::Forked, 501), (StartKind::Cold, 9_000_000)]
        {
            stats.started(StartSample { kind, wall: WallKind::Gvisor, start_us });
        }
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.parked, snapshot.forked, snapshot.cold), (1, 1, 1));
        let gvisor = StartCounts { parked: 1, forked: 1, cold: 1 };
        assert_eq!(snapshot.starts, [StartCounts::default(), gvisor, StartCounts::default()]);
        assert_eq!(snapshot.start_histogram[0], 1);
        assert_eq!(snapshot.start_histogram[1], 1);
        assert_eq!(snapshot.start_histogram[BUCKETS_US.len()], 1);
        assert_eq!(snapshot.start_us_sum, 9_001_001);
    }

    #[test]
    fn only_the_newest_starts_are_remembered() {
        let stats = Stats::default();
        for start_us in 0..=RECENT_STARTS_MAX as u64 {
            stats.started(StartSample {
                kind: StartKind::Parked,
                wall: WallKind::Process,
                start_us,
            });
        }
        assert_eq!(stats.recent().len(), RECENT_STARTS_MAX);
        assert_eq!(stats.recent()[0].start_us, 1);
    }
}
