//! The guest as process 1 of a virtual machine: what a wall does from outside on a shared kernel, done from inside on
//! one's own. The kernel has unpacked the initramfs and started this program as `/init`; [`run`] builds the place from
//! the parcel and goes on as the guest.
//!
//! Nothing of a tenant has run before all stages are through. One that fails ends the machine: process 1 leaves, the
//! kernel gives up, and what failed is on the port for last words.

mod cgroups;
pub mod ports;

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use bulkhead_protocol::GuestError;
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_move, mount_remount, unmount,
};

use crate::config::GuestConfig;
use crate::parcel::{self, Head};
use crate::place::{self, DATA, Scratch};
use crate::stages::{Plainly, Run, Sequence};
use crate::{fds, guest, sys};

/// The runtime image, in the initramfs.
const IMAGE: &str = "/image";

/// The kernel modules, in the initramfs, in the order of loading.
const MODULES: [&str; 1] = ["/modules/virtio_mmio.ko"];

/// Open files of the guest: a few per slot, and streams.
const OPEN_FILES_MAX: u64 = 65_536;

/// Where bundles are.
const BUNDLE: &str = "bundle";

/// Settings of the kernel that are shut before anything else runs: no more modules, no other kernel, and none of the
/// interfaces that tenants' code has no use for.
const SHUT: [(&str, &str); 5] = [
    ("kernel/modules_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/dmesg_restrict", "1"),
];

/// What the stages before have found.
#[derive(Default)]
struct Found {
    words: Option<File>,
    stream: Option<File>,
    parcel: Option<BufReader<File>>,
    head: Option<Head>,
    config: Option<GuestConfig>,
}

/// Runs the guest until the worker's stream ends; then, or when a stage fails, the machine ends.
///
/// # Errors
/// The stage that failed.
pub fn run() -> io::Result<()> {
    let mut found = Found::default();
    let run = Run { by: &Plainly, sequence: Sequence::Machine };
    begin(&mut found, run).map_err(io::Error::other).inspect_err(|error| {
        // There is no port yet; who runs the machine by hand, with a console, sees this.
        std::fs::write("/dev/kmsg", format!("<0>guest: {error}\n")).ok();
    })?;
    let prepared = prepare(&mut found, run).map_err(io::Error::other);
    let done = prepared
        .and_then(|()| found.config.take().ok_or_else(lost))
        .and_then(|config| guest::serve(config, &Plainly));
    if let (Err(error), Some(words)) = (&done, &mut found.words) {
        writeln!(words, "in the machine: {error}")?;
    }
    done
}

fn begin(found: &mut Found, run: Run<'_>) -> Result<(), GuestError> {
    run.stage("mounts", kernel_file_systems)?;
    run.stage("modules", || MODULES.iter().try_for_each(|path| load(Path::new(path))))?;
    run.stage("words", || {
        found.words = Some(ports::open(ports::WORDS)?);
        Ok(())
    })
}

fn prepare(found: &mut Found, run: Run<'_>) -> Result<(), GuestError> {
    run.stage("stream", || {
        found.stream = Some(ports::open(ports::STREAM)?);
        Ok(())
    })?;
    run.stage("parcel", || {
        let parcel = found.parcel.insert(BufReader::new(ports::open(ports::PARCEL)?));
        found.head = Some(parcel::read_head(parcel)?);
        Ok(())
    })?;
    run.stage("kernel_settings", || SHUT.iter().try_for_each(|(name, value)| shut(name, value)))?;
    let root = Path::new(IMAGE);
    run.stage("image", || {
        let (head, parcel) = found.head.as_ref().zip(found.parcel.as_mut()).ok_or_else(lost)?;
        image(root, head, parcel)
    })?;
    run.stage("cgroup", || {
        found.config = Some(cgroups::build(found.head.as_ref().ok_or_else(lost)?)?);
        Ok(())
    })?;
    run.stage("host_name", || Ok(rustix::system::sethostname(b"sandbox")?))?;
    run.stage("root", || enter(root))?;
    run.stage("core_limit", || sys::limit(libc::RLIMIT_CORE, 0))?;
    run.stage("files_limit", || sys::limit(libc::RLIMIT_NOFILE, OPEN_FILES_MAX))?;
    run.stage("capabilities", place::keep_capabilities)?;
    run.stage("descriptors", || {
        let stream = found.stream.take().ok_or_else(lost)?;
        // All of it has been read.
        drop(found.parcel.take());
        sys::place(stream.as_raw_fd(), fds::STREAM)
    })
}

