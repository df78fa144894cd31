//! Gates: limits on how many attempts of a tenant run at the same time that have something in common: a function, a
//! connection, or a concurrency key. A paused gate lets nobody through.
//!
//! **Who waits at a gate is not looked at again until the gate opens.** A *lane* is what has the same gates: one
//! function, connection and key of a tenant. Of each lane only the first queued execution, its *front*, is ever
//! ready or held at a gate; the rest stand behind it, out of sight. So what a closed gate costs is one row moved
//! per lane that comes to it, however long the lanes are.
//!
//! **Nobody is forgotten.** If a gate is open and somebody is held at it, then some ready execution has that gate
//! as one of its own. That holds because
//! - an attempt's end wakes one front that is held at each gate it leaves open,
//! - an attempt's start wakes one at each gate that it leaves open, and lets its lane's next step forward,
//! - a ready execution that goes away without having run (held elsewhere, cancelled, expired) leaves its place to
//!   its lane's next; without one, it wakes one at each of its gates that is open.
//!
//! The rejected ways. To hand a freed slot to who is woken: with two gates each, several can hold one and wait for
//! the other for ever. To take gates in a fixed order and keep the first while waiting for the second: then a
//! function at its limit keeps a connection's slots from other functions.

/// A gate and who is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its name within the tenant.
    pub key: String,
    /// Attempts that may be inside at the same time; `None` is any number.
    pub running_max: Option<u32>,
    /// Attempts inside that began since there is a gate.
    pub running: u32,
    /// Nobody may begin.
    pub paused: bool,
    /// Somebody set it: it stays when nobody is inside.
    pub set: bool,
}

impl Gate {
    /// A gate that nobody has set and nobody is inside.
    #[must_use]
    pub const fn new(key: String, running_max: Option<u32>) -> Self {
        Self { key, running_max, running: 0, paused: false, set: false }
    }

    /// Whether one more may begin.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.paused && self.running_max.is_none_or(|max| self.running < max)
    }
}

/// The gate at which an execution with these gates has to wait; `None` when all are open. A paused one goes first:
/// it stays closed for longest.
#[must_use]
pub fn closed(gates: &[Gate]) -> Option<&Gate> {
    gates.iter().find(|gate| gate.paused).or_else(|| gates.iter().find(|gate| !gate.is_open()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(key: &str, max: Option<u32>, running: u32, paused: bool) -> Gate {
        Gate { running, paused, ..Gate::new(key.to_owned(), max) }
    }

    #[test]
    fn the_first_closed_gate_holds_and_a_paused_one_before_it() {
        let at = |gates: &[Gate]| closed(gates).map(|gate| gate.key.clone());
        let (free, full) = (gate("free", Some(2), 1, false), gate("full", Some(2), 2, false));
        let (any, paused) = (gate("any", None, 9, false), gate("paused", None, 0, true));
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[free.clone(), any.clone()]), None);
        assert_eq!(at(&[free.clone(), full.clone()]).as_deref(), Some("full"));
        assert_eq!(at(&[full, free, paused, any]).as_deref(), Some("paused"));
        assert_eq!(at(&[gate("none", Some(0), 0, false)]).as_deref(), Some("none"));
    }
}
