//! Making a slot as new: everything of its uid dead, its scratch directory empty. A helper process does it, so
//! that the event loop goes on however much an attacker has left behind.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use bulkhead_protocol::GuestError;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, openat, unlinkat};
use rustix::io::Errno;

use crate::config::SlotConfig;
use crate::slot::anything_lives_as;
use crate::stages::{Run, Sequence, Stages};
use crate::sys::{self, RawPid};

/// Rounds of killing until the slot must be empty; each round waits 1 ms more than the one before, at most 20.
const ROUNDS_MAX: u64 = 400;

/// How often one round kills everything. Linux needs one: `kill(-1)` reaches all processes at once, and the kernel lets no
/// fork complete in a process with a pending SIGKILL. gVisor's kernel goes through a list that it made before, and a
/// process that forks in just that moment gets past it; it won't so many times in a row.
const SWEEPS: u32 = 8;

/// Between the uid of a slot and that of who kills in it: beyond every slot's uid, and of nobody else.
const KILLER_UIDS: u32 = 20_000;

/// Starts the helper. It leaves with 0 when the slot is as new.
pub(crate) fn start(slot: &SlotConfig, by: &dyn Stages) -> io::Result<RawPid> {
    let pid = sys::fork()?;
    if pid != 0 {
        return Ok(pid);
    }
    sys::exit_now(i32::from(stages(slot, by).is_err()))
}

fn stages(slot: &SlotConfig, by: &dyn Stages) -> Result<(), GuestError> {
    let run = Run { by, sequence: Sequence::Reclaim };
    run.stage("kill", || kill_everything(slot.uid))?;
    // Left as it is in test builds that the audit has to see through.
    run.stage("wipe", || if cfg!(feature = "weakened-scratch") { Ok(()) } else { as_new(slot) })
}

/// Starts a helper that kills all that a zygote which was let go of has left, by its uid. Nobody waits for it: the uid is
/// never used again, so that what lives on for a moment is in nobody's way.
pub(crate) fn kill_user(uid: u32) -> io::Result<()> {
    if sys::fork()? == 0 {
        sys::exit_now(i32::from(kill_everything(uid).is_err()));
    }
    Ok(())
}

/// Kills until nothing of the uid lives, and at least once: a look alone can be evaded, by a process that lives on in a
/// child, and that one in a child of its own, faster than `/proc` is read.
fn kill_everything(uid: u32) -> io::Result<()> {
    for round in 0..ROUNDS_MAX {
        let killed = kill_round(uid)?;
        if killed && !anything_lives_as(uid)? {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(round.min(20)));
    }
    Err(io::Error::other("processes remain"))
}

/// Whether everything of the uid was sent SIGKILL. What `kill(-1)` returns says nothing: Linux answers 0 even where
/// every process was out of reach. That it was made with the right users is enough.
///
/// Signals are sent with the slot's uid as effective one, and so reach nobody else; the real and the saved one are
/// another's, for by those it is decided who may be signalled: otherwise whoever is to be killed could stop the killer.
fn kill_round(uid: u32) -> io::Result<bool> {
    let pid = sys::fork()?;
    if pid == 0 {
        let killed = sys::become_killer(uid + KILLER_UIDS, uid)
            .and_then(|()| (0..SWEEPS).try_for_each(|_| sys::kill_all()));
        sys::exit_now(i32::from(killed.is_err()));
    }
    Ok(sys::wait_for(pid)?.exited() == Some(0))
}

/// Empties the scratch directory, and takes back what its owner may have written on the directory itself: who may use it,
/// and times. (Of the file system only the number of the next inode tells that somebody was there.)
fn as_new(slot: &SlotConfig) -> io::Result<()> {
    wipe(&slot.scratch)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(&slot.scratch, flags, Mode::empty())?;
    rustix::fs::fchmod(&top, Mode::RWXU)?;
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: epoch, last_modification: epoch };
    Ok(rustix::fs::futimens(&top, &times)?)
}

/// Empties a directory, however deep, with a bounded number of open files. Nothing else acts in there any more.
pub(crate) fn wipe(top: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(top, flags, Mode::empty())?;
    let mut names: Vec<CString> = Vec::new();
    loop {
        match empty_of_files(&here)? {
            Some(name) => {
                here = open_child(&here, &name, flags)?;
                names.push(name);
            }
            None => {
                let Some(name) = names.pop() else { return Ok(()) };
                here = openat(&here, "..", flags, Mode::empty())?;
                unlinkat(&here, name.as_c_str(), AtFlags::REMOVEDIR)?;
            }
        }
    }
}

fn open_child(here: &OwnedFd, name: &CString, flags: OFlags) -> io::Result<OwnedFd> {
    match openat(here, name.as_c_str(), flags, Mode::empty()) {
        // The owner took away every permission, and this process may not override it on this wall.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(here, name.as_c_str(), Mode::RWXU, AtFlags::empty())?;
            Ok(openat(here, name.as_c_str(), flags, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

/// Unlinks all that is no directory, and empty directories; returns the first directory that is not empty.
fn empty_of_files(here: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(here)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = match entry.file_type() {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        match unlinkat(here, name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_hostile_tree_is_wiped_and_nothing_outside_is_touched() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("keep"), "x").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        symlink(outside.path(), scratch.path().join("link")).unwrap();
        symlink("/nowhere", scratch.path().join("dangling")).unwrap();
        let mut deep = scratch.path().to_path_buf();
        // Deeper than PATH_MAX can name, made from inside.
        for _ in 0..400 {
            deep.push("0123456789abcdef");
        }
        make_deep(scratch.path(), 400);
        std::fs::create_dir(scratch.path().join("shut")).unwrap();
        std::fs::write(scratch.path().join("shut/file"), "x").unwrap();
        let shut = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(scratch.path().join("shut"), shut).unwrap();
        wipe(scratch.path()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        assert!(outside.path().join("keep").exists());
    }

    fn make_deep(top: &Path, depth: usize) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut here = rustix::fs::open(top, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&here, "0123456789abcdef", Mode::RWXU).unwrap();
            here = openat(&here, "0123456789abcdef", flags, Mode::empty()).unwrap();
        }
    }
}
