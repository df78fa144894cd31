//! Whether an execution fits into a worker, and what if it does not.
//!
//! An execution that does not fit is passed over: what is behind it, of other tenants, goes first. So that small
//! ones do not keep a large one out for ever, a worker that finds one that has waited for [`PASSED_OVER_MAX`] takes
//! nothing else until it has room for it. An execution waits therefore for at most [`PASSED_OVER_MAX`] and the rest
//! of what runs then, besides its turn.

use std::time::Duration;

use bulkhead_types::{Room, Units};

/// How long an execution is passed over for others that fit: long against the seconds that most attempts take, short
/// against the ten minutes of a long one.
pub const PASSED_OVER_MAX: Duration = Duration::from_secs(30);

/// What to do with an execution whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It fits.
    Now,
    /// It does not: others go first.
    PassOver,
    /// It does not, and has waited for long: nobody goes first on this worker.
    KeepRoom,
}

/// Whether an execution that takes `taken` ([`Room::taken_by`]) and has waited for `waited` may begin.
#[must_use]
pub fn fit(taken: Units, room: Room, waited: Duration) -> Fit {
    if room.free.covers(taken) {
        Fit::Now
    } else if waited < PASSED_OVER_MAX {
        Fit::PassOver
    } else {
        Fit::KeepRoom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn units(cpu: u32, memory_mib: u64) -> Units {
        Units { cpu, memory_mib }
    }

    #[test]
    fn what_fits_begins_and_what_does_not_is_waited_for_only_after_a_while() {
        let room = Room { free: units(4, 100), total: units(32, 8_000) };
        let fits = |asked, seconds| fit(room.taken_by(asked), room, Duration::from_secs(seconds));
        assert_eq!(fits(units(4, 100), 0), Fit::Now);
        assert_eq!(fits(units(5, 1), 0), Fit::PassOver);
        assert_eq!(fits(units(1, 101), 29), Fit::PassOver);
        assert_eq!(fits(units(1, 101), 30), Fit::KeepRoom);
        assert_eq!(fits(units(4, 100), 99), Fit::Now);
    }

    #[test]
    fn who_asks_for_more_than_there_is_gets_an_idle_worker() {
        let room = Room::idle(units(8, 100));
        let taken = room.taken_by(units(64, 10_000));
        assert_eq!((taken, fit(taken, room, Duration::ZERO)), (room.total, Fit::Now));
    }
}
