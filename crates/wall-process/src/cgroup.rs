//! cgroups: where they are on this machine (v1, v2, or both side by side), and one tree per compartment.
//!
//! ```text
//! <own cgroup>/bulkhead-<instance>/c<number>/base      guest and zygotes
//!                                           /s<slot>   one sandbox at a time
//! ```
//! On v1 there is one such tree per hierarchy. Memory and process limits are set per slot; CPU weight per
//! compartment, where a controller is there for it.

mod layout;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

pub use layout::{Hierarchy, Layout, LayoutError, detect};

pub use bulkhead_guest::config::BASE_MEMORY_MIB;

/// Rounds of killing and looking again when something is to be removed, 5 ms apart.
const ROUNDS_MAX: u32 = 1_000;

/// The trees of one server: `bulkhead-<instance>` in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
    instance: String,
}

/// What a compartment's tree is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Memory of all of it, MiB.
    pub memory_mib: u64,
    /// Processes and threads of all of it; `None` where the limits of its parts do.
    pub tasks: Option<u64>,
    /// What guest and zygotes may use of it; `None` where the wall's kernel is among them.
    pub base: Option<BaseTree>,
    /// Cgroups of its own that each slot gets; none where the wall's kernel is not the host's.
    pub slots: Option<SlotTree>,
}

/// What the cgroup of guest and zygotes is to look like. Without limits of its own, a bundle could use up what is meant
/// for all slots, and every process of the machine, while it loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseTree {
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Processes and threads.
    pub tasks: u64,
}

/// What each slot's cgroup is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotTree {
    /// How many there are.
    pub count: u32,
    /// Memory of each, MiB.
    pub memory_mib: u64,
    /// Processes and threads of each.
    pub tasks: u64,
}

/// Open files of a slot, to be handed to the guest.
#[derive(Debug)]
pub(crate) struct SlotFiles {
    pub(crate) join: Vec<OwnedFd>,
    pub(crate) memory_peak: Option<OwnedFd>,
    pub(crate) memory_events: Option<OwnedFd>,
    pub(crate) pids_events: Option<OwnedFd>,
}

impl Cgroups {
    /// For the server `instance`: letters, digits and dashes, the same at every start of that server.
    #[must_use]
    pub fn new(layout: Layout, instance: &str) -> Self {
        Self { layout, instance: format!("bulkhead-{instance}") }
    }

