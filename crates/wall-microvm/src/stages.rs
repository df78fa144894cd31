//! From a fork of the launcher to the program that runs the machine: [`become_guest`] is the privileged sequence, a list
//! of stages.
//!
//! Who breaks out of the virtual machine finds a root directory with nothing in it but that program's own files, an
//! empty network namespace, a user that nobody is on the host, no capability, and a system call filter.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use bulkhead_wall::WallError;
use bulkhead_wall_process::build::{Child, Plan};
use bulkhead_wall_process::kind::{null, stage};
use bulkhead_wall_process::namespaces::{self, ZYGOTE_UID};
use bulkhead_wall_process::{mounts, sys};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::driver::{Accelerator, Attached, INITRAMFS, KERNEL, KVM, Machine};
use crate::{Microvm, memory_mib, parcel, processors};

/// Where the new root is built: a directory of the image that is empty, and is no longer seen once it is the root.
const WORKSHOP: &str = "scratch";

/// Kernel and initramfs, in the new root.
const IMAGE: &str = "/machine";

/// The descriptors that the program is started with, beside the standard ones.
const STREAM: i32 = 3;
const PARCEL: i32 = 4;
const WORDS: i32 = 5;
const KVM_DOOR: i32 = 6;

/// Open files of the program that runs a machine.
const OPEN_FILES_MAX: u64 = 256;

/// Process 1 on its way to the machine. Returns only when a stage failed.
pub(crate) fn become_guest(wall: &Microvm, child: Child<'_>) -> WallError {
    let plan = child.plan;
    let program = wall.driver.program();
    let done = (|| {
        stage("session", rustix::process::setsid().map_err(io::Error::from))?;
        stage("cgroup", plan.cgroups.join_base(plan.number))?;
        stage("cgroup_namespace", sys::unshare(libc::CLONE_NEWCGROUP))?;
        stage("host_name", rustix::system::sethostname(b"sandbox").map_err(io::Error::from))?;
        // A server keeps its files to itself; what is built here is for a program that is nobody to those who built it.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        let machine = machine(wall, &plan);
        let parcel = stage("parcel", parcel::pack(plan.spec, plan.rootfs))?;
        let door = stage("kvm", door(wall.accelerator))?;
        stage("mounts", build_root(wall, plan.rootfs))?;
        stage("pivot_root", mounts::pivot(&plan.rootfs.join(WORKSHOP)))?;
        stage("rlimits", sys::limit(libc::RLIMIT_CORE, 0))?;
        stage("rlimits", sys::limit_at_most(libc::RLIMIT_NOFILE, OPEN_FILES_MAX))?;
        stage("rlimits", sys::limit(libc::RLIMIT_MSGQUEUE, 0))?;
        stage("user_namespace", namespaces::enter_user_namespace())?;
        stage("uid_map", child.await_mapping())?;
        // No root even there; with the uid go all capabilities.
        stage("user", sys::become_user(ZYGOTE_UID, ZYGOTE_UID))?;
        stage("no_new_privs", rustix::thread::set_no_new_privs(true).map_err(io::Error::from))?;
        stage("death_signal", sys::die_with_launcher())?;
        let attached = Attached {
            stream: STREAM,
            parcel: PARCEL,
            words: WORDS,
            kvm: door.as_ref().map(|_| KVM_DOOR),
        };
        stage("descriptors", descriptors(child.stream, child.words, parcel, door))?;
        Ok(wall.driver.arguments(&machine, &attached))
    })();
    match done {
        Err(error) => error,
        Ok(arguments) => {
            #[allow(
                clippy::disallowed_methods,
                reason = "starting guests is what the launcher is for"
            )]
            let error = Command::new(program).args(arguments).env_clear().exec();
            WallError::new("exec", format!("{}: {error}", program.display()))
        }
    }
}

fn machine(wall: &Microvm, plan: &Plan<'_>) -> Machine {
    Machine {
        kernel: Path::new(IMAGE).join(KERNEL),
        initramfs: Path::new(IMAGE).join(INITRAMFS),
        memory_mib: memory_mib(plan.spec),
        processors: processors(wall.accelerator),
        accelerator: wall.accelerator,
        time_stamp_khz: match wall.accelerator {
            Accelerator::Kvm => 0,
            Accelerator::Emulation => sys::time_stamp_khz(),
        },
    }
}

/// Opened while this is root still: the program itself may not.
fn door(accelerator: Accelerator) -> io::Result<Option<OwnedFd>> {
    match accelerator {
        Accelerator::Emulation => Ok(None),
        Accelerator::Kvm => {
            Ok(Some(rustix::fs::open(KVM, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?))
        }
    }
}

/// Builds the root directory of the program, in a mount namespace of its own.
fn build_root(wall: &Microvm, rootfs: &Path) -> io::Result<()> {
    let files = wall.driver.files()?;
    mounts::keep_to_oneself()?;
    let root = rootfs.join(WORKSHOP);
    let at = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &root, "tmpfs", flags, c"size=1m,nr_inodes=1024,mode=0755")?;
    let show = |source: &Path, target: &Path| {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(target, "")?;
        mounts::bind_read_only(source, target)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", source.display())))
    };
    for file in &files {
        show(file, &at(file))?;
    }
    for name in [KERNEL, INITRAMFS] {
        show(&wall.image.join(name), &at(Path::new(IMAGE)).join(name))?;
    }
    std::fs::create_dir(at(Path::new("/dev")))?;
    mounts::devices(&root)?;
    Ok(mount_remount(&root, flags | MountFlags::RDONLY, c"")?)
}

/// Leaves open: null as standard input, the launcher's pipe as output, and what is attached to the machine.
fn descriptors(
    stream: OwnedFd,
    words: OwnedFd,
    parcel: OwnedFd,
    door: Option<OwnedFd>,
) -> io::Result<()> {
    // Above the numbers that are given away; the low ones are closed before those are, not after.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
    let moved = |fd: OwnedFd| high(&fd);
    let (out, err) = (high(&words)?, high(&words)?);
    let (stream, parcel, last) = (moved(stream)?, moved(parcel)?, moved(words)?);
    let door = door.map(moved).transpose()?;
    sys::place(null()?, 0)?;
    sys::place(out, 1)?;
    sys::place(err, 2)?;
    sys::place(stream, STREAM)?;
    sys::place(parcel, PARCEL)?;
    sys::place(last, WORDS)?;
    if let Some(door) = door {
        sys::place(door, KVM_DOOR)?;
        return sys::close_on_exec(7, u32::MAX);
    }
    sys::close_on_exec(6, u32::MAX)
}
