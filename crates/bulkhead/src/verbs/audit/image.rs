//! The runtime image that walls are audited with: the one that is used, and in it a program of the attacker's.
//!
//! An author is assumed to run machine code. Behind the process wall attacks bring it along themselves; where a kernel
//! keeps a process from writing to its own code, as gVisor's does, an author would need an exploit of V8, and the audit
//! has this in its place. Otherwise every attack on the kernel would be held for that reason alone.
//!
//! Virtual machines boot what was packed for them before, without that program: their kernel is Linux, and attacks bring
//! machine code along as behind the process wall.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use super::corpus::PROGRAM;

/// Where it is, inside.
const PLACE: &str = "rootfs/runtime/calls";

/// Kernel and image of virtual machines, where there are such.
const MACHINE: &str = "microvm";

/// Makes a copy of the image in `runtime_dir`, by links where that goes, with the program in it.
pub(super) fn with_program(runtime_dir: &Path) -> anyhow::Result<TempDir> {
    let builder =
        |place: &Path| tempfile::Builder::new().prefix(".bulkhead-audit-").tempdir_in(place);
    // On the same file system, where that can be written to: then nothing is copied.
    let beside = runtime_dir.parent().unwrap_or(runtime_dir);
    let copy = builder(beside).or_else(|_| builder(&std::env::temp_dir()))?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(copy.path(), open)?;
    copy_tree(&runtime_dir.join("rootfs"), &copy.path().join("rootfs"))
        .with_context(|| format!("can't copy the runtime image {}", runtime_dir.display()))?;
    let machine = runtime_dir.join(MACHINE);
    if machine.is_dir() {
        copy_tree(&machine, &copy.path().join(MACHINE))
            .with_context(|| format!("can't copy {}", machine.display()))?;
    }
    let program = copy.path().join(PLACE);
    fs::write(&program, PROGRAM)?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, executable)?;
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, here, there) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&here, &there)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&here)?, &there)?;
        } else if fs::hard_link(&here, &there).is_err() {
            fs::copy(&here, &there)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_copy_has_everything_and_the_program_and_the_image_stays_as_it_is() {
        let image = tempfile::tempdir().unwrap();
        let runtime = image.path().join("rt/rootfs/runtime");
        fs::create_dir_all(&runtime).unwrap();
        fs::write(runtime.join("guest"), "g").unwrap();
        std::os::unix::fs::symlink("/proc/self/cwd", image.path().join("rt/rootfs/tmp")).unwrap();
        let machine = image.path().join("rt/microvm");
        fs::create_dir(&machine).unwrap();
        fs::write(machine.join("vmlinux"), "k").unwrap();
        let copy = with_program(&image.path().join("rt")).unwrap();
        assert_eq!(fs::read(copy.path().join("microvm/vmlinux")).unwrap(), b"k");
        let rootfs = copy.path().join("rootfs");
        assert_eq!(fs::read(rootfs.join("runtime/guest")).unwrap(), b"g");
        assert_eq!(fs::read_link(rootfs.join("tmp")).unwrap(), Path::new("/proc/self/cwd"));
        assert_eq!(fs::read(rootfs.join("runtime/calls")).unwrap(), PROGRAM);
        assert!(!runtime.join("calls").exists());
    }
}
