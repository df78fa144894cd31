//! Slots: which are free, and what the kernel counted in one.

use std::os::fd::RawFd;

use bulkhead_protocol::{GuestError, SlotUsage};

use crate::config::SlotConfig;
use crate::sys::borrowed;

/// Free slots, least recently used first, so that an odd leftover has the longest time to show.
#[derive(Debug)]
pub(crate) struct Slots {
    all: Vec<SlotConfig>,
    free: std::collections::VecDeque<usize>,
}

impl Slots {
    pub(crate) fn new(all: Vec<SlotConfig>) -> Self {
        let free = (0..all.len()).collect();
        Self { all, free }
    }

    pub(crate) fn take(&mut self) -> Option<usize> {
        self.free.pop_front()
    }

    pub(crate) fn give_back(&mut self, slot: usize) {
        debug_assert!(!self.free.contains(&slot));
        self.free.push_back(slot);
    }

    pub(crate) fn config(&self, slot: usize) -> &SlotConfig {
        &self.all[slot]
    }
}

/// What the kernel has counted in a slot's cgroup since it was made; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) oom_kills: u64,
    pub(crate) processes_refused: u64,
}

impl SlotConfig {
    /// Begins a new use: the peak starts from what is used now.
    pub(crate) fn reset_peak(&self) -> Result<(), GuestError> {
        let Some(file) = self.cgroup.memory_peak else { return Ok(()) };
        let reset = rustix::io::pwrite(borrowed(file), b"0", 0);
        reset.map(drop).map_err(|error| GuestError {
            stage: "cgroup".to_owned(),
            message: format!("memory peak can't be reset: {error}"),
        })
    }

    pub(crate) fn counters(&self) -> Counters {
        let count = |file: Option<RawFd>, key| {
            file.and_then(|file| value_of(&read_text(file), key)).unwrap_or(0)
        };
        Counters {
            oom_kills: count(self.cgroup.memory_events, "oom_kill"),
            processes_refused: count(self.cgroup.pids_events, "max"),
        }
    }

    /// Whether the slot's memory cgroup holds the process.
    pub(crate) fn holds(&self, pid: i32) -> bool {
        let listed = |file: &RawFd| read_text(*file).lines().any(|line| line == pid.to_string());
        self.cgroup.join.iter().all(listed)
    }

    pub(crate) fn usage(&self, before: Counters) -> SlotUsage {
        let peak = self.cgroup.memory_peak.and_then(|file| read_text(file).trim().parse().ok());
        SlotUsage {
            cpu_us: 0,
            memory_bytes_peak: peak.unwrap_or(0),
            scratch_full: self.scratch_is_full(),
            process_refused: self.counters().processes_refused > before.processes_refused,
        }
    }

    /// Whether no block or no inode is left in the scratch directory.
    pub(crate) fn scratch_is_full(&self) -> bool {
        rustix::fs::statvfs(&self.scratch).is_ok_and(|fs| fs.f_bfree == 0 || fs.f_ffree == 0)
    }
}

fn read_text(file: RawFd) -> String {
    let mut buffer = [0_u8; 16 * 1024];
    let count = rustix::io::pread(borrowed(file), &mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// The number behind `key` in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_v1_and_v2_files_alike() {
        assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(value_of("low 0\nhigh 0\nmax 0\noom 2\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(value_of("max 17\n", "max"), Some(17));
        assert_eq!(value_of("", "max"), None);
    }
}
