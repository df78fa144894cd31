//! When a lease is dead. A lease lives as long as its worker keeps renewing it; a worker renews all its leases in
//! one message, so two things can go wrong: no message comes, or a message comes that does not name the lease.

use std::time::Duration;

use bulkhead_types::Timestamp;

/// How long a lease lives without being renewed. A worker renews three times in that time, so that one lost
/// message costs nothing.
pub const LEASE: Duration = Duration::from_secs(15);

/// Whether a worker that last promised to renew by `expires_at` is taken for dead.
#[must_use]
pub fn worker_is_dead(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at <= now
}

/// Whether a lease that its worker's renewal did not name is lost. One given a moment ago may have crossed the
/// renewal on the way; after [`LEASE`] the worker never got it, or forgot it.
#[must_use]
pub fn unnamed_is_lost(leased_at: Timestamp, now: Timestamp) -> bool {
    leased_at.after(LEASE) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_moment_not_before() {
        let at = Timestamp::from_millis;
        assert!(!worker_is_dead(at(1_000), at(999)));
        assert!(worker_is_dead(at(1_000), at(1_000)));
        assert!(!unnamed_is_lost(at(0), at(14_999)));
        assert!(unnamed_is_lost(at(0), at(15_000)));
    }
}
