//! A version that does not come up is not built in a hot loop: the same failure is given out until a wait is over.

use super::TakeError;

/// The first wait after a bundle that does not load, microseconds, and the longest. Deploying again makes another
/// version, so that nobody waits for this.
const BUNDLE_US: [u64; 2] = [1_000_000, 60_000_000];

/// The same after a failure of the platform's, which may pass soon.
const PLATFORM_US: [u64; 2] = [200_000, 10_000_000];

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until_us: u64,
    error: Option<TakeError>,
}

impl Backoff {
    /// The failure that still stands.
    pub(super) fn standing(&self, now_us: u64) -> Option<&TakeError> {
        self.error.as_ref().filter(|_| now_us < self.until_us)
    }

    pub(super) fn failed(&mut self, error: TakeError, now_us: u64) {
        let [first, longest] =
            if matches!(error, TakeError::Bundle { .. }) { BUNDLE_US } else { PLATFORM_US };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.until_us = now_us.saturating_add(wait);
        self.error = Some(error);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_success() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.standing(0), None);
        let error = TakeError::Bundle { message: "no".into() };
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.failed(error.clone(), 0);
            waits.push(backoff.until_us / 1_000_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.standing(59_999_999), Some(&error));
        assert_eq!(backoff.standing(60_000_000), None);
        backoff.succeeded();
        assert_eq!(backoff.standing(0), None);
    }
}
