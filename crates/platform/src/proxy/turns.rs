//! A connection's rate limit as turns in time. Pure.
//!
//! Turns are spaced evenly: each request takes the next one, and the database has where the next one is, for all
//! servers ([`bulkhead_store::catalog::take_turns`]). A server takes several at once, so that not every request writes:
//! a twentieth of what the limit lets through in a period. So a connection at its limit costs about twenty writes per
//! period, however many requests that are.
//!
//! What is promised is the limit itself: within any period no more requests than it says begin, over all servers.
//! Turns may be used late, which moves requests together: by [`Spacing::late_us`] at most, then they are void; and
//! turns that nobody took are kept for later, a few of them ([`Spacing::saved_us`]). Both are paid for by a spacing
//! that is so much wider.

use std::time::Duration;

use bulkhead_store::catalog::Turns;
use bulkhead_types::Timestamp;

use crate::model::RateLimit;

/// A batch is this part of what a period lets through; and so late may a turn be used, in parts of a period.
const PARTS: i64 = 20;

/// How turns follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spacing {
    every_us: i64,
    /// The most that is taken at once.
    batch_max: i64,
    /// How long ago a turn may have been that nobody took.
    saved_us: i64,
    /// How late a turn may be used.
    late_us: i64,
}

impl Spacing {
    /// Within any half-open window of `per_s`, turns that are used begin at most `saved + late` before it: so there are
    /// at most `(per_s + saved + late) / every` of them, which is `requests` when `every` is as here.
    pub(crate) fn of(limit: RateLimit) -> Self {
        let (requests, period_us) =
            (i64::from(limit.requests.max(1)), i64::from(limit.per_s.max(1)) * 1_000_000);
        let batch_max = (requests / PARTS).max(1);
        let late_us = period_us / PARTS;
        // saved = (batch_max - 1) * every, put in and solved for `every`; rounded up.
        let every_us = (period_us + late_us).div_euclid(requests - batch_max + 1) + 1;
        Self { every_us, batch_max, saved_us: (batch_max - 1) * every_us, late_us }
    }
}

/// Turns that this server has taken and not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lane {
    next_us: i64,
    left: i64,
    /// When they were taken: what was past already then is late from then on.
    taken_us: i64,
    /// How many were taken at once.
    batch: i64,
}

impl Lane {
    /// How long until the first turn that is left; `None` when none is.
    pub(crate) fn wait(&mut self, spacing: Spacing, now: Timestamp) -> Option<Duration> {
        let now_us = micros(now);
        while self.left > 0 && self.next_us.max(self.taken_us) + spacing.late_us < now_us {
            self.use_one(spacing);
            // It was not needed: fewer at once, next time.
            self.batch = 0;
        }
        let wait_us = u64::try_from((self.next_us - now_us).max(0)).unwrap_or(0);
        (self.left > 0).then(|| Duration::from_micros(wait_us))
    }

    /// Uses the first that is left.
    pub(crate) fn use_one(&mut self, spacing: Spacing) {
        self.next_us += spacing.every_us;
        self.left -= 1;
    }

    /// What to take when none is left: twice as many as the last time, while they are used up in time.
    pub(crate) fn order(&self, spacing: Spacing, now: Timestamp) -> Turns {
        let count = (self.batch * 2).clamp(1, spacing.batch_max);
        Turns { count, every_us: spacing.every_us, floor_us: micros(now) - spacing.saved_us }
    }

    /// Turns were taken, from `first_us` on.
    pub(crate) fn fill(&mut self, turns: Turns, first_us: i64, now: Timestamp) {
        *self = Self {
            next_us: first_us,
            left: turns.count,
            taken_us: micros(now),
            batch: turns.count,
        };
    }
}

fn micros(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers that share where the next turn is.
    struct Shared {
        next_us: i64,
        writes: usize,
    }

    impl Shared {
        fn take(&mut self, turns: Turns) -> i64 {
            self.writes += 1;
            let first = self.next_us.max(turns.floor_us);
            self.next_us = first + turns.count * turns.every_us;
            first
        }
    }

    /// The moments, in ms, at which requests begin that `servers` servers send as fast as they may; `idle` says when
    /// a server has none to send.
    fn sent(
        limit: RateLimit,
        servers: usize,
        millis: i64,
        idle: impl Fn(usize, i64) -> bool,
    ) -> (Vec<i64>, usize) {
        let spacing = Spacing::of(limit);
        let mut shared = Shared { next_us: 0, writes: 0 };
        let mut lanes = vec![Lane::default(); servers];
        let mut sent = Vec::new();
        for ms in 0..millis {
            let now = Timestamp::from_millis(1_000_000 + ms);
            for (server, lane) in lanes.iter_mut().enumerate() {
                while !idle(server, ms) {
                    if lane.wait(spacing, now).is_none() {
                        let turns = lane.order(spacing, now);
                        let first = shared.take(turns);
                        lane.fill(turns, first, now);
                    }
                    if lane.wait(spacing, now) != Some(Duration::ZERO) {
                        break;
                    }
                    lane.use_one(spacing);
                    sent.push(ms);
                }
            }
        }
        (sent, shared.writes)
    }

    fn most_within(sent: &[i64], window: i64) -> usize {
        let within =
            |from: &i64| sent.iter().filter(|at| (*from..from + window).contains(at)).count();
        sent.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_period_has_more_requests_than_the_limit_says_and_few_of_them_write() {
        for (requests, per_s) in [(1, 1), (3, 2), (10, 1), (100, 1), (1_000, 2)] {
            let limit = RateLimit { requests, per_s };
            for (name, idle) in [
                ("busy", (|_, _| false) as fn(usize, i64) -> bool),
                ("in fits", |server, ms| (ms / 300 + i64::try_from(server).unwrap_or(0)) % 3 != 0),
                ("one by one", |_, ms| ms % 7 != 0),
                ("after a rest", |_, ms| ms < 5_000),
            ] {
                let (sent, writes) = sent(limit, 3, 8_000, idle);
                let most = most_within(&sent, i64::from(per_s) * 1_000);
                let requests = usize::try_from(requests).unwrap_or(usize::MAX);
                assert!(most <= requests, "{limit:?} {name}: {most} within a period");
                if name == "busy" {
                    assert!(
                        sent.len() * 10 >= requests * (8 / per_s as usize - 1) * 8,
                        "{limit:?}: {}",
                        sent.len()
                    );
                    let periods = 8 / per_s as usize + 1;
                    assert!(writes <= periods * 30 + 30, "{limit:?}: {writes} writes");
                }
            }
        }
    }
}
