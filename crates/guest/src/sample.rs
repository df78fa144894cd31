//! What the processes of each slot use, counted in `/proc`: for kernels that have no cgroups to do it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::slot::{is_headless, lives_as, threads};

/// What one user's processes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// Threads of all its processes.
    pub(crate) tasks: u64,
    /// Resident memory of all its processes, bytes; what forks share counts for each.
    pub(crate) memory_bytes: u64,
}

/// A mapping of a process that its forks would not have a copy of but would share, and could write to: what one of them
/// wrote there, all later ones would read. A bundle that has one can't be a zygote.
pub(crate) fn shared_memory_of(pid: i32) -> Option<String> {
    match std::fs::read_to_string(format!("/proc/{pid}/maps")) {
        Ok(maps) => maps.lines().find(|line| is_shared(line)).map(str::to_owned),
        // Whoever can't be looked at is not believed.
        Err(error) => Some(format!("what can't be seen: {error}")),
    }
}

/// Whether a line of `/proc/PID/maps` is of shared memory that can be written to, or of some that belongs to no file and
/// could be made so.
fn is_shared(line: &str) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let protection = fields.nth(1).unwrap_or("").as_bytes();
    let file = fields.nth(3).unwrap_or("");
    let of_image = file.starts_with("/runtime/")
        || file.starts_with("/usr/")
        || file.starts_with("/lib/")
        || file.starts_with("/lib64/");
    protection.get(3) == Some(&b's') && (protection.get(1) == Some(&b'w') || !of_image)
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
        let here = alive_at(&entry.path(), &status);
        let Some((uid, mut sample)) = parse(&status) else { continue };
        if here != entry.path() {
            sample.memory_bytes = std::fs::read_to_string(here.join("status"))
                .map_or(0, |status| resident(&status).unwrap_or(0));
        }
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
            let smaps = alive_at(&here, &status).join("smaps");
            sum += std::fs::read_to_string(smaps).map_or(0, |text| anonymous(&text));
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
    resident(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// CPU time that a process has had so far, of all its threads.
pub(crate) fn cpu_time_of(pid: i32) -> Option<Duration> {
    cpu_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// From `/proc/PID/stat`: `utime` and `stime`, in hundredths of a second (USER_HZ), are the 12th and 13th field behind the
/// name, which may have blanks and parentheses in it.
fn cpu_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(ticks()?.saturating_add(ticks()?).saturating_mul(10)))
}

/// Where a process' memory is to be read: of one whose first thread has left, only its other threads tell.
fn alive_at(process: &Path, status: &str) -> PathBuf {
    if !is_headless(status) {
        return process.to_owned();
    }
    let tasks = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let alive = |task: &PathBuf| {
        std::fs::read_to_string(task.join("status")).is_ok_and(|status| !is_headless(&status))
    };
    tasks.map(|task| task.path()).find(alive).unwrap_or_else(|| process.to_owned())
}

/// From `/proc/PID/status`: resident memory, bytes.
fn resident(status: &str) -> Option<u64> {
    field(status, "VmRSS:")?.checked_mul(1024)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// From `/proc/PID/status`; `None` of a corpse.
fn parse(status: &str) -> Option<(u32, Sample)> {
    let uid = u32::try_from(field(status, "Uid:")?).ok()?;
    let (tasks, memory_bytes) = (threads(status), resident(status).unwrap_or(0));
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
        let headless = status.replace("S (sleeping)", "Z (zombie)");
        assert_eq!(parse(&headless), Some((7, sample)), "its other threads go on");
        assert_eq!(parse(&headless.replace("Threads:\t3", "Threads:\t1")), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn cpu_time_is_read_behind_whatever_the_process_calls_itself() {
        let stat = "7 (a b) c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 200 0";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (node"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(cpu_time_of(own).is_some());
    }

    #[test]
    fn memory_that_forks_would_share_is_found() {
        let check = |protection: &str, file: &str| {
            is_shared(&format!(
                "7f00-7f01 {protection} 00000000 00:01 1026                  {file}"
            ))
        };
        assert!(!check("rw-p", "") && !check("rw-p", "/runtime/node"));
        assert!(check("rw-s", "/dev/zero (deleted)") && check("---s", "/dev/zero (deleted)"));
        assert!(check("r--s", "/memfd:x (deleted)") && check("rw-s", "/lib/x"));
        assert!(!check("r--s", "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"));
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
