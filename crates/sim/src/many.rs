//! Many seeds, on several threads.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Canary, Report, run};

/// How many seeds went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds that were run.
    pub seeds: u64,
    /// What they did, all together.
    pub counts: crate::Counts,
    /// The smallest seed that broke something.
    pub failed: Option<Report>,
}

/// Runs `seeds` on `threads` threads, up to the first that breaks something.
#[must_use]
pub fn run_many(seeds: Range<u64>, threads: usize, canary: Option<Canary>) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed, canary, false);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.seeds += 1;
            tally.counts.add(&report.counts);
            if report.violation.is_some() {
                // No seed after this one; those before it are on their way.
                next.store(seeds.end, Ordering::Relaxed);
                if tally.failed.as_ref().is_none_or(|failed| report.seed < failed.seed) {
                    tally.failed = Some(report);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A failure for people: what was broken, the last that happened, and how to see it again.
#[must_use]
pub fn told(report: &Report, canary: Option<Canary>) -> String {
    let Some(violation) = &report.violation else { return format!("seed {} is fine", report.seed) };
    let canary = canary.map_or_else(String::new, |canary| format!(" --canary {}", canary.as_str()));
    let last = report.last.join("\n");
    format!(
        "{last}\n\nseed {} broke a promise after {} lines, {:.1} s of its own time\n{violation}\n\
         replay: cargo xtask sim --seed {}{canary}",
        report.seed,
        report.lines,
        report.lasted.as_secs_f64(),
        report.seed
    )
}
