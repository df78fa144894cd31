//! The seam between this wall and the program that runs virtual machines. QEMU is the one there is; Firecracker or Cloud
//! Hypervisor would be another [`Driver`], chosen in [`crate::Microvm::with`]: the launcher's stages, the parcel, the image
//! and the guest stay as they are.
//!
//! What a driver owes: a machine without network, disk and shared directories, that boots [`Machine::kernel`] with
//! [`Machine::initramfs`] and has three virtio-serial ports, numbered as `bulkhead_guest::machine::ports` says, each
//! connected to a descriptor that the program is started with.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's name in the image's directory: an ELF file that boots by PVH.
pub const KERNEL: &str = "vmlinux";

/// The initramfs' name there.
pub const INITRAMFS: &str = "initramfs";

/// The host's door to hardware virtualization.
pub const KVM: &str = "/dev/kvm";

/// What runs a machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through the host's kernel.
    Kvm,
    /// The driver itself, in software.
    Emulation,
}

impl Accelerator {
    /// How long a machine may take to boot.
    #[must_use]
    pub const fn patience(self) -> Duration {
        match self {
            Self::Kvm => crate::KVM_BOOT_MAX,
            Self::Emulation => crate::EMULATION_BOOT_MAX,
        }
    }
}

/// A machine to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where the driver finds the kernel.
    pub kernel: PathBuf,
    /// Where it finds the initramfs.
    pub initramfs: PathBuf,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Processors.
    pub processors: u32,
    /// What runs it.
    pub accelerator: Accelerator,
    /// How fast the host's time stamp counter counts, kHz; an emulated machine sees the same one.
    pub time_stamp_khz: u64,
}

/// The numbers of the descriptors that the driver is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// A socket: the stream to the worker.
    pub stream: i32,
    /// A file to be read from its start: the parcel.
    pub parcel: i32,
    /// Something to be written to: last words.
    pub words: i32,
    /// [`KVM`], where it is used.
    pub kvm: Option<i32>,
}

/// A program that runs virtual machines.
pub trait Driver: Debug + Send {
    /// Where it is, on the host and in its own root.
    fn program(&self) -> &Path;

    /// All files of the host that it opens, itself included; they have the same paths in its root.
    ///
    /// # Errors
    /// When they can't be found out.
    fn files(&self) -> io::Result<Vec<PathBuf>>;

    /// Its command line after the program's name. Whatever closes something is said, defaults included.
    fn arguments(&self, machine: &Machine, attached: &Attached) -> Vec<String>;
}

/// The kernel's command line, whatever runs it.
#[must_use]
pub fn kernel_command_line(machine: &Machine) -> String {
    let mut words = vec![
        "quiet",
        // A machine whose process 1 leaves, or whose kernel fails, ends at once.
        "panic=-1",
        "oops=panic",
        "reboot=t",
        // There is no other clock to hold against it.
        "tsc=reliable",
        "lsm=landlock,yama",
        "module.sig_enforce=1",
        "random.trust_cpu=on",
    ];
    let khz = format!("tsc_early_khz={}", machine.time_stamp_khz);
    if machine.accelerator == Accelerator::Emulation {
        // Measured outside: inside, a busy host spoils it, and a kernel without a clock waits for ever.
        words.push(&khz);
    }
    words.join(" ")
}
