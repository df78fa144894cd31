//! What one attempt may use.

use serde::{Deserialize, Serialize};

use crate::capacity::Units;

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
    /// What it takes of a worker's CPU capacity while it runs; a core has [`CPU_UNITS_PER_CORE`].
    #[serde(skip_serializing_if = "is_usual_cpu")]
    pub cpu_units: u32,
    /// What it takes of a worker's memory capacity while it runs, in MiB: what it is expected to use. Its limit,
    /// [`Self::memory_mib`], may be many times that.
    #[serde(skip_serializing_if = "is_usual_memory")]
    pub memory_reserved_mib: u64,
    /// Egress connections begun within a minute: as many at once as in all of it.
    #[serde(skip_serializing_if = "is_usual_connections_per_minute")]
    pub connections_per_minute: u32,
    /// Names looked up within a minute, likewise.
    #[serde(skip_serializing_if = "is_usual_lookups_per_minute")]
    pub lookups_per_minute: u32,
    /// Bytes over all egress connections together, both ways, in MiB.
    #[serde(skip_serializing_if = "is_usual_egress_mib")]
    pub egress_mib: u64,
}

/// CPU units of one core: an ordinary function waits for the network for most of its time, so a core carries this
/// many of them.
pub const CPU_UNITS_PER_CORE: u32 = 16;

/// CPU units of an execution that asks for nothing else.
const CPU_UNITS: u32 = 1;

/// Memory reserved for an execution that asks for nothing else, in MiB. A sandbox whose handler waits is to have no
/// more than 6 MiB of its own (SPECIFICATION.md, T8).
const MEMORY_RESERVED_MIB: u64 = 8;

/// Far above what clients that keep their connections need, far below what searching a network for ports does.
const CONNECTIONS_PER_MINUTE: u32 = 3_000;

/// Names carry data out: this is some 2 KiB a second at most, where a policy lets names be resolved at all.
const LOOKUPS_PER_MINUTE: u32 = 600;

/// Some 17 MiB in each second of ten minutes.
const EGRESS_MIB: u64 = 10 << 10;

// Usual values are not written out: they were not there when the first versions got their names, which are hashes.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_usual_cpu(units: &u32) -> bool {
    *units == CPU_UNITS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_usual_memory(mib: &u64) -> bool {
    *mib == MEMORY_RESERVED_MIB
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_usual_connections_per_minute(count: &u32) -> bool {
    *count == CONNECTIONS_PER_MINUTE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_usual_lookups_per_minute(count: &u32) -> bool {
    *count == LOOKUPS_PER_MINUTE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_usual_egress_mib(mib: &u64) -> bool {
    *mib == EGRESS_MIB
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
            connections_per_minute: CONNECTIONS_PER_MINUTE,
            lookups_per_minute: LOOKUPS_PER_MINUTE,
            egress_mib: EGRESS_MIB,
            cpu_units: CPU_UNITS,
            memory_reserved_mib: MEMORY_RESERVED_MIB,
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
            connections_per_minute: self
                .connections_per_minute
                .min(ceilings.connections_per_minute),
            lookups_per_minute: self.lookups_per_minute.min(ceilings.lookups_per_minute),
            egress_mib: self.egress_mib.min(ceilings.egress_mib),
            // What a worker has bounds them.
            cpu_units: self.cpu_units,
            memory_reserved_mib: self.memory_reserved_mib,
        }
    }

    /// Milliseconds from the start of an attempt to its soft deadline.
    #[must_use]
    pub fn soft_ms(&self) -> u64 {
        self.time_ms / 100 * u64::from(self.soft_percent.min(100))
            + self.time_ms % 100 * u64::from(self.soft_percent.min(100)) / 100
    }

    /// What an attempt takes of a worker: at least one CPU unit, and no more memory than it may use.
    #[must_use]
    pub fn units(&self) -> Units {
        Units {
            cpu: self.cpu_units.max(1),
            memory_mib: self.memory_reserved_mib.min(self.memory_mib),
        }
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
            connections_per_minute: u32::MAX,
            lookups_per_minute: u32::MAX,
            egress_mib: u64::MAX,
            ..Limits::default()
        };
        let ceilings = Limits::default();
        assert_eq!(huge.within(&ceilings), ceilings);
        let small = Limits { time_ms: 1, ..Limits::default() };
        assert_eq!(small.within(&ceilings), small);
    }

    #[test]
    fn usual_limits_are_written_as_they_were_before_there_were_units() {
        let text = serde_json::to_string(&Limits::default()).unwrap_or_default();
        for later in ["units", "reserved", "minute", "egress"] {
            assert!(!text.contains(later), "{text}");
        }
        let two = Limits { cpu_units: 2, ..Limits::default() };
        let text = serde_json::to_string(&two).unwrap_or_default();
        assert!(text.contains(r#""cpu_units":2"#), "{text}");
    }

    #[test]
    fn the_soft_deadline_is_the_stated_share() {
        let soft = |time_ms| Limits { time_ms, ..Limits::default() }.soft_ms();
        assert_eq!(soft(600_000), 540_000);
        assert_eq!(soft(99), 89);
        assert_eq!(soft(u64::MAX), u64::MAX / 100 * 90 + u64::MAX % 100 * 90 / 100);
    }
}
