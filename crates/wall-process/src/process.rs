//! The process wall itself: what stands between a fork of the launcher and the guest.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use bulkhead_guest::config::{RUNTIME_TASKS, SlotCgroup, SlotConfig};
use bulkhead_guest::fds;
use bulkhead_wall::{Capability, CompartmentSpec};

use crate::build::{Plan, Stage};
use crate::cgroup::{self, BASE_MEMORY_MIB, BaseTree, SlotTree, Tree};
use crate::kind::{GUEST_FILES_MAX, Kind, configuration, guest_config, null};
use crate::namespaces::{self, SLOT_UID_FIRST};
use crate::{mounts, probe, sys};

/// The guest's program, inside.
const GUEST: &str = "/runtime/guest";

/// Processes and threads of guest and zygotes: Node.js has a dozen threads.
const BASE_TASKS: u64 = 256;

/// Processes there that belong to a slot: its sandbox until it has joined the slot's cgroups; who kills and wipes, and its
/// helper.
const TASKS_OF_SLOT_IN_BASE: u64 = 3;

/// Namespaces, mounts, cgroups, seccomp and Landlock of the host's kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Kind for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn probe(&self) -> Capability {
        probe::probe()
    }

    fn tree(&self, spec: &CompartmentSpec) -> Tree {
        let slots = SlotTree {
            count: spec.slots,
            memory_mib: spec.memory_mib,
            tasks: u64::from(spec.processes) + RUNTIME_TASKS,
        };
        let count = u64::from(spec.slots);
        let base = BaseTree {
            memory_mib: BASE_MEMORY_MIB,
            tasks: BASE_TASKS + TASKS_OF_SLOT_IN_BASE * count,
        };
        let memory_mib = count.saturating_mul(spec.memory_mib).saturating_add(BASE_MEMORY_MIB);
        Tree { memory_mib, tasks: None, base: Some(base), slots: Some(slots) }
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        stages()
    }
}

/// Process 1 on its way to the guest.
fn stages() -> Vec<Stage<'static>> {
    vec![
        Stage::new("session", |_| Ok(rustix::process::setsid().map(drop)?)),
        Stage::new("cgroup", |child| child.plan.cgroups.join_base(child.plan.number)),
        Stage::new("cgroup_namespace", |_| sys::unshare(libc::CLONE_NEWCGROUP)),
        Stage::new("host_name", |_| Ok(rustix::system::sethostname(b"sandbox")?)),
        Stage::new("slots", |child| {
            child.slots = slots(&child.plan)?;
            Ok(())
        }),
        Stage::new("mounts", |child| mounts::build(&child.plan)),
        Stage::new("pivot_root", |child| mounts::pivot(child.plan.rootfs)),
        Stage::new("core_limit", |_| sys::limit(libc::RLIMIT_CORE, 0)),
        Stage::new("files_limit", |_| sys::limit_at_most(libc::RLIMIT_NOFILE, GUEST_FILES_MAX)),
        Stage::new("user_namespace", |_| namespaces::enter_user_namespace()),
        Stage::new("uid_map", |child| child.await_mapping()),
        Stage::new("capabilities", |_| namespaces::become_guest()),
        Stage::new("death_signal", |_| sys::die_with_launcher()),
        Stage::new("descriptors", |child| {
            let stream = child.take_stream()?;
            descriptors(stream, &child.words, &child.slots)
        }),
        Stage::new("exec", |_| Err(exec())),
    ]
}

/// Runs the guest; returns only when that failed.
fn exec() -> io::Error {
    #[allow(clippy::disallowed_methods, reason = "starting guests is what the launcher is for")]
    let error = Command::new(GUEST).env_clear().exec();
    io::Error::new(error.kind(), format!("{GUEST}: {error}"))
}

/// The slots' descriptions, with their files at the numbers that the guest will find them at.
fn slots(plan: &Plan<'_>) -> io::Result<Vec<SlotConfig>> {
    let mut number = fds::SLOTS_FIRST;
    let mut placed = |file: OwnedFd| {
        let here = number;
        number += 1;
        // Above every number in use: the files go down to their places one by one.
        sys::place(file, here).map(|()| here)
    };
    let mut slots = Vec::new();
    for slot in 0..plan.spec.slots {
        let files = plan.cgroups.open_slot(plan.number, slot)?;
        let cgroup = SlotCgroup {
            name: cgroup::slot_name(slot),
            join: files.join.into_iter().map(&mut placed).collect::<io::Result<_>>()?,
            memory_peak: files.memory_peak.map(&mut placed).transpose()?,
            memory_events: files.memory_events.map(&mut placed).transpose()?,
            pids_events: files.pids_events.map(&mut placed).transpose()?,
        };
        let scratch = mounts::scratch_of(slot);
        slots.push(SlotConfig { uid: SLOT_UID_FIRST + slot, scratch, cgroup });
    }
    Ok(slots)
}

/// Leaves open: null as standard input and output, the launcher's pipe for the guest's last words, the stream, the
/// configuration and the slots' files.
fn descriptors(stream: OwnedFd, words: &OwnedFd, slots: &[SlotConfig]) -> io::Result<()> {
    let config = guest_config(slots.to_vec(), Vec::new(), Path::new("/"));
    let config = configuration(&config)?;
    for standard in 0..2 {
        sys::place(null()?, standard)?;
    }
    sys::place(rustix::io::fcntl_dupfd_cloexec(words, 5)?, 2)?;
    sys::place(rustix::io::fcntl_dupfd_cloexec(&stream, 5)?, fds::STREAM)?;
    sys::place(config, fds::CONFIG)?;
    let last = slots.iter().flat_map(slot_files).max().unwrap_or(fds::SLOTS_FIRST - 1);
    sys::close_on_exec(5, fds::SLOTS_FIRST.unsigned_abs() - 1)?;
    sys::close_on_exec(last.unsigned_abs() + 1, u32::MAX)
}

fn slot_files(slot: &SlotConfig) -> impl Iterator<Item = i32> {
    let SlotCgroup { join, memory_peak, memory_events, pids_events, .. } = &slot.cgroup;
    join.iter().copied().chain(*memory_peak).chain(*memory_events).chain(*pids_events)
}
