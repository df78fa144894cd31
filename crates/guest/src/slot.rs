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

    /// Whether all of the slot's cgroups hold the process.
    pub(crate) fn holds(&self, pid: i32) -> bool {
        let paths = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        count_in(&paths, &self.cgroup.name) >= self.cgroup.join.len()
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
        rustix::fs::statvfs(&self.scratch).is_ok_and(|fs| full(fs.f_bfree, fs.f_files, fs.f_ffree))
    }
}

/// Whether any process of a slot or a zygote is alive, by its uid. (`cgroup.procs` would not do: on v1 the kernel keeps
/// the list that it gave an open file, and goes on giving the same.)
pub(crate) fn anything_lives_as(uid: u32) -> std::io::Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let status = entry?.path().join("status");
        // Most entries are no processes, and a process may leave at any time.
        let Ok(status) = std::fs::read_to_string(status) else { continue };
        if lives_as(&status, uid) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Without a number of files in all, free ones mean nothing.
fn full(blocks_free: u64, files: u64, files_free: u64) -> bool {
    blocks_free == 0 || (files > 0 && files_free == 0)
}

fn read_text(file: RawFd) -> String {
    let mut buffer = [0_u8; 16 * 1024];
    let count = rustix::io::pread(borrowed(file), &mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// In how many hierarchies `/proc/PID/cgroup` shows the process in the cgroup of this name.
fn count_in(paths: &str, name: &str) -> usize {
    let last = |line: &str| line.rsplit('/').next().is_some_and(|last| last == name);
    paths.lines().filter(|line| last(line)).count()
}

/// Whether `/proc/PID/status` is of a process with this uid that is more than a corpse. One whose first thread has left
/// looks like a corpse, and is none while it has others.
pub(crate) fn lives_as(status: &str, uid: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_corpse = is_headless(status) && threads(status) <= 1;
    let uids = field("Uid:").unwrap_or("");
    !is_corpse && uids.split_whitespace().any(|it| it == uid.to_string())
}

/// Whether `/proc/PID/status` is of a process whose first thread has left.
pub(crate) fn is_headless(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| state.trim_start().starts_with(['Z', 'X']))
}

/// From `/proc/PID/status`: threads, the first included even if it has left.
pub(crate) fn threads(status: &str) -> u64 {
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    threads.and_then(|threads| threads.trim().parse().ok()).unwrap_or(1)
}

/// The number behind `key` in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_for_in_every_hierarchy() {
        let paths = "8:pids:/../s3\n4:memory:/../s3\n1:cpu:/\n0::/\n";
        assert_eq!(count_in(paths, "s3"), 2);
        assert_eq!(count_in(paths, "s33"), 0);
        assert_eq!(count_in("0::/../s3\n", "s3"), 1);
    }

    #[test]
    fn a_file_system_that_counts_no_files_is_not_full_for_it() {
        assert!(full(0, 0, 0) && full(9, 9, 0));
        assert!(!full(9, 0, 0) && !full(9, 9, 1));
    }

    #[test]
    fn corpses_and_others_do_not_live() {
        assert!(lives_as("State:\tS (sleeping)\nUid:\t9\t9\t9\t9\n", 9));
        assert!(lives_as("State:\tR (running)\nUid:\t5\t5\t9\t5\n", 9));
        assert!(!lives_as("State:\tZ (zombie)\nUid:\t9\t9\t9\t9\n", 9));
        assert!(!lives_as("State:\tZ (zombie)\nUid:\t9\t9\t9\t9\nThreads:\t1\n", 9));
        assert!(lives_as("State:\tZ (zombie)\nUid:\t9\t9\t9\t9\nThreads:\t2\n", 9));
        assert!(!lives_as("State:\tS (sleeping)\nUid:\t99\t99\t99\t99\n", 9));
        assert!(!lives_as("", 9));
    }

    #[test]
    fn counters_are_read_from_v1_and_v2_files_alike() {
        assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(value_of("low 0\nhigh 0\nmax 0\noom 2\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(value_of("max 17\n", "max"), Some(17));
        assert_eq!(value_of("", "max"), None);
    }
}
