//! The gVisor wall: between compartments and the host's kernel stands a kernel of its own, `runsc`, in user space.
//!
//! The launcher of `wall-process` builds these compartments too: [`Gvisor`] is the [`Kind`] that it is started with.
//!
//! ```text
//! launcher ── fork, new namespaces ── a root of its own: runsc, the image, the bundle, nothing else
//!                                      └─ user namespace, whose root runsc is (nobody, for the host)
//!                                          └─ runsc ── gofer (files), sandbox (gVisor's kernel)
//!                                                       └─ guest (process 1 of gVisor) ── zygote ── sandboxes
//! ```
//! `runsc` is process 1 of a process-id namespace that dies with the launcher, and what it keeps on disk is in a
//! `tmpfs` of its own mount namespace: so a compartment leaves nothing, however it ends.
//!
//! Layout, in reading order: `stages` goes from a fork of the launcher to `runsc`; `spec` is what `runsc` is told;
//! [`probe`] says what this machine can do. [`LACKS`] is what gVisor's kernel does not offer and the guest does in
//! another way.
//!
//! Invariant: knows no tenants, no queues, and nothing of Node.js; a restriction that can't be applied is an error that
//! names its stage.

pub mod probe;

mod spec;
mod stages;

use std::path::PathBuf;

use bulkhead_guest::config::{Lack, RUNTIME_TASKS};
use bulkhead_wall::{Capability, CompartmentSpec};
use bulkhead_wall_process::build::Stage;
use bulkhead_wall_process::cgroup::{BASE_MEMORY_MIB, Tree};
use bulkhead_wall_process::kind::Kind;

/// What gVisor's kernel (the release of July 2024) does not offer.
pub const LACKS: [Lack; 10] = [
    Lack::Landlock,
    Lack::ProcessDescriptors,
    Lack::StatusFields,
    Lack::SlotCgroups,
    Lack::HiddenProcesses,
    Lack::AmbientCapabilities,
    Lack::SomeResourceLimits,
    Lack::InodeLimits,
    Lack::TmpLink,
    Lack::KernelFiles,
];

/// What gVisor's kernel itself may use, MiB: its heap, page tables and copies of files in its cache.
const KERNEL_MEMORY_MIB: u64 = 512;

/// The host's threads of gVisor's kernel and gofer, whatever runs behind the wall.
const KERNEL_TASKS: u64 = 512;

/// Threads of the host that one of a sandbox's may take: itself as systrap runs it, and what serves it.
const TASKS_EACH: u64 = 3;

/// The wall, built with one `runsc`.
#[derive(Debug, Clone)]
pub struct Gvisor {
    /// The program, linked statically.
    pub runsc: PathBuf,
}

impl Gvisor {
    /// With the `runsc` of this machine; `None` where there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        probe::find().map(|runsc| Self { runsc })
    }
}

impl Kind for Gvisor {
    fn name(&self) -> &'static str {
        "gvisor"
    }

    fn probe(&self) -> Capability {
        probe::quick(Some(&self.runsc))
    }

    fn tree(&self, spec: &CompartmentSpec) -> Tree {
        // Scratch directories are gVisor's memory too.
        let slots = u64::from(spec.slots);
        let memory_mib =
            KERNEL_MEMORY_MIB + BASE_MEMORY_MIB + slots * (spec.memory_mib + spec.scratch_mib);
        let each = u64::from(spec.processes) + RUNTIME_TASKS;
        let tasks = KERNEL_TASKS + TASKS_EACH * (slots + 1) * each;
        Tree { memory_mib, tasks: Some(tasks), base: None, slots: None }
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        stages::stages(&self.runsc)
    }
}
