//! When a schedule is due, and what a due one does: jitter, and runs that were missed.

use std::time::Duration;

use bulkhead_types::{MissedRuns, ScheduleOptions, Timestamp};

use crate::frequency::Frequency;

/// A run that begins later than this was missed. A busy server may be late by seconds; one that was down, or a
/// schedule that was paused, is late by more.
pub const MISSED_AFTER: Duration = Duration::from_secs(60);

/// The longest jitter, in milliseconds: a day.
pub const JITTER_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// How much later than its frequency says a schedule runs: always the same for one `name`, and spread evenly between
/// zero and the jitter over many.
#[must_use]
pub fn delay(options: ScheduleOptions, name: &str) -> Duration {
    // FNV-1a (Fowler, Noll, Vo): the same on every machine and in every version, unlike the standard library's.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its low bits depend on the last bytes only; the high ones on all of them.
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    Duration::from_millis(spread % (options.jitter_ms.min(JITTER_MS_MAX) + 1))
}

/// The first due time after `now` of a schedule that is `delay` later than its frequency says.
#[must_use]
pub fn next_after(
    frequency: &Frequency,
    delay: Duration,
    anchor: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let told = Timestamp::from_millis(now.as_millis().saturating_sub(delay_ms));
    Some(frequency.next_after(anchor, told)?.after(delay))
}

/// Whether a schedule that was due at `due_at` makes an execution `now`, or only moves on.
#[must_use]
pub fn runs(options: ScheduleOptions, due_at: Timestamp, now: Timestamp) -> bool {
    options.missed == MissedRuns::CatchUp || now.since(due_at) < MISSED_AFTER
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use proptest::prelude::*;

    use super::*;

    fn jitter(jitter_ms: u64) -> ScheduleOptions {
        ScheduleOptions { jitter_ms, ..ScheduleOptions::default() }
    }

    #[test]
    fn delays_are_spread_and_stay_the_same() {
        let delays: Vec<u64> = (0..1_000)
            .map(|n| delay(jitter(60_000), &format!("acme/github/sync/issues/c{n}")).as_secs())
            .collect();
        assert_eq!(delays[7], delay(jitter(60_000), "acme/github/sync/issues/c7").as_secs());
        for second in 0..60 {
            let here = delays.iter().filter(|delay| **delay == second).count();
            assert!((4..=40).contains(&here), "{here} of 1,000 in second {second}");
        }
        assert_eq!(delay(jitter(0), "x"), Duration::ZERO);
    }

    #[test]
    fn what_was_missed_is_skipped_or_made_up_for_once() {
        let at = Timestamp::from_millis;
        let skip = ScheduleOptions { missed: MissedRuns::Skip, ..ScheduleOptions::default() };
        assert!(runs(ScheduleOptions::default(), at(0), at(9_000_000)));
        assert!(runs(skip, at(0), at(59_999)), "late, not missed");
        assert!(!runs(skip, at(0), at(60_000)));
    }

    proptest! {
        /// However late it is asked, the next time is in the future, on the schedule, and no longer away than one
        /// interval: missed times do not pile up.
        #[test]
        fn the_next_time_is_ahead_and_on_the_schedule(
            jitter_ms in 0_u64..3_600_000, anchor in 0_i64..1_000_000_000, later in 0_i64..10_000_000_000,
        ) {
            let frequency = Frequency::parse("every 5m").unwrap();
            let delay = delay(jitter(jitter_ms), "a/b/c");
            let (anchor, now) = (Timestamp::from_millis(anchor), Timestamp::from_millis(anchor + later));
            let next = next_after(&frequency, delay, anchor, now).unwrap();
            prop_assert!(next > now);
            prop_assert!(next.since(now) <= Duration::from_secs(300).max(delay + Duration::from_secs(300)));
            let since_anchor = next.as_millis() - anchor.as_millis() - delay.as_millis() as i64;
            prop_assert_eq!(since_anchor % 300_000, 0);
        }
    }
}
