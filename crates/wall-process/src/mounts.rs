//! The compartment's file system: the read-only runtime image, and in it a small `/proc`, `/dev`, the bundle and one
//! scratch directory per slot, each a file system of its own with size and inode limits.

use std::io;
use std::path::{Component, Path, PathBuf};

use bulkhead_guest::place::{self, DATA};
use bulkhead_wall::CompartmentSpec;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use crate::namespaces::{SLOT_UID_FIRST, host_uid};

pub use bulkhead_guest::place::{SCRATCH, devices};

/// Where bundles are.
pub const BUNDLE: &str = "/bundle";

const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Builds the file system below `rootfs`, in a mount namespace of its own.
pub(crate) fn build(rootfs: &Path, spec: &CompartmentSpec, place: u32) -> io::Result<()> {
    keep_to_oneself()?;
    bind_read_only(rootfs, rootfs)?;
    place::proc(rootfs)?;
    devices(rootfs)?;
    bundles(rootfs, spec)?;
    scratch(rootfs, spec, place)
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
/// Those of the system calls; when a path inside is not below `/bundle`.
pub fn bundles(rootfs: &Path, spec: &CompartmentSpec) -> io::Result<()> {
    let top = rootfs.join("bundle");
    mount("tmpfs", &top, "tmpfs", DATA, c"size=64k,nr_inodes=1024,mode=0755")?;
    for wanted in &spec.mounts {
        let target = rootfs.join(inside_bundle(&wanted.target)?);
        std::fs::create_dir_all(&target)?;
        mount_bind(&wanted.source, &target)?;
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

fn scratch(rootfs: &Path, spec: &CompartmentSpec, place: u32) -> io::Result<()> {
    let scratch = place::Scratch {
        slots: spec.slots,
        uid_first: host_uid(place) + SLOT_UID_FIRST,
        mib: spec.scratch_mib,
        inodes: spec.scratch_inodes,
    };
    place::scratch(rootfs, &scratch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

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
