//! The microVM wall: each compartment is a virtual machine with a kernel of its own, and what runs that machine is
//! confined on the host as a compartment would be.
//!
//! The launcher of `wall-process` builds these compartments too: [`Microvm`] is the [`Kind`] that it is started with.
//!
//! ```text
//! launcher ── fork, new namespaces ── a root of its own: QEMU, its libraries, kernel, initramfs, nothing else
//!                                      └─ user namespace, nobody for the host, seccomp ── QEMU (`microvm`)
//!                                          └─ Linux ── guest (process 1) ── zygote ── sandboxes
//! ```
//! The machine has three serial ports and nothing else: the stream to the worker, the parcel (how to build the place,
//! and the bundles), and one for last words. No network, no disk, no shared directory.
//!
//! Layout, in reading order: [`driver`] is the seam between this wall and the program that runs machines, `qemu` the one
//! program so far; `stages` goes from a fork of the launcher to that program; `parcel` is what a machine is handed;
//! [`probe`] says what this machine can do; [`wall`] decides between KVM and emulation by booting, and [`remembered`] keeps
//! what came of it.
//!
//! Invariant: knows no tenants, no queues, and nothing of Node.js; a restriction that can't be applied is an error that
//! names its stage.

pub mod driver;
pub mod probe;
pub mod remembered;
pub mod wall;

mod parcel;
mod qemu;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_wall::{Capability, CompartmentSpec};
use bulkhead_wall_process::build::Stage;
use bulkhead_wall_process::cgroup::{BASE_MEMORY_MIB, Tree};
use bulkhead_wall_process::kind::Kind;

use crate::driver::{Accelerator, Driver};

/// Memory of the machine's kernel, of the initramfs as it lies there and as it is unpacked, MiB.
const KERNEL_MEMORY_MIB: u64 = 512;

/// Memory for each zygote after the first, MiB: Node.js with a bundle of ordinary size needs about 60, and its bundle lies
/// in the machine's memory too.
const ZYGOTE_MEMORY_MIB: u64 = 128;

/// Zygotes in one machine at the same time. With this many, what zygotes may need is below what sandboxes have; a
/// tenant's ninth function gets a second machine.
pub(crate) const ZYGOTES_MAX: u32 = 8;

/// The most memory of a machine, MiB, unless a single sandbox needs more: sandboxes share it, each within its limit.
const MEMORY_MIB_MAX: u64 = 4_096;

/// What the program that runs the machine uses beside the machine's memory, MiB: its own, and translated code.
const DRIVER_MEMORY_MIB: u64 = 512;

/// Its threads.
const DRIVER_TASKS: u64 = 64;

/// Processors of a machine, where the host has as many. An emulated one has one: each is a thread that the others wait
/// for, and a busy host makes them wait long.
const PROCESSORS_MAX: u32 = 4;

/// How long a machine has to boot where the hardware runs it; usually it takes less than a second.
pub const KVM_BOOT_MAX: Duration = Duration::from_secs(20);

/// The same where it is emulated; usually three seconds.
pub const EMULATION_BOOT_MAX: Duration = Duration::from_secs(120);

/// The name of the kind that boots with KVM; [`wall::join`] makes one wall of both.
pub(crate) const NAME_KVM: &str = "microvm-kvm";

/// The wall's name, and that of the kind that emulates.
pub(crate) const NAME: &str = "microvm";

/// The wall, with one way of running machines.
#[derive(Debug)]
pub struct Microvm {
    driver: Box<dyn Driver>,
    /// Kernel and initramfs, which `cargo xtask image` puts beside the runtime image.
    image: PathBuf,
    accelerator: Accelerator,
}

impl Microvm {
    /// The ways in which this machine may run them; none where QEMU or the image is missing. `runtime` is the directory
    /// of the runtime image.
    #[must_use]
    pub fn find(runtime: &Path) -> Vec<Self> {
        let image = runtime.join("microvm");
        let there =
            [driver::KERNEL, driver::INITRAMFS].iter().all(|name| image.join(name).is_file());
        let mut ways = Vec::new();
        if !there || qemu::find().is_none() {
            return ways;
        }
        let kvm = Path::new(driver::KVM).exists().then_some(Accelerator::Kvm);
        for accelerator in kvm.into_iter().chain([Accelerator::Emulation]) {
            ways.extend(Self::with(&image, accelerator));
        }
        ways
    }

    /// One way; `None` without QEMU. `image` is the directory of kernel and initramfs.
    #[must_use]
    pub fn with(image: &Path, accelerator: Accelerator) -> Option<Self> {
        let driver: Box<dyn Driver> = Box::new(qemu::find()?);
        Some(Self { driver, image: image.to_owned(), accelerator })
    }
}

/// Memory of a machine, MiB.
fn memory_mib(spec: &CompartmentSpec) -> u64 {
    let more_zygotes = u64::from(spec.zygotes.saturating_sub(1)) * ZYGOTE_MEMORY_MIB;
    let base = KERNEL_MEMORY_MIB + BASE_MEMORY_MIB + more_zygotes;
    let all = base + u64::from(spec.slots) * spec.memory_mib;
    all.min(MEMORY_MIB_MAX.max(base + spec.memory_mib))
}

fn processors(accelerator: Accelerator) -> u32 {
    let host =
        std::thread::available_parallelism().map_or(1, |it| it.get().try_into().unwrap_or(1));
    match accelerator {
        Accelerator::Kvm => PROCESSORS_MAX.min(host),
        Accelerator::Emulation => 1,
    }
}

impl Kind for Microvm {
    fn name(&self) -> &'static str {
        match self.accelerator {
            Accelerator::Kvm => NAME_KVM,
            Accelerator::Emulation => NAME,
        }
    }

    fn probe(&self) -> Capability {
        probe::quick(&self.image)
    }

    fn zygotes_max(&self) -> u32 {
        ZYGOTES_MAX
    }

    fn patience(&self) -> Duration {
        self.accelerator.patience()
    }

    fn tree(&self, spec: &CompartmentSpec) -> Tree {
        let memory_mib = memory_mib(spec) + DRIVER_MEMORY_MIB;
        Tree { memory_mib, tasks: Some(DRIVER_TASKS), base: None, slots: None }
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        stages::stages(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_what_its_sandboxes_need_within_bounds() {
        let spec = |slots, memory_mib| CompartmentSpec {
            mounts: Vec::new(),
            slots,
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib,
            processes: 32,
            zygotes: 0,
        };
        assert_eq!(memory_mib(&spec(4, 128)), 512 + 1024 + 512);
        assert_eq!(memory_mib(&spec(64, 256)), 4096);
        assert_eq!(memory_mib(&spec(64, 8192)), 512 + 1024 + 8192);
        let several = |slots, zygotes| CompartmentSpec { zygotes, ..spec(slots, 128) };
        assert_eq!(memory_mib(&several(4, 8)), 512 + 1024 + 7 * 128 + 512);
        assert_eq!(memory_mib(&several(64, 8)), 4096);
    }
}
