//! The checkers: a naive model of what the engine promises, held against every commit.
//!
//! - [`Ledger`] (`ledger.rs`): every execution that was accepted, and what may become of it.
//! - `submits.rs`: idempotency, and that a sync does not overlap itself.
//! - `leases.rs`: at most one live lease per execution; nothing of an older one is ever taken; leases end only when
//!   their time is up.
//! - `ends.rs`: outcomes lead where they may, usage is counted once, and a final execution never changes.
//! - `limits.rs`: how many may run at the same time.
//! - `fairness.rs`: nobody waits for more than the stated bound.
//! - `schedules.rs`: a schedule fires when it is due, and is due again.
//! - `left.rs`: at the end, everything has ended and nothing is left.

mod ends;
pub(crate) mod fairness;
mod leases;
mod ledger;
pub(crate) mod left;
mod limits;
mod schedules;
mod submits;

pub use ledger::Counts;
pub(crate) use ledger::{Known, Ledger};
pub(crate) use schedules::INTERVAL_MAX;

/// A promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    pub(crate) const fn new(checker: &'static str, what: String) -> Self {
        Self { checker, what }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Returns a [`Violation`] unless the condition holds.
macro_rules! demand {
    ($holds:expr, $checker:literal, $($what:tt)+) => {
        if !$holds {
            return Err($crate::check::Violation::new($checker, format!($($what)+)));
        }
    };
}
pub(crate) use demand;
