//! What the processes of each slot use, counted in `/proc`: for kernels that have no cgroups to do it.

use std::collections::HashMap;
use std::io;

use crate::slot::lives_as;

/// What one user's processes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// Threads of all its processes.
    pub(crate) tasks: u64,
    /// Resident memory of all its processes, bytes; what forks share counts for each.
    pub(crate) memory_bytes: u64,
}

/// Looks at every process once.
pub(crate) fn of_all_users() -> io::Result<HashMap<u32, Sample>> {
    let mut found: HashMap<u32, Sample> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // A process may leave at any time.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let Some((uid, sample)) = parse(&status) else { continue };
        let sum = found.entry(uid).or_default();
        sum.tasks += sample.tasks;
        sum.memory_bytes += sample.memory_bytes;
    }
    Ok(found)
}

/// Memory of all processes of a user that is no file's, bytes: slower, and without the programs that they have mapped.
pub(crate) fn anonymous_bytes_of_user(uid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc")? {
        let here = entry?.path();
        let Ok(status) = std::fs::read_to_string(here.join("status")) else { continue };
        if lives_as(&status, uid) {
            sum += std::fs::read_to_string(here.join("smaps")).map_or(0, |text| anonymous(&text));
        }
    }
    Ok(sum)
}

/// The same of one process.
pub(crate) fn anonymous_bytes_of(pid: i32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/smaps")).map_or(0, |text| anonymous(&text))
}

/// From `/proc/PID/smaps`: the sum over all mappings.
fn anonymous(smaps: &str) -> u64 {
    let kib = |line: &str| {
        line.strip_prefix("Anonymous:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    smaps.lines().filter_map(kib).sum::<u64>().saturating_mul(1024)
}

/// Resident memory that a process has now, bytes.
pub(crate) fn memory_bytes_of(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(parse(&status)?.1.memory_bytes)
}

/// From `/proc/PID/status`; `None` of a corpse.
fn parse(status: &str) -> Option<(u32, Sample)> {
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let uid = u32::try_from(field("Uid:")?).ok()?;
    let tasks = field("Threads:").unwrap_or(1);
    let memory_bytes = field("VmRSS:").unwrap_or(0).saturating_mul(1024);
    lives_as(status, uid).then_some((uid, Sample { tasks, memory_bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_for_its_user_until_it_is_a_corpse() {
        let status =
            "Name:\tnode\nState:\tS (sleeping)\nUid:\t7\t7\t7\t7\nVmRSS:\t20 kB\nThreads:\t3\n";
        let sample = Sample { tasks: 3, memory_bytes: 20 * 1024 };
        assert_eq!(parse(status), Some((7, sample)));
        assert_eq!(parse(&status.replace("S (sleeping)", "Z (zombie)")), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn mappings_of_files_do_not_count() {
        let smaps = "0-1 r-xp /node\nRss:  90 kB\nAnonymous:  0 kB\n2-3 rw-p\nRss: 8 kB\nAnonymous:   8 kB\n";
        assert_eq!(anonymous(smaps), 8 * 1024);
    }

    #[test]
    fn this_process_is_found_with_what_it_uses() {
        let uid = rustix::process::geteuid().as_raw();
        let found = of_all_users().ok().and_then(|all| all.get(&uid).copied());
        assert!(found.is_some_and(|it| it.tasks >= 1 && it.memory_bytes > 0), "{found:?}");
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        assert!(memory_bytes_of(pid).is_some_and(|bytes| bytes > 0));
    }
}