fn lost() -> io::Error {
    io::Error::other("a stage before did not prepare it")
}

/// What is needed to get at modules, ports and settings; out of reach again after [`enter`].
fn kernel_file_systems() -> io::Result<()> {
    let locked = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devtmpfs", "/dev", "devtmpfs", locked, c"mode=0700")?;
    mount("proc", "/proc", "proc", DATA, None)?;
    Ok(mount("cgroup2", cgroups::TOP, "cgroup2", DATA, None)?)
}

fn load(path: &Path) -> io::Result<()> {
    let module = File::open(path)?;
    rustix::system::finit_module(&module, c"", 0)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

/// A setting that this kernel does not have shuts nothing off, for there is nothing.
fn shut(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(name);
    match std::fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}"))),
    }
}

/// Makes the runtime image what every compartment's root is: read-only, with `/proc`, `/dev`, bundles and scratch.
fn image(root: &Path, head: &Head, parcel: &mut impl io::Read) -> io::Result<()> {
    let locked = MountFlags::NOSUID | MountFlags::NODEV;
    mount_bind(root, root)?;
    mount_remount(root, MountFlags::BIND | MountFlags::RDONLY | locked, c"")?;
    place::proc(root)?;
    place::devices(root)?;
    bundles(root, head, parcel)?;
    let slots = u32::try_from(head.guest.slots.len()).unwrap_or(u32::MAX);
    let scratch =
        Scratch { slots, root_uid: 0, mib: head.scratch_mib, inodes: head.scratch_inodes };
    place::scratch(root, &scratch)
}

fn bundles(root: &Path, head: &Head, parcel: &mut impl io::Read) -> io::Result<()> {
    let top = root.join(BUNDLE);
    // Each file's last page, and the directories.
    let kib = head.file_bytes()? / 1024 + 4 * u64::try_from(head.files.len()).unwrap_or(0) + 64;
    let inodes = 8 * head.files.len() + 64;
    if head.zygotes > 0 {
        // These bundles come later, and each zygote sees its own alone.
        return crate::bundles::mount_room(&top);
    }
    let limits = place::options(format!("size={kib}k,nr_inodes={inodes},mode=0755"))?;
    mount("tmpfs", &top, "tmpfs", DATA, &*limits)?;
    for file in &head.files {
        let target = root.join(inside_bundle(&file.path)?);
        if let Some(parent) = target.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        parcel::unpack(file, &mut *parcel, &target)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(mount_remount(&top, DATA | MountFlags::RDONLY, c"")?)
}

/// The path relative to the root, if it is below `/bundle` and goes straight down.
fn inside_bundle(path: &Path) -> io::Result<PathBuf> {
    let below = path.strip_prefix("/bundle").ok().filter(|rest| {
        rest.components().next().is_some()
            && rest.components().all(|c| matches!(c, Component::Normal(_)))
    });
    match below {
        Some(rest) => Ok(Path::new(BUNDLE).join(rest)),
        None => Err(io::Error::other(format!("{} is not below /bundle", path.display()))),
    }
}

/// Makes `root` the root. The initramfs can't be unmounted, and `pivot_root` does not leave it: the image is moved
/// over it, and everything else that was mounted goes.
fn enter(root: &Path) -> io::Result<()> {
    for old in ["/proc", "/dev", cgroups::TOP] {
        unmount(old, UnmountFlags::DETACH)?;
    }
    std::env::set_current_dir(root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::stages::tests::each_that_fails_is_the_last;

    #[test]
    fn each_stage_that_fails_is_the_last_before_the_guest() {
        let names = each_that_fails_is_the_last(|by| {
            let (mut found, run) = (Found::default(), Run { by, sequence: Sequence::Machine });
            begin(&mut found, run)?;
            prepare(&mut found, run)
        });
        assert_eq!(
            names.join(" "),
            "mounts modules words stream parcel kernel_settings image cgroup host_name root core_limit files_limit \
             capabilities descriptors"
        );
    }

    #[test]
    fn files_are_written_below_bundle_only() {
        let check = |path: &str| inside_bundle(Path::new(path)).ok();
        assert_eq!(check("/bundle/it/bundle.js"), Some(PathBuf::from("bundle/it/bundle.js")));
        for bad in ["/", "/bundle", "/bundle/../etc/x", "/etc/x", "bundle/x", "/bundle/a/../../x"] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
