//! From a fork of the launcher to the program that runs the machine: [`stages`] is the privileged sequence, a list of stages.
//!
//! Who breaks out of the virtual machine finds a root directory with nothing in it but that program's own files, an
//! empty network namespace, a user that nobody is on the host, no capability, and a system call filter.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use bulkhead_wall_process::build::{Plan, Stage};
use bulkhead_wall_process::kind::null;
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

/// What one stage prepares for a later one.
#[derive(Default)]
struct Prepared {
    machine: Option<Machine>,
    parcel: Option<OwnedFd>,
    door: Option<OwnedFd>,
    arguments: Vec<String>,
}

/// Process 1 on its way to the machine.
pub(crate) fn stages(wall: &Microvm) -> Vec<Stage<'_>> {
    let prepared = Rc::new(RefCell::new(Prepared::default()));
    let with = || Rc::clone(&prepared);
    let (parcel, door_of, attached, ready) = (with(), with(), with(), with());
    vec![
        Stage::new("session", |_| Ok(rustix::process::setsid().map(drop)?)),
        Stage::new("cgroup", |child| child.plan.cgroups.join_base(child.plan.number)),
        Stage::new("cgroup_namespace", |_| sys::unshare(libc::CLONE_NEWCGROUP)),
        Stage::new("host_name", |_| Ok(rustix::system::sethostname(b"sandbox")?)),
        Stage::new("umask", |_| {
            // A server keeps its files to itself; what is built here is for a program that is nobody to those who
            // built it.
            rustix::process::umask(Mode::WGRP | Mode::WOTH);
            Ok(())
        }),
        Stage::new("parcel", move |child| {
            let plan = &child.plan;
            let mut prepared = parcel.borrow_mut();
            prepared.machine = Some(machine(wall, plan));
            prepared.parcel = Some(parcel::pack(plan.spec, plan.bundles, plan.rootfs)?);
            Ok(())
        }),
        Stage::new("kvm", move |_| {
            door_of.borrow_mut().door = door(wall.accelerator)?;
            Ok(())
        }),
        Stage::new("mounts", move |child| build_root(wall, child.plan.rootfs)),
        Stage::new("pivot_root", |child| mounts::pivot(&child.plan.rootfs.join(WORKSHOP))),
        Stage::new("core_limit", |_| sys::limit(libc::RLIMIT_CORE, 0)),
        Stage::new("files_limit", |_| sys::limit_at_most(libc::RLIMIT_NOFILE, OPEN_FILES_MAX)),
        Stage::new("queues_limit", |_| sys::limit(libc::RLIMIT_MSGQUEUE, 0)),
        Stage::new("user_namespace", |_| namespaces::enter_user_namespace()),
        Stage::new("uid_map", |child| child.await_mapping()),
        // No root even there; with the uid go all capabilities.
        Stage::new("user", |_| sys::become_user(ZYGOTE_UID, ZYGOTE_UID)),
        Stage::new("no_new_privs", |_| Ok(rustix::thread::set_no_new_privs(true)?)),
        Stage::new("death_signal", |_| sys::die_with_launcher()),
        Stage::new("descriptors", move |child| {
            let stream = child.take_stream()?;
            attach(wall, &mut attached.borrow_mut(), stream, &child.words)
        }),
        Stage::new("exec", move |_| Err(exec(wall, &ready.borrow().arguments))),
    ]
}

/// Puts descriptors where the program will look for them, and tells it so.
fn attach(
    wall: &Microvm,
    prepared: &mut Prepared,
    stream: OwnedFd,
    words: &OwnedFd,
) -> io::Result<()> {
    let lost = || io::Error::other("a stage before did not prepare it");
    let machine = prepared.machine.take().ok_or_else(lost)?;
    let parcel = prepared.parcel.take().ok_or_else(lost)?;
    let door = prepared.door.take();
    let kvm = door.as_ref().map(|_| KVM_DOOR);
    let attached = Attached { stream: STREAM, parcel: PARCEL, words: WORDS, kvm };
    descriptors(stream, words, parcel, door)?;
    prepared.arguments = wall.driver.arguments(&machine, &attached);
    Ok(())
}

/// Runs the program; returns only when that failed.
fn exec(wall: &Microvm, arguments: &[String]) -> io::Error {
    let program = wall.driver.program();
    #[allow(clippy::disallowed_methods, reason = "starting guests is what the launcher is for")]
    let error = Command::new(program).args(arguments).env_clear().exec();
    io::Error::new(error.kind(), format!("{}: {error}", program.display()))
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
    words: &OwnedFd,
    parcel: OwnedFd,
    door: Option<OwnedFd>,
) -> io::Result<()> {
    // Above the numbers that are given away; the low ones are closed before those are, not after.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
    let moved = |fd: OwnedFd| high(&fd);
    let (out, err, last) = (high(words)?, high(words)?, high(words)?);
    let (stream, parcel) = (moved(stream)?, moved(parcel)?);
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