    fn tops(&self) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        self.layout.hierarchies.iter().map(|it| (it, it.own.join(&self.instance)))
    }

    fn compartment(&self, hierarchy: &Hierarchy, number: u64) -> PathBuf {
        hierarchy.own.join(&self.instance).join(format!("c{number}"))
    }

    /// Makes the top of each tree.
    ///
    /// # Errors
    /// Names the file that could not be made or written.
    pub fn prepare(&self) -> io::Result<()> {
        for (hierarchy, top) in self.tops() {
            if hierarchy.v2 {
                enable(&hierarchy.own, hierarchy)?;
            }
            make(&top)?;
            if hierarchy.v2 {
                enable(&top, hierarchy)?;
            }
        }
        Ok(())
    }

    /// Makes the tree of a compartment, with its limits.
    pub(crate) fn create(&self, number: u64, tree: &Tree) -> io::Result<()> {
        for hierarchy in &self.layout.hierarchies {
            let top = self.compartment(hierarchy, number);
            make(&top)?;
            if hierarchy.v2 {
                enable(&top, hierarchy)?;
            }
            if hierarchy.has("memory") {
                set_memory(&top, hierarchy, tree.memory_mib)?;
            }
            if let Some(tasks) = tree.tasks.filter(|_| hierarchy.has("pids")) {
                set(&top, "pids.max", tasks)?;
            }
            let base = top.join("base");
            make(&base)?;
            if let Some(limits) = &tree.base {
                limit(&base, hierarchy, limits.memory_mib, limits.tasks)?;
            }
            if let Some(slots) = &tree.slots {
                create_slots(&top, hierarchy, slots)?;
            }
        }
        Ok(())
    }

    /// Puts the calling process into the compartment's `base`.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn join_base(&self, number: u64) -> io::Result<()> {
        for hierarchy in &self.layout.hierarchies {
            let procs = self.compartment(hierarchy, number).join("base/cgroup.procs");
            write(&procs, "0")?;
        }
        Ok(())
    }

    /// Opens a slot's files. The kernel will judge their use by who opens them here: the host's root.
    pub(crate) fn open_slot(&self, number: u64, slot: u32) -> io::Result<SlotFiles> {
        let mut files = SlotFiles {
            join: Vec::new(),
            memory_peak: None,
            memory_events: None,
            pids_events: None,
        };
        for hierarchy in
            self.layout.hierarchies.iter().filter(|it| it.has("memory") || it.has("pids"))
        {
            let path = self.compartment(hierarchy, number).join(slot_name(slot));
            files.join.push(open(&path.join("cgroup.procs"), OFlags::RDWR)?);
            if hierarchy.has("memory") {
                let (peak, events) = hierarchy.memory_files();
                files.memory_peak = open(&path.join(peak), OFlags::RDWR).ok();
                files.memory_events = Some(open(&path.join(events), OFlags::RDONLY)?);
            }
            if hierarchy.has("pids") {
                files.pids_events = Some(open(&path.join("pids.events"), OFlags::RDONLY)?);
            }
        }
        Ok(files)
    }

    /// Memory in use by a compartment, bytes.
    pub(crate) fn memory_bytes(&self, number: u64) -> Option<u64> {
        let hierarchy = self.layout.hierarchies.iter().find(|it| it.has("memory"))?;
        let file = if hierarchy.v2 { "memory.current" } else { "memory.usage_in_bytes" };
        let path = self.compartment(hierarchy, number).join(file);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// Removes a compartment's tree, in which nothing runs any more. `false` while the kernel still holds on to it.
    pub(crate) fn remove(&self, number: u64) -> io::Result<bool> {
        let mut gone = true;
        for hierarchy in &self.layout.hierarchies {
            gone &= remove_tree(&self.compartment(hierarchy, number))?;
        }
        Ok(gone)
    }

    /// Kills whatever an earlier server of this instance left behind, and removes its trees.
    ///
    /// # Errors
    /// When something could not be killed or removed within 5 s.
    pub fn clean_up(&self) -> io::Result<()> {
        for (_, top) in self.tops() {
            let mut rounds = 0;
            while top.exists() {
                kill_below(&top)?;
                if remove_tree(&top)? {
                    break;
                }
                rounds += 1;
                if rounds > ROUNDS_MAX {
                    let left =
                        format!("{} can't be removed: something in it lives on", top.display());
                    return Err(io::Error::other(left));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

fn create_slots(top: &Path, hierarchy: &Hierarchy, slots: &SlotTree) -> io::Result<()> {
    if !hierarchy.has("memory") && !hierarchy.has("pids") {
        return Ok(());
    }
    for slot in 0..slots.count {
        let path = top.join(slot_name(slot));
        make(&path)?;
        limit(&path, hierarchy, slots.memory_mib, slots.tasks)?;
    }
    Ok(())
}

fn limit(path: &Path, hierarchy: &Hierarchy, memory_mib: u64, tasks: u64) -> io::Result<()> {
    if hierarchy.has("memory") {
        set_memory(path, hierarchy, memory_mib)?;
    }
    if hierarchy.has("pids") {
        set(path, "pids.max", tasks)?;
    }
    Ok(())
}

/// The last part of the path of a slot's cgroups.
pub(crate) fn slot_name(slot: u32) -> String {
    format!("s{slot}")
}

impl Hierarchy {
    fn memory_files(&self) -> (&'static str, &'static str) {
        if self.v2 {
            ("memory.peak", "memory.events")
        } else {
            ("memory.max_usage_in_bytes", "memory.oom_control")
        }
    }
}

fn set_memory(path: &Path, hierarchy: &Hierarchy, mib: u64) -> io::Result<()> {
    let bytes = mib << 20;
    if !hierarchy.v2 {
        return set(path, "memory.limit_in_bytes", bytes);
    }
    set(path, "memory.max", bytes)?;
    // Swap would turn "out of memory" into "slow"; a kernel without swap accounting has no such file.
    match set(path, "memory.swap.max", 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Lets children of a v2 cgroup have controllers of their own.
fn enable(path: &Path, hierarchy: &Hierarchy) -> io::Result<()> {
    for controller in &hierarchy.controllers {
        write(&path.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

fn set(path: &Path, file: &str, value: u64) -> io::Result<()> {
    write(&path.join(file), &value.to_string())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| named(path, &error))
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|error| named(path, &error)),
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| named(path, &error.into()))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Somebody else, such as a killed server's launcher, has removed it. What is read of a cgroup in that very moment is
/// answered with ENODEV.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        entries => entries.map_err(|error| named(path, &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = match entry {
            Err(error) if is_gone(&error) => return Ok(found),
            entry => entry.map_err(|error| named(path, &error))?,
        };
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Depth first. `false` when something is still busy.
fn remove_tree(path: &Path) -> io::Result<bool> {
    let mut gone = true;
    for child in children(path)? {
        gone &= remove_tree(&child)?;
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(gone),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(error) => Err(named(path, &error)),
    }
}

fn kill_below(path: &Path) -> io::Result<()> {
    for child in children(path)? {
        kill_below(&child)?;
    }
    let procs = match fs::read_to_string(path.join("cgroup.procs")) {
        Err(error) if is_gone(&error) => return Ok(()),
        procs => procs.map_err(|error| named(path, &error))?,
    };
    for pid in procs
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
