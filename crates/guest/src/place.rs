//! Parts of the place in which a guest runs, as every kernel of Linux builds them: for the wall that builds it on the
//! host, and for a virtual machine that builds its own.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, mknodat, symlink};
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The uid of zygotes, inside.
pub const ZYGOTE_UID: u32 = 500;

/// The uid of the first slot, inside; the others follow.
pub const SLOT_UID_FIRST: u32 = 10_000;

/// Where the slots' places are.
const SCRATCH: &str = "/scratch";

/// The scratch directory in a slot's place. It is one level down, in a directory that only the slot's user may pass
/// through: whoever can name a scratch directory can ask when it was changed and how full it is.
const HOME: &str = "home";

/// The device files there are: name, major, minor.
const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// Their names.
pub const DEVICE_NAMES: [&str; 5] =
    [DEVICES[0].0, DEVICES[1].0, DEVICES[2].0, DEVICES[3].0, DEVICES[4].0];

/// Of mounts that hold data and no programs.
pub const DATA: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Size and number of the slots' scratch directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scratch {
    /// How many.
    pub slots: u32,
    /// Of the place's root, as the mounting process knows it; the slots' follow from it.
    pub root_uid: u32,
    /// Of each, MiB.
    pub mib: u64,
    /// Files and directories of each.
    pub inodes: u64,
}

/// Mounts `/proc` below `root`: only processes, and of these only one's own; no kernel settings, no symbols, no keys,
/// no interrupts.
///
/// # Errors
/// Those of `mount(2)`.
pub fn proc(root: &Path) -> io::Result<()> {
    Ok(mount("proc", root.join("proc"), "proc", DATA, c"hidepid=invisible,subset=pid")?)
}

/// Mounts `/dev` below `root`, with the five devices there are.
///
/// # Errors
/// Those of the system calls.
pub fn devices(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", &dev, "tmpfs", flags, c"size=64k,nr_inodes=32,mode=0755")?;
    let dir = rustix::fs::open(&dev, rustix::fs::OFlags::PATH, Mode::empty())?;
    for (name, major, minor) in DEVICES {
        let number = rustix::fs::makedev(major, minor);
        mknodat(&dir, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number)?;
        // mknod is subject to the umask.
        rustix::fs::chmodat(&dir, name, Mode::from_raw_mode(0o666), rustix::fs::AtFlags::empty())?;
    }
    symlink("/proc/self/fd", dev.join("fd"))?;
    Ok(mount_remount(&dev, flags | MountFlags::RDONLY, c"")?)
}

/// A slot's scratch directory.
#[must_use]
pub fn scratch_of(slot: u32) -> PathBuf {
    Path::new(SCRATCH).join(slot.to_string()).join(HOME)
}

/// Mounts a scratch directory for each slot below `root`, each a file system of its own with size and inode limits.
///
/// # Errors
/// Those of the system calls.
pub fn scratch(root: &Path, scratch: &Scratch) -> io::Result<()> {
    let top = root.join(SCRATCH.trim_start_matches('/'));
    let inodes = u64::from(scratch.slots) * 2 + 8;
    let limits = options(format!("size=64k,nr_inodes={inodes},mode=0711"))?;
    mount("tmpfs", &top, "tmpfs", DATA, &*limits)?;
    for slot in 0..scratch.slots {
        let target = slot_place(&top, slot, scratch.root_uid)?;
        let uid = scratch.root_uid + SLOT_UID_FIRST + slot;
        let (size, inodes) = (scratch.mib, scratch.inodes);
        let limits = format!("size={size}m,nr_inodes={inodes},mode=0700,uid={uid},gid={uid}");
        mount("tmpfs", &target, "tmpfs", DATA, &*options(limits)?)?;
    }
    Ok(mount_remount(&top, DATA | MountFlags::RDONLY, c"")?)
}

/// Makes a slot's place, through which only guest and slot may pass, and returns where its scratch directory is mounted.
///
/// # Errors
/// Those of the system calls.
pub fn slot_place(top: &Path, slot: u32, root_uid: u32) -> io::Result<PathBuf> {
    let here = top.join(slot.to_string());
    std::fs::create_dir(&here)?;
    let (owner, group) = (root_uid, root_uid + SLOT_UID_FIRST + slot);
    std::os::unix::fs::chown(&here, Some(owner), Some(group))?;
    rustix::fs::chmod(&here, Mode::RWXU | Mode::XGRP)?;
    let target = here.join(HOME);
    std::fs::create_dir(&target)?;
    Ok(target)
}

/// Text for `mount(2)`.
///
/// # Errors
/// When there is a NUL in it.
pub fn options(text: String) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

/// What a guest may still do: give uids to zygotes and sandboxes, see, kill and clean up after them.
fn kept() -> CapabilitySet {
    CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::KILL
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::SYS_PTRACE
        // Writing the uid map of a child's user namespace needs this one.
        | CapabilitySet::SYS_ADMIN
}

/// Gives up every capability but those that the guest needs, for good.
///
/// # Errors
/// Those of the system calls.
pub fn keep_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().difference(kept()).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // This kernel has no such capability, and so nobody holds it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept(), permitted: kept(), inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}
