//! How long to wait before trying again.

use std::time::Duration;

use bulkhead_types::RetryPolicy;

/// The wait before try `n + 2`, after `n` failures before this one: `backoff_ms · 2ⁿ`, at most `backoff_ms_max`;
/// with jitter somewhere between half of that and the whole, as `random` says.
#[must_use]
pub fn wait(policy: &RetryPolicy, failures_before: u32, random: u64) -> Duration {
    let factor = 1_u64.checked_shl(failures_before.min(63)).unwrap_or(u64::MAX);
    let whole = policy.backoff_ms.saturating_mul(factor).min(policy.backoff_ms_max);
    if !policy.jitter || whole < 2 {
        return Duration::from_millis(whole);
    }
    let half = whole / 2;
    Duration::from_millis(half + random % (whole - half + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy =
            RetryPolicy { max: 9, backoff_ms: 1_000, backoff_ms_max: 10_000, jitter: false };
        let waits: Vec<u128> = (0..6).map(|n| wait(&policy, n, 0).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_the_whole(
            backoff_ms in 0_u64..1_000_000, backoff_ms_max in 0_u64..10_000_000, n: u32, random: u64,
        ) {
            let plain = RetryPolicy { max: 1, backoff_ms, backoff_ms_max, jitter: false };
            let whole = wait(&plain, n, random);
            let spread = wait(&RetryPolicy { jitter: true, ..plain }, n, random);
            prop_assert!(spread <= whole && spread >= whole / 2 - (whole / 2).min(Duration::from_millis(1)));
        }
    }
}
