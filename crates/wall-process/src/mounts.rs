//! The compartment's file system: the read-only runtime image, and in it a small `/proc`, `/dev`, the bundle and one
//! scratch directory per slot, each a file system of its own with size and inode limits.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use bulkhead_wall::CompartmentSpec;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, mknodat, openat2, symlink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use crate::build::Plan;
use crate::namespaces::{SLOT_UID_FIRST, host_uid};

/// Where the slots' places are.
const SCRATCH: &str = "/scratch";

/// The scratch directory in a slot's place. It is one level down, in a directory that only the slot's user may pass
/// through: whoever can name a scratch directory can ask when it was changed and how full it is.
const HOME: &str = "home";

/// A slot's scratch directory.
#[must_use]
pub fn scratch_of(slot: u32) -> PathBuf {
    Path::new(SCRATCH).join(slot.to_string()).join(HOME)
}

/// Where bundles are.
pub const BUNDLE: &str = "/bundle";

/// The device files there are: name, major, minor.
const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DATA: MountFlags = LOCKED.union(MountFlags::NOEXEC);

/// Builds the file system below `rootfs`, in a mount namespace of its own.
pub(crate) fn build(plan: &Plan<'_>) -> io::Result<()> {
    let rootfs = plan.rootfs;
    keep_to_oneself()?;
    bind_read_only(rootfs, rootfs)?;
    proc(rootfs)?;
    devices(rootfs)?;
    bundles(rootfs, plan)?;
    scratch(rootfs, plan.spec, plan.place)
}

/// Lets nothing that is mounted here show elsewhere.
///
/// # Errors
/// Those of `mount(2)`.
pub fn keep_to_oneself() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Makes a directory or file appear at another place, read-only, without set-uid programs and devices.
///
/// # Errors
/// Those of `mount(2)`.
pub fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    mount_bind(source, target)?;
    Ok(mount_remount(target, MountFlags::BIND | MountFlags::RDONLY | LOCKED, c"")?)
}

/// Makes `rootfs` the root, and the host's root unreachable.
///
/// # Errors
/// Those of the system calls.
pub fn pivot(rootfs: &Path) -> io::Result<()> {
    std::env::set_current_dir(rootfs)?;
    // Old and new root on the same place: the old one is on top and goes away with the unmount (pivot_root(2)).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

fn proc(rootfs: &Path) -> io::Result<()> {
    // Only processes, and of these only one's own: no kernel settings, no symbols, no keys, no interrupts.
    mount("proc", rootfs.join("proc"), "proc", DATA, c"hidepid=invisible,subset=pid")?;
    Ok(())
}

/// Mounts `/dev` with the five devices there are.
///
/// # Errors
/// Those of the system calls.
pub fn devices(rootfs: &Path) -> io::Result<()> {
    let dev = rootfs.join("dev");
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
    mount_remount(&dev, flags | MountFlags::RDONLY, c"")?;
    Ok(())
}

/// Mounts what the specification wants below `/bundle`.
///
/// # Errors
/// Those of the system calls; when a path inside is not below `/bundle`, or one outside not in the plan's place for
/// bundles.
pub fn bundles(rootfs: &Path, plan: &Plan<'_>) -> io::Result<()> {
    let top = rootfs.join("bundle");
    mount("tmpfs", &top, "tmpfs", DATA, c"size=64k,nr_inodes=1024,mode=0755")?;
    for wanted in &plan.spec.mounts {
        let target = rootfs.join(inside_bundle(&wanted.target)?);
        std::fs::create_dir_all(&target)?;
        let source = open_below(plan.bundles, &wanted.source)?;
        // By its descriptor: by its name it could be another directory by now.
        mount_bind(format!("/proc/self/fd/{}", source.as_raw_fd()), &target)?;
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY | DATA, c"")?;
    }
    mount_remount(&top, DATA | MountFlags::RDONLY, c"")?;
    Ok(())
}

