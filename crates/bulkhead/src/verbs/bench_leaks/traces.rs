//! What a server has on this machine, seen from outside by root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::verbs::apart::Apart;

/// What is counted, each by the first word of its name.
pub(super) const KINDS: [&str; 6] =
    ["process", "cgroup", "mount", "namespace", "descriptor", "file"];

/// How each memory is called, and what it was; `None` where there was none to look at.
type Of = fn(&Memory) -> Option<f64>;
pub(super) const MEMORIES: [(&str, Of); 3] = [
    ("server", |it| it.server_mib),
    ("launcher", |it| it.launcher_mib),
    ("compartment, on average", |it| it.compartment_mib),
];

/// How many there are of each thing, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traces {
    things: BTreeMap<String, usize>,
    compartments: usize,
}

impl Traces {
    pub(super) fn of(server: &Apart) -> anyhow::Result<Self> {
        let launcher = server.launcher()?;
        let mut things = Things::default();
        let tops = tops(&server.tops);
        let cgroups: Vec<PathBuf> = tops.iter().flat_map(|top| below(top)).collect();
        for path in &cgroups {
            things.add(format!("cgroup {}", path.display()));
        }
        let own = [server.pid, launcher];
        let mut pids = descendants(server.pid);
        for path in cgroups.iter().chain(&tops) {
            let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        let mut namespaces = BTreeSet::new();
        for pid in &pids {
            if !own.contains(pid) {
                things.add(format!("process {}", comm(*pid)));
            }
            let links = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
            let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
            namespaces.extend(links.map(|link| link.display().to_string()));
        }
        // One that exists is a thing whoever is in it; its number is the kernel's.
        for namespace in namespaces {
            things.add(format!("namespace {namespace}"));
        }
        for (who, pid) in [("server", server.pid), ("launcher", launcher)] {
            for target in descriptors(pid) {
                things.add(format!("descriptor of the {who}: {target}"));
            }
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            for line in mounts.lines() {
                let point = line.split(' ').nth(4).unwrap_or_default();
                things.add(format!("mount of the {who}: {point}"));
            }
        }
        for path in files(server.directory()) {
            things.add(format!("file {path}"));
        }
        let compartments = tops.iter().map(|top| children(top).count()).max().unwrap_or(0);
        Ok(Self { things: things.0, compartments })
    }

    /// Compartments that have cgroups.
    pub(super) fn compartments(&self) -> usize {
        self.compartments
    }

    /// What there is more of than there was.
    pub(super) fn beyond(&self, before: &Self) -> Vec<(String, usize)> {
        let more = self.things.iter().filter_map(|(name, count)| {
            let more = count.saturating_sub(before.things.get(name).copied().unwrap_or(0));
            (more > 0).then(|| (name.clone(), more))
        });
        more.collect()
    }
}

#[derive(Default)]
struct Things(BTreeMap<String, usize>);

impl Things {
    fn add(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }
}

/// Those that exist.
fn tops(all: &[PathBuf]) -> Vec<PathBuf> {
    all.iter().filter(|top| top.exists()).cloned().collect()
}

fn children(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path())
}

fn below(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = children(path).collect();
    let deeper: Vec<PathBuf> = found.iter().flat_map(|child| below(child)).collect();
    found.extend(deeper);
    found
}

/// A process and all that descend from it.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([pid]);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            found.extend(descendants(child));
        }
    }
    found
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// What a process has open. Numbers of sockets and pipes say nothing; the database opens its files as it needs them.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let names = targets.map(|target| target.display().to_string());
    let is_database = |name: &String| name.contains("/bulkhead.db");
    names.filter(|name| !is_database(name)).map(|name| without_number(&name)).collect()
}

/// `socket:[123]` is a socket.
fn without_number(name: &str) -> String {
    match name.split_once(":[") {
        Some((kind, number))
            if number.trim_end_matches(']').bytes().all(|b| b.is_ascii_digit()) =>
        {
            kind.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// Every file and directory below, but the database's own.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("bulkhead.db") {
            continue;
        }
        found.push(path.display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path));
        }
    }
    found
}

/// What server and compartments keep at one moment, MiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    server_mib: Option<f64>,
    launcher_mib: Option<f64>,
    compartment_mib: Option<f64>,
}

impl Memory {
    pub(super) fn of(server: &Apart, launcher: u32) -> Self {
        let each: Vec<f64> =
            server.tops.iter().flat_map(|top| children(top)).filter_map(charged).collect();
        let average = each.iter().sum::<f64>() / each.len() as f64;
        Self {
            server_mib: resident(server.pid),
            launcher_mib: resident(launcher),
            compartment_mib: (!each.is_empty()).then_some(average),
        }
    }
}

/// What is charged to a compartment's cgroup; `None` in a hierarchy that does not count memory.
fn charged(path: PathBuf) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(path.join(file)).ok()?.trim().parse::<u64>().ok();
    read("memory.current").or_else(|| read("memory.usage_in_bytes")).map(mib)
}

fn resident(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(mib(kib << 10))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sockets_and_pipes_say_nothing_and_names_do() {
        for (name, wanted) in [
            ("socket:[123]", "socket"),
            ("pipe:[9]", "pipe"),
            ("anon_inode:[eventfd]", "anon_inode:[eventfd]"),
            ("/memfd:guest-config (deleted)", "/memfd:guest-config (deleted)"),
        ] {
            assert_eq!(without_number(name), wanted);
        }
    }

    #[test]
    fn only_what_is_more_is_left() {
        let of = |things: &[(&str, usize)]| Traces {
            things: things.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            compartments: 0,
        };
        let before = of(&[("mount of the server: /", 1), ("descriptor of the server: socket", 5)]);
        let after = of(&[("descriptor of the server: socket", 7), ("process node", 1)]);
        let left =
            [("descriptor of the server: socket".to_owned(), 2), ("process node".to_owned(), 1)];
        assert_eq!(after.beyond(&before), left);
        assert!(before.beyond(&before).is_empty());
    }
}
