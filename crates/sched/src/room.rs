//! Whether an execution fits into a worker, and what if it does not.
//!
//! An execution that does not fit is passed over: what is behind it, of other tenants, goes first. So that small
//! ones do not keep a large one out for ever, a worker that finds one that has waited for [`PASSED_OVER_MAX`] takes
//! nothing else until it has room for it. An execution waits therefore for at most [`PASSED_OVER_MAX`] and the rest
//! of what runs then, besides its turn.

//!
//! The last of a worker's CPU units ([`headroom`]) are given to tenants that run nothing. So who fills a worker with
//! attempts of ten minutes leaves room for everybody else's next one, whatever it has queued; the price is that one
//! tenant alone does not get those units.

use std::time::Duration;

use bulkhead_types::{Room, Units};

/// How long an execution is passed over for others that fit: long against the seconds that most attempts take, short
/// against the ten minutes of a long one.
pub const PASSED_OVER_MAX: Duration = Duration::from_secs(30);

/// CPU units, of `total`, that are kept for tenants that run nothing.
#[must_use]
pub const fn headroom(total: u32, percent: u32) -> u32 {
    let percent = if percent < 100 { percent } else { 100 };
    // In two parts, so that nothing grows beyond what there is.
    total / 100 * percent + total % 100 * percent / 100
}

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
        let room = Room { free: units(4, 100), ..Room::idle(units(32, 8_000)) };
        let fits = |asked, seconds| fit(room.taken_by(asked), room, Duration::from_secs(seconds));
        assert_eq!(fits(units(4, 100), 0), Fit::Now);
        assert_eq!(fits(units(5, 1), 0), Fit::PassOver);
        assert_eq!(fits(units(1, 101), 29), Fit::PassOver);
        assert_eq!(fits(units(1, 101), 30), Fit::KeepRoom);
        assert_eq!(fits(units(4, 100), 99), Fit::Now);
    }

    #[test]
    fn headroom_is_a_share_of_what_there_is() {
        assert_eq!([headroom(32, 12), headroom(7, 12), headroom(32, 0)], [3, 0, 0]);
        assert_eq!([headroom(u32::MAX, 100), headroom(10, 900)], [u32::MAX, 10]);
        let room = Room { headroom: 3, ..Room::idle(units(32, 1)) };
        assert!(!room.is_for_the_idle());
        assert!(Room { free: units(3, 1), ..room }.is_for_the_idle());
        assert!(!Room { free: units(1, 1), headroom: 0, ..room }.is_for_the_idle());
    }

    #[test]
    fn who_asks_for_more_than_there_is_gets_an_idle_worker() {
        let room = Room::idle(units(8, 100));
        let taken = room.taken_by(units(64, 10_000));
        assert_eq!((taken, fit(taken, room, Duration::ZERO)), (room.total, Fit::Now));
    }
}