/// The path relative to the root, if it is below `/bundle` and goes straight down.
fn inside_bundle(target: &Path) -> io::Result<PathBuf> {
    let below = target.strip_prefix(BUNDLE).ok().filter(|rest| {
        rest.components().next().is_some()
            && rest.components().all(|c| matches!(c, Component::Normal(_)))
    });
    match below {
        Some(rest) => Ok(Path::new("bundle").join(rest)),
        None => Err(io::Error::other(format!("{} is not below {BUNDLE}", target.display()))),
    }
}

/// Opens a directory that has to be below `top`, without following a link on the way: who asks for it is the part of the
/// server that is not root, and must not be shown more of the host than it has.
fn open_below(top: &Path, wanted: &Path) -> io::Result<OwnedFd> {
    let refused = |why: &str| {
        let (wanted, top) = (wanted.display(), top.display());
        io::Error::other(format!("{wanted} can't be mounted: {why} {top}"))
    };
    let below = std::path::absolute(wanted)?;
    let below = below.strip_prefix(top).map_err(|_| refused("it is not below"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(top, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(&top, below, flags, Mode::empty(), resolve)
        .map_err(|error| refused(&format!("({error}) on the way down from")))
}

fn scratch(rootfs: &Path, spec: &CompartmentSpec, place: u32) -> io::Result<()> {
    let top = rootfs.join("scratch");
    let inodes = u64::from(spec.slots) * 2 + 8;
    mount(
        "tmpfs",
        &top,
        "tmpfs",
        DATA,
        &*options(format!("size=64k,nr_inodes={inodes},mode=0711"))?,
    )?;
    for slot in 0..spec.slots {
        let target = slot_place(&top, slot, place)?;
        let uid = host_uid(place) + SLOT_UID_FIRST + slot;
        let (size, inodes) = (spec.scratch_mib, spec.scratch_inodes);
        let limits = format!("size={size}m,nr_inodes={inodes},mode=0700,uid={uid},gid={uid}");
        mount("tmpfs", &target, "tmpfs", DATA, &*options(limits)?)?;
    }
    mount_remount(&top, DATA | MountFlags::RDONLY, c"")?;
    Ok(())
}

/// Makes a slot's place, through which only guest and slot may pass, and returns where its scratch directory is mounted.
///
/// # Errors
/// Those of the system calls.
pub fn slot_place(top: &Path, slot: u32, place: u32) -> io::Result<PathBuf> {
    let here = top.join(slot.to_string());
    std::fs::create_dir(&here)?;
    let (owner, group) = (host_uid(place), host_uid(place) + SLOT_UID_FIRST + slot);
    std::os::unix::fs::chown(&here, Some(owner), Some(group))?;
    rustix::fs::chmod(&here, Mode::RWXU | Mode::XGRP)?;
    let target = here.join(HOME);
    std::fs::create_dir(&target)?;
    Ok(target)
}

fn options(text: String) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_what_is_below_the_servers_place_for_bundles_can_be_mounted() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        std::fs::create_dir_all(top.join("bundles/v1")).unwrap();
        symlink("/etc", top.join("link")).unwrap();
        symlink("bundles", top.join("inner")).unwrap();
        let check = |path: &Path| open_below(top, path).map(drop).map_err(|e| e.to_string());
        assert_eq!(check(&top.join("bundles/v1")), Ok(()));
        for bad in ["link", "link/ssl", "inner/v1", "bundles/../..", "../etc", "nothing"] {
            let why = check(&top.join(bad)).unwrap_err();
            assert!(why.contains("can't be mounted"), "{bad}: {why}");
        }
        for bad in ["/", "/etc", "/root", "etc"] {
            assert!(check(Path::new(bad)).unwrap_err().contains("not below"), "{bad}");
        }
    }

    #[test]
    fn a_bundle_can_be_mounted_below_bundle_only() {
        let check = |path: &str| inside_bundle(Path::new(path)).ok();
        assert_eq!(check("/bundle/v1"), Some(PathBuf::from("bundle/v1")));
        for bad in
            ["/", "/bundle", "/bundle/", "/bundle/../etc", "/etc", "bundle/v1", "/bundle/a/../../x"]
        {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
