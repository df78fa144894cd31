//! Where a kernel puts device files into `/dev` by itself, and shows more in `/proc` than processes: process 1 takes
//! away the former and puts a lid on each of the latter, before there is a zygote. What is left is what the process wall
//! builds ([`place`](crate::place)).

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::place::{DATA, DEVICE_NAMES};

const PROC: &str = "/proc";
const DEV: &str = "/dev";

/// Below `/proc`: a directory that gets a lid like any other, and in it the file that is put on files.
const FIRST: &str = "/proc/sys";
const LID: &str = "/proc/sys/lid";

/// Of directories that serve as lids: nobody may even list them.
const LID_OPTIONS: &std::ffi::CStr = c"size=4k,mode=0";

/// Leaves in `/dev` the five devices, and in `/proc` the processes.
pub(crate) fn shut() -> io::Result<()> {
    for entry in fs::read_dir(DEV)? {
        let entry = entry?;
        let keep = entry.file_name().to_str().is_some_and(is_everywhere);
        if !keep {
            take_away(&entry).map_err(|error| about(&entry.path(), &error))?;
        }
    }
    mount("tmpfs", FIRST, "tmpfs", DATA, LID_OPTIONS)?;
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::CLOEXEC;
    drop(rustix::fs::open(LID, flags, Mode::empty())?);
    for entry in fs::read_dir(PROC)? {
        let entry = entry?;
        cover(&entry).map_err(|error| about(&entry.path(), &error))?;
    }
    Ok(mount_remount(FIRST, DATA | MountFlags::RDONLY, LID_OPTIONS)?)
}

/// Whether every wall's `/dev` has it.
fn is_everywhere(name: &str) -> bool {
    DEVICE_NAMES.contains(&name) || name == "fd"
}

/// Removes a device file, or a directory with what is mounted on it.
fn take_away(entry: &DirEntry) -> io::Result<()> {
    let path = entry.path();
    if !entry.file_type()?.is_dir() {
        return fs::remove_file(path);
    }
    match unmount(&path, UnmountFlags::empty()) {
        // Nothing was mounted there.
        Ok(()) | Err(Errno::INVAL) => fs::remove_dir_all(path),
        Err(error) => Err(error.into()),
    }
}

/// Puts a lid on what is no process; a link leads to what has one, or to a process.
fn cover(entry: &DirEntry) -> io::Result<()> {
    let (path, kind) = (entry.path(), entry.file_type()?);
    let of_process =
        entry.file_name().to_string_lossy().bytes().all(|digit| digit.is_ascii_digit());
    if of_process || kind.is_symlink() || path == Path::new(FIRST) {
        return Ok(());
    }
    if kind.is_dir() {
        return Ok(mount("tmpfs", &path, "tmpfs", DATA | MountFlags::RDONLY, LID_OPTIONS)?);
    }
    Ok(mount_bind(LID, &path)?)
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
