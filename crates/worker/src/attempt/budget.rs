//! What an attempt may take of the network over all its connections and calls: rates, and bytes in all. How many
//! connections are open at the same time is counted where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_protocol::Refused;
use bulkhead_types::Lease;
use serde_json::{Value, json};

use crate::clock::Monotonic;

const MINUTE_US: u64 = 60_000_000;

/// So many within a minute: a bucket that holds a minute's worth and fills up evenly.
pub(super) struct Rate {
    clock: Arc<dyn Monotonic>,
    per_minute: u64,
    /// In tokens × microseconds of a minute, so that nothing is lost to rounding.
    level: u64,
    at_us: u64,
}

impl Rate {
    pub(super) fn new(clock: Arc<dyn Monotonic>, per_minute: u32) -> Self {
        let per_minute = u64::from(per_minute);
        let at_us = clock.micros();
        Self { clock, per_minute, level: per_minute * MINUTE_US, at_us }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let now_us = self.clock.micros();
        let gained = now_us.saturating_sub(self.at_us).saturating_mul(self.per_minute);
        self.level = self.level.saturating_add(gained).min(self.per_minute * MINUTE_US);
        self.at_us = now_us;
        let left = self.level.checked_sub(MINUTE_US);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }
}

/// Bytes that may still go over the attempt's connections, both ways together.
#[derive(Clone)]
pub(super) struct Traffic {
    left: Arc<AtomicU64>,
    mib: u64,
}

impl Traffic {
    pub(super) fn new(lease: &Lease) -> Self {
        let mib = lease.limits.egress_mib;
        Self { left: Arc::new(AtomicU64::new(mib.saturating_mul(1 << 20))), mib }
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// When there are not so many left.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Refused> {
        let take = |left: u64| left.checked_sub(bytes as u64);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let mib = self.mib;
        taken.map(drop).map_err(|_| {
            let what = format!("an attempt may carry {mib} MiB over its connections");
            over("limit.egress_mib", what)
        })
    }
}

/// The refusal of what goes over a limit.
pub(super) fn over(rule: &str, message: String) -> Refused {
    Refused { code: "egress_denied".to_owned(), message, rule: Some(rule.to_owned()) }
}

/// Something that was denied, for the execution's log and timeline.
pub(super) struct Denied {
    /// What it was, such as `connection to 10.0.0.1:80`.
    pub(super) what: String,
    /// By which rule.
    pub(super) rule: String,
    /// For the timeline.
    pub(super) detail: Value,
}

/// Characters of a host's name in logs; a longer one is none.
const HOST_LENGTH_MAX: usize = 253;

impl Denied {
    pub(super) fn connection(host: &str, port: u16, rule: &str) -> Self {
        let host: String = host.chars().take(HOST_LENGTH_MAX).collect();
        Self {
            what: format!("connection to {host}:{port}"),
            rule: rule.to_owned(),
            detail: json!({"host": host, "port": port, "rule": rule}),
        }
    }

    pub(super) fn call(method: &str, host: Option<&str>, rule: &str, message: &str) -> Self {
        let host = host.map(|host| host.chars().take(HOST_LENGTH_MAX).collect::<String>());
        let of = host.as_ref().map(|host| format!(" of {host}")).unwrap_or_default();
        Self {
            what: format!("{method}{of}"),
            rule: rule.to_owned(),
            detail: json!({"call": method, "host": host, "rule": rule, "message": message}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hand(AtomicU64);

    impl Monotonic for Hand {
        fn micros(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_minutes_worth_at_once_then_evenly() {
        let clock = Arc::new(Hand(AtomicU64::new(5)));
        let mut rate = Rate::new(clock.clone(), 60);
        assert_eq!((0..100).filter(|_| rate.take()).count(), 60);
        clock.0.fetch_add(999_999, Ordering::Relaxed);
        assert!(!rate.take(), "a microsecond early");
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert!(rate.take() && !rate.take());
        clock.0.fetch_add(3_600 * 1_000_000, Ordering::Relaxed);
        assert_eq!((0..100).filter(|_| rate.take()).count(), 60, "never more than a minute's");
        assert!(!Rate::new(clock, 0).take());
    }
}
