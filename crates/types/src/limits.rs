//! What one attempt may use.

use serde::{Deserialize, Serialize};

/// Limits of one attempt. The defaults are those of the design; an operator sets ceilings, a function may ask
/// for less or, up to the ceiling, more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time until the attempt is killed, in milliseconds.
    pub time_ms: u64,
    /// Share of [`Self::time_ms`] after which the sandbox is asked to come to an end, in percent.
    pub soft_percent: u8,
    /// CPU time until the attempt is killed, in milliseconds; `None` is no limit but wall time.
    pub cpu_ms: Option<u64>,
    /// Memory, in MiB, charged to the attempt.
    pub memory_mib: u64,
    /// Processes and threads, beyond those Node.js itself has.
    pub processes: u32,
    /// Scratch directory, in MiB.
    pub scratch_mib: u64,
    /// Files and directories in the scratch directory.
    pub scratch_inodes: u64,
    /// Input, as JSON, in bytes.
    pub input_bytes: u64,
    /// Output, as JSON, in bytes.
    pub output_bytes: u64,
    /// Log text kept, in bytes; more is cut with a marker and the run goes on.
    pub log_bytes: u64,
    /// Log lines kept.
    pub log_lines: u64,
    /// Egress connections open at the same time.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time_ms: 10 * 60 * 1_000,
            soft_percent: 90,
            cpu_ms: None,
            memory_mib: 256,
            processes: 64,
            scratch_mib: 256,
            scratch_inodes: 16_384,
            input_bytes: 6 << 20,
            output_bytes: 6 << 20,
            log_bytes: 10 << 20,
            log_lines: 100_000,
            connections: 64,
        }
    }
}

impl Limits {
    /// Each limit, but no more than its ceiling.
    #[must_use]
    pub fn within(&self, ceilings: &Self) -> Self {
        Self {
            time_ms: self.time_ms.min(ceilings.time_ms),
            soft_percent: self.soft_percent,
            cpu_ms: self.cpu_ms,
            memory_mib: self.memory_mib.min(ceilings.memory_mib),
            processes: self.processes.min(ceilings.processes),
            scratch_mib: self.scratch_mib.min(ceilings.scratch_mib),
            scratch_inodes: self.scratch_inodes.min(ceilings.scratch_inodes),
            input_bytes: self.input_bytes.min(ceilings.input_bytes),
            output_bytes: self.output_bytes.min(ceilings.output_bytes),
            log_bytes: self.log_bytes.min(ceilings.log_bytes),
            log_lines: self.log_lines.min(ceilings.log_lines),
            connections: self.connections.min(ceilings.connections),
        }
    }

    /// Milliseconds from the start of an attempt to its soft deadline.
    #[must_use]
    pub fn soft_ms(&self) -> u64 {
        self.time_ms / 100 * u64::from(self.soft_percent.min(100))
            + self.time_ms % 100 * u64::from(self.soft_percent.min(100)) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_above_its_ceiling() {
        let huge = Limits {
            time_ms: u64::MAX,
            memory_mib: u64::MAX,
            processes: u32::MAX,
            scratch_mib: u64::MAX,
            scratch_inodes: u64::MAX,
            input_bytes: u64::MAX,
            output_bytes: u64::MAX,
            log_bytes: u64::MAX,
            log_lines: u64::MAX,
            connections: u32::MAX,
            ..Limits::default()
        };
        let ceilings = Limits::default();
        assert_eq!(huge.within(&ceilings), ceilings);
        let small = Limits { time_ms: 1, ..Limits::default() };
        assert_eq!(small.within(&ceilings), small);
    }

    #[test]
    fn the_soft_deadline_is_the_stated_share() {
        let soft = |time_ms| Limits { time_ms, ..Limits::default() }.soft_ms();
        assert_eq!(soft(600_000), 540_000);
        assert_eq!(soft(99), 89);
        assert_eq!(soft(u64::MAX), u64::MAX / 100 * 90 + u64::MAX % 100 * 90 / 100);
    }
}
