//! Clocks and entropy of a run.
//!
//! The virtual clock is tokio's, paused: it stands still while anything can run, then jumps to the next timer. Each
//! server reads the date from a clock of its own, which may be set forward or back under it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_types::{Clock, Entropy, Timestamp};
use tokio::time::Instant;

/// The date at which every run begins: 2026-01-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// One machine's date.
#[derive(Debug)]
pub(crate) struct SimClock {
    start: Instant,
    /// How far this machine's date is off, milliseconds.
    off_ms: AtomicI64,
    /// The latest date that anybody was told, milliseconds.
    latest: AtomicI64,
}

impl SimClock {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, off_ms: AtomicI64::new(0), latest: AtomicI64::new(0) }
    }

    /// Sets the date forward or back.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.off_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Sets the date to `date`.
    pub(crate) fn set(&self, date: Timestamp) {
        self.jump(date.as_millis() - self.read().as_millis());
    }

    /// The latest date that anybody was told.
    pub(crate) fn latest(&self) -> Timestamp {
        Timestamp::from_millis(self.latest.load(Ordering::Relaxed)).max(self.read())
    }

    fn read(&self) -> Timestamp {
        let true_date = BEGIN.after(self.start.elapsed()).as_millis();
        Timestamp::from_millis(true_date + self.off_ms.load(Ordering::Relaxed))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now = self.read();
        self.latest.fetch_max(now.as_millis(), Ordering::Relaxed);
        now
    }
}

/// Random numbers that a seed decides. Every actor has a stream of its own, so that what one draws does not depend
/// on when others do.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<fastrand::Rng>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another stream.
    pub(crate) fn fork(&self) -> Self {
        Self(Mutex::new(self.with(fastrand::Rng::fork)))
    }

    /// Whether something happens that happens with this probability. Draws even when it can't: whether a fault is
    /// on does not shift what follows.
    pub(crate) fn strikes(&self, probability: f64) -> bool {
        self.with(fastrand::Rng::f64) < probability
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        self.with(|rng| rng.u64(least..=most.max(least)))
    }

    /// Below `length`; 0 when that is 0.
    pub(crate) fn below(&self, length: usize) -> usize {
        self.with(|rng| rng.usize(0..length.max(1)))
    }

    /// One of `all`, which is not empty.
    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Milliseconds, spread evenly over the orders of magnitude from `least` to `most`.
    pub(crate) fn span(&self, least_ms: u64, most_ms: u64) -> Duration {
        let (least, most) = (least_ms.max(1), most_ms.max(least_ms).max(1));
        let order = self.between(least.ilog2().into(), most.ilog2().into());
        let (low, high) = (1 << order, (1 << order) * 2 - 1);
        Duration::from_millis(self.between(low.max(least), high.min(most)))
    }
}

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        self.with(|rng| rng.fill(bytes));
    }
}
