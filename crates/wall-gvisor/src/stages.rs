//! From a fork of the launcher to `runsc`: [`stages`] is the privileged sequence, a list of stages.
//!
//! The host's root builds a root directory in which there is nothing but what `runsc` needs, and makes it the root.
//! Only then does the process enter a user namespace: `runsc` is root there, so that it can build what it builds, and
//! nobody for the host. Its network namespace is empty, so whoever breaks out of gVisor's kernel finds no network, no
//! files of the host and no user of the host.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use bulkhead_guest::config::SlotConfig;
use bulkhead_guest::fds;
use bulkhead_wall::CompartmentSpec;
use bulkhead_wall_process::build::{Plan, Stage};
use bulkhead_wall_process::kind::{GUEST_FILES_MAX, configuration, guest_config, null};
use bulkhead_wall_process::namespaces::{self, SLOT_UID_FIRST};
use bulkhead_wall_process::{mounts, sys};
use rustix::fs::Mode;
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::LACKS;
use crate::spec::{self, BUNDLE, IMAGE, RUNSC, STATE};

/// Where the new root is built: a directory of the image that is empty, and is no longer seen once it is the root.
const WORKSHOP: &str = "scratch";

/// Process 1 on its way to `runsc`.
pub(crate) fn stages(runsc: &Path) -> Vec<Stage<'_>> {
    vec![
        Stage::new("session", |_| Ok(rustix::process::setsid().map(drop)?)),
        Stage::new("cgroup", |child| child.plan.cgroups.join_base(child.plan.number)),
        Stage::new("cgroup_namespace", |_| sys::unshare(libc::CLONE_NEWCGROUP)),
        Stage::new("host_name", |_| Ok(rustix::system::sethostname(b"sandbox")?)),
        Stage::new("umask", |_| {
            // A server keeps its files to itself; what is built here is for `runsc`, which is nobody to those who built
            // it.
            rustix::process::umask(Mode::WGRP | Mode::WOTH);
            Ok(())
        }),
        Stage::new("mounts", |child| build_root(runsc, &child.plan)),
        Stage::new("pivot_root", |child| mounts::pivot(&child.plan.rootfs.join(WORKSHOP))),
        Stage::new("core_limit", |_| sys::limit(libc::RLIMIT_CORE, 0)),
        Stage::new("files_limit", |_| sys::limit_at_most(libc::RLIMIT_NOFILE, GUEST_FILES_MAX)),
        Stage::new("user_namespace", |_| namespaces::enter_user_namespace()),
        Stage::new("uid_map", |child| child.await_mapping()),
        Stage::new("user", |_| sys::become_user(0, 0)),
        Stage::new("no_new_privs", |_| Ok(rustix::thread::set_no_new_privs(true)?)),
        Stage::new("death_signal", |_| sys::die_with_launcher()),
        Stage::new("descriptors", |child| {
            let stream = child.take_stream()?;
            descriptors(stream, &child.words, child.plan.spec)
        }),
        Stage::new("exec", |_| Err(exec(runsc))),
    ]
}

/// Runs `runsc`; returns only when that failed.
fn exec(runsc: &Path) -> io::Error {
    #[allow(clippy::disallowed_methods, reason = "starting guests is what the launcher is for")]
    let error = Command::new(RUNSC).args(spec::arguments()).env_clear().exec();
    io::Error::new(error.kind(), format!("{}: {error}", runsc.display()))
}

/// Builds the root directory of `runsc`, in a mount namespace of its own.
fn build_root(runsc: &Path, plan: &Plan<'_>) -> io::Result<()> {
    mounts::keep_to_oneself()?;
    let root = plan.rootfs.join(WORKSHOP);
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &root, "tmpfs", flags, c"size=16m,nr_inodes=4096,mode=0755")?;
    for directory in [IMAGE, BUNDLE, STATE, "/dev", "/proc", "/tmp"] {
        std::fs::create_dir(at(directory))?;
    }
    image(plan.rootfs, &at(IMAGE))?;
    mounts::bundles(&at(IMAGE), plan)?;
    for slot in 0..plan.spec.slots {
        mounts::slot_place(&at(IMAGE).join(WORKSHOP), slot, plan.place)?;
    }
    std::fs::write(at(RUNSC), "")?;
    mounts::bind_read_only(runsc, &at(RUNSC))?;
    mount("proc", at("/proc"), "proc", flags | MountFlags::NOEXEC, None)?;
    mounts::devices(&root)?;
    let files_max = GUEST_FILES_MAX.min(files_max()?);
    let oci = serde_json::to_vec(&spec::oci(plan.spec, files_max))?;
    std::fs::write(at(BUNDLE).join("config.json"), oci)?;
    // Who enters the user namespace owns nothing of all this, but is to keep its notes here.
    mount("tmpfs", at(STATE), "tmpfs", flags | MountFlags::NOEXEC, c"size=16m,mode=1777")?;
    Ok(mount_remount(&root, flags | MountFlags::RDONLY, c"")?)
}

/// The runtime image, but for what `runsc` can't deal with: `/tmp` as a link to the reader's own directory, on which it
/// gives up. An empty directory takes its place; each sandbox binds its scratch directory there.
fn image(rootfs: &Path, target: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(rootfs)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let here = target.join(&name);
        if name == "tmp" || name == WORKSHOP {
            std::fs::create_dir(&here)?;
            // Nobody needs to list the slots' directories.
            let mode = if name == WORKSHOP { 0o711 } else { 0o755 };
            std::fs::set_permissions(&here, Permissions::from_mode(mode))?;
        } else if kind.is_dir() {
            std::fs::create_dir(&here)?;
            mounts::bind_read_only(&entry.path(), &here)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, here)?;
        } else {
            return Err(io::Error::other(format!("{} is no directory", entry.path().display())));
        }
    }
    // On which something is mounted in gVisor's kernel.
    std::fs::create_dir(target.join("sys"))
}

/// The most open files that this process may allow itself.
fn files_max() -> io::Result<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Ok(limit.maximum.unwrap_or(GUEST_FILES_MAX))
}

/// Leaves open: null as standard input, the launcher's pipe as output, the stream and the configuration.
fn descriptors(stream: OwnedFd, words: &OwnedFd, spec: &CompartmentSpec) -> io::Result<()> {
    let slot = |slot: u32| SlotConfig {
        uid: SLOT_UID_FIRST + slot,
        scratch: mounts::scratch_of(slot),
        cgroup: bulkhead_guest::config::SlotCgroup::default(),
    };
    let slots = (0..spec.slots).map(slot).collect();
    let config = configuration(&guest_config(slots, LACKS.to_vec(), Path::new(IMAGE)))?;
    // Above the numbers that are given away.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
    let (stream, config) = (high(&stream)?, high(&config)?);
    let (out, err) = (high(words)?, high(words)?);
    sys::place(null()?, 0)?;
    sys::place(out, 1)?;
    sys::place(err, 2)?;
    sys::place(stream, fds::STREAM)?;
    sys::place(config, fds::CONFIG)?;
    sys::close_on_exec(5, u32::MAX)
}
