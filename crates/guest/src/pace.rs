//! How often the guest looks at limits that have no event of their own, and when such a look can be spared.

use std::time::{Duration, Instant};

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// There is nothing to look at.
    Never,
    /// Only zygotes and parked sandboxes are there, and no cgroup counts what they use.
    Idle,
    /// Something starts or runs.
    Usual,
    /// Something runs, and no cgroup counts what it uses.
    Sampled,
}

impl Pace {
    /// Between two looks.
    pub(crate) fn every(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Idle => Some(Duration::from_secs(5)),
            Self::Usual => Some(Duration::from_millis(200)),
            Self::Sampled => Some(Duration::from_millis(50)),
        }
    }

    pub(crate) fn is_idle(self) -> bool {
        matches!(self, Self::Never | Self::Idle)
    }
}

/// More memory than this since the last whole look makes another one necessary, bytes.
const GROWTH_MAX: u64 = 4 << 20;

/// After this long there is a whole look in any case: one process may give back what another one takes.
const SPARED_MAX: Duration = Duration::from_secs(1);

/// What a kernel that is the compartment's own says of all its processes together, in one system call. A look at each of
/// them takes about forty of `/proc`, and behind gVisor a system call costs tens of microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) tasks: u64,
    pub(crate) memory_bytes: u64,
}

impl Totals {
    pub(crate) fn read() -> Self {
        let all = rustix::system::sysinfo();
        let used = all.totalram.saturating_sub(all.freeram);
        Self { tasks: all.procs.into(), memory_bytes: used.saturating_mul(all.mem_unit.into()) }
    }
}

/// Decides from the totals whether each process has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    last: Option<(Totals, Instant)>,
}

impl Glance {
    /// Whether a whole look is due; who is told so takes it.
    pub(crate) fn opens(&mut self, totals: Totals, now: Instant) -> bool {
        let spared = self.last.as_mut().is_some_and(|(then, at)| {
            // What was given back may be taken again unseen otherwise.
            then.memory_bytes = then.memory_bytes.min(totals.memory_bytes);
            then.tasks == totals.tasks
                && totals.memory_bytes - then.memory_bytes <= GROWTH_MAX
                && now.duration_since(*at) < SPARED_MAX
        });
        if !spared {
            self.last = Some((totals, now));
        }
        !spared
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a point in time to count from")]
    use super::*;

    #[test]
    fn each_process_is_looked_at_when_tasks_change_memory_grows_or_time_passes() {
        let (mut glance, start) = (Glance::default(), Instant::now());
        let mut opens = |tasks, mib: u64, ms| {
            glance
                .opens(Totals { tasks, memory_bytes: mib << 20 }, start + Duration::from_millis(ms))
        };
        assert!(opens(5, 100, 0), "the first look");
        assert!(!opens(5, 104, 50), "as much as may be");
        assert!(opens(5, 105, 100), "grown");
        assert!(opens(6, 105, 150), "one more task");
        assert!(opens(5, 105, 200), "one less");
        assert!(!opens(5, 90, 250), "memory given back");
        assert!(opens(5, 95, 300), "and taken again");
        assert!(!opens(5, 95, 1_299));
        assert!(opens(5, 95, 1_300), "in any case");
    }

    #[test]
    fn what_this_kernel_says_of_itself_is_read() {
        let all = Totals::read();
        assert!(all.tasks >= 1 && all.memory_bytes > 1 << 20, "{all:?}");
    }
}
