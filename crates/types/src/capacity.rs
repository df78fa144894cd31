//! What attempts take of a worker, and what a worker has: CPU units and memory.

use serde::{Deserialize, Serialize};

/// An amount of a worker's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Units {
    /// CPU units; [`crate::CPU_UNITS_PER_CORE`] are a core.
    pub cpu: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Units {
    /// Whether `other` is there in both respects.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.cpu >= other.cpu && self.memory_mib >= other.memory_mib
    }

    /// Both added; stops at the largest number.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// What is left without `other`; stops at nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }

    /// No more than `most`, in either respect.
    #[must_use]
    pub fn at_most(self, most: Self) -> Self {
        Self { cpu: self.cpu.min(most.cpu), memory_mib: self.memory_mib.min(most.memory_mib) }
    }
}

/// What a worker tells when it asks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Room {
    /// What no attempt takes now.
    pub free: Units,
    /// What it has in all.
    pub total: Units,
    /// The last so many CPU units are for tenants that run nothing.
    #[serde(default)]
    pub headroom: u32,
}

impl Room {
    /// A worker with nothing to do, and nothing kept for anybody.
    #[must_use]
    pub const fn idle(total: Units) -> Self {
        Self { free: total, total, headroom: 0 }
    }

    /// Whether what is free is for tenants that run nothing.
    #[must_use]
    pub const fn is_for_the_idle(self) -> bool {
        self.free.cpu <= self.headroom
    }

    /// What an attempt that asks for `asked` takes here: one that asks for more than there is gets the whole worker.
    #[must_use]
    pub fn taken_by(self, asked: Units) -> Units {
        asked.at_most(self.total)
    }
}

/// Room for this many executions that ask for nothing unusual.
impl From<usize> for Room {
    fn from(executions: usize) -> Self {
        let cpu = u32::try_from(executions).unwrap_or(u32::MAX);
        Self::idle(Units { cpu, memory_mib: u64::MAX })
    }
}
