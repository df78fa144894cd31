//! The compartment's file system: the read-only runtime image, and in it a small `/proc`, `/dev`, the bundle and one
//! scratch directory per slot, each a file system of its own with size and inode limits.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use bulkhead_guest::place::{self, DATA};
use bulkhead_wall::CompartmentSpec;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use crate::build::Plan;
use crate::namespaces::host_uid;

pub use bulkhead_guest::place::{devices, scratch_of};

/// Where bundles are.
pub const BUNDLE: &str = "/bundle";

const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Builds the file system below `rootfs`, in a mount namespace of its own.
pub(crate) fn build(plan: &Plan<'_>) -> io::Result<()> {
    let rootfs = plan.rootfs;
    keep_to_oneself()?;
    bind_read_only(rootfs, rootfs)?;
    place::proc(rootfs)?;
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
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let source = open_below(plan.bundles, &wanted.source, flags)?;
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

/// Opens a file or directory that has to be below `top`, without following a link on the way: who asks for it is the part
/// of the server that is not root, and must not be shown more of the host than it has.
///
/// # Errors
/// When it is elsewhere, or not there.
pub fn open_below(top: &Path, wanted: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let refused = |why: &str| {
        let (wanted, top) = (wanted.display(), top.display());
        io::Error::other(format!("{wanted} can't be mounted: {why} {top}"))
    };
    let below = std::path::absolute(wanted)?;
    let below = below.strip_prefix(top).map_err(|_| refused("it is not below"))?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(top, directory, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(&top, below, flags, Mode::empty(), resolve)
        .map_err(|error| refused(&format!("({error}) on the way down from")))
}

fn scratch(rootfs: &Path, spec: &CompartmentSpec, number: u32) -> io::Result<()> {
    let scratch = place::Scratch {
        slots: spec.slots,
        root_uid: host_uid(number),
        mib: spec.scratch_mib,
        inodes: spec.scratch_inodes,
    };
    place::scratch(rootfs, &scratch)
}

/// Makes a slot's place as [`place::slot_place`] does, in the compartment with this number among those that exist.
///
/// # Errors
/// Those of the system calls.
pub fn slot_place(top: &Path, slot: u32, number: u32) -> io::Result<PathBuf> {
    place::slot_place(top, slot, host_uid(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rustix::fs::symlink;

    #[test]
    fn only_what_is_below_the_servers_place_for_bundles_can_be_mounted() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        std::fs::create_dir_all(top.join("bundles/v1")).unwrap();
        symlink("/etc", top.join("link")).unwrap();
        symlink("bundles", top.join("inner")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let check = |path: &Path| open_below(top, path, flags).map(drop).map_err(|e| e.to_string());
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
