//! What a forked child does to itself before its first line of tenant code. Each stage that fails ends the child
//! with its name; none is skipped.
//!
//! The zygote has no capability from which a child could take the slot's uid. So the child makes a user namespace
//! of its own, the guest maps exactly one uid into it (the slot's), and the child takes that. Rejected: letting
//! the zygote keep `CAP_SETUID`, since the bundle's top level runs in it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulkhead_protocol::GuestError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::CapabilitySet;

use crate::config::Lack;
use crate::filter::{self, Filters};
use crate::stages::{Run, Sequence, Stages};
use crate::sys;
use crate::zygote_wire::{SANDBOX_UID, handshake};

/// Open files at most.
const FILES_MAX: u64 = 4096;

/// What a zygote prepares once for all its children.
#[derive(Debug)]
pub struct Confinement {
    /// Trees to read and execute from.
    pub execute: Vec<PathBuf>,
    /// Trees and files to read.
    pub read: Vec<PathBuf>,
    /// Device files to read and write.
    pub devices: Vec<PathBuf>,
    /// What the kernel does not offer.
    pub lacks: Vec<Lack>,
    /// The final filter.
    pub filters: Filters,
}

/// What differs from child to child.
#[derive(Debug)]
pub struct Place {
    /// The stream to the guest.
    pub stream: OwnedFd,
    /// `cgroup.procs` of each hierarchy.
    pub join: Vec<OwnedFd>,
    /// The scratch directory.
    pub scratch: PathBuf,
    /// CPU seconds, if limited.
    pub cpu_s: Option<u64>,
    /// Processes and threads, where no cgroup limits them.
    pub tasks: Option<u64>,
}

/// Confines the calling process: a fresh fork with one thread. On success the stream is ready for frames.
///
/// # Errors
/// The stage that failed. The guest has been told; the caller leaves.
pub fn confine(
    confinement: &Confinement,
    place: &Place,
    output: &OwnedFd,
    by: &dyn Stages,
) -> Result<(), GuestError> {
    let done = stages(confinement, place, output, by).and_then(|()| ready(&place.stream));
    if let Err(error) = &done {
        let mut text = vec![handshake::FAILED];
        text.extend_from_slice(format!("{}: {}\n", error.stage, error.message).as_bytes());
        if rustix::io::write(&place.stream, &text).is_err() {
            // The guest sees the child leave, and refuses the sandbox: only the wording is lost.
        }
    }
    done
}

fn stages(
    confinement: &Confinement,
    place: &Place,
    output: &OwnedFd,
    by: &dyn Stages,
) -> Result<(), GuestError> {
    let run = Run { by, sequence: Sequence::Sandbox };
    let lacks = |lack| confinement.lacks.contains(&lack);
    run.stage("descriptors", || sever_from_zygote(place, output))?;
    run.stage("session", || Ok(rustix::process::setsid().map(drop)?))?;
    run.stage("cgroup", || Ok(join_cgroups(&place.join)?))?;
    // Where Landlock can't scope abstract sockets, each sandbox gets a network namespace for itself.
    run.stage("user_namespace", || sys::unshare_user(lacks(Lack::Landlock)))?;
    run.stage("uid_map", || await_mapping(&place.stream))?;
    run.stage("uid", || sys::become_user(SANDBOX_UID, SANDBOX_UID))?;
    if lacks(Lack::TmpLink) {
        run.stage("tmp", || own_tmp(&place.scratch))?;
    }
    run.stage("capabilities", || Ok(drop_capabilities(&confinement.lacks)?))?;
    run.stage("dumpable", || Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?))?;
    run.stage("scratch", || std::env::set_current_dir(&place.scratch))?;
    if lacks(Lack::HiddenProcesses) {
        run.stage("umask", || {
            keep_files_to_oneself();
            Ok(())
        })?;
    }
    run.stage("rlimits", || resource_limits(place, &confinement.lacks))?;
    run.stage("no_new_privs", || Ok(rustix::thread::set_no_new_privs(true)?))?;
    if !lacks(Lack::Landlock) {
        run.stage("landlock", || landlock(confinement, &place.scratch).map_err(io::Error::other))?;
    }
    run.stage("seccomp", || filter::apply(&confinement.filters).map_err(io::Error::other))
}

/// Tells the guest that all of it is done.
fn ready(stream: &OwnedFd) -> Result<(), GuestError> {
    let failed =
        |error: Errno| GuestError { stage: "ready".to_owned(), message: error.to_string() };
    rustix::io::write(stream, &[handshake::READY]).map(drop).map_err(failed)
}

fn join_cgroups(join: &[OwnedFd]) -> rustix::io::Result<()> {
    for file in join {
        // 0 means the writer. The guest looks into cgroup.procs afterwards.
        rustix::io::write(file, b"0")?;
    }
    Ok(())
}

fn await_mapping(stream: &OwnedFd) -> io::Result<()> {
    rustix::io::write(stream, &[handshake::HELLO])?;
    let mut answer = [0_u8; 1];
    match rustix::io::read(stream, &mut answer)? {
        1 if answer[0] == handshake::MAPPED => Ok(()),
        _ => Err(io::Error::other("the guest did not map the user namespace")),
    }
}

/// Makes `/tmp` the scratch directory, for this process and its own.
fn own_tmp(scratch: &Path) -> io::Result<()> {
    sys::unshare_mounts()?;
    Ok(rustix::mount::mount_bind(scratch, "/tmp")?)
}

/// Where `/proc` shows other processes, it leads to the files that they have open, past the directories on the way: so
/// that these are the owner's alone does not help. What a sandbox makes is its owner's alone unless it says otherwise.
fn keep_files_to_oneself() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

fn drop_capabilities(lacks: &[Lack]) -> rustix::io::Result<()> {
    // The bounding set needs CAP_SETPCAP, which goes with the rest: so it is first.
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // This kernel has no such capability, and so nobody holds it.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    if !lacks.contains(&Lack::AmbientCapabilities) {
        rustix::thread::clear_ambient_capability_set()?;
    }
    let none = CapabilitySet::empty();
    let sets =
        rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}

fn resource_limits(place: &Place, lacks: &[Lack]) -> io::Result<()> {
    sys::limit(libc::RLIMIT_CORE, 0)?;
    sys::limit(libc::RLIMIT_NOFILE, FILES_MAX)?;
    sys::limit(libc::RLIMIT_MEMLOCK, 0)?;
    for resource in [libc::RLIMIT_MSGQUEUE, libc::RLIMIT_NICE, libc::RLIMIT_RTPRIO] {
        if lacks.contains(&Lack::SomeResourceLimits) {
            sys::is_limited_to(resource, 0)?;
        } else {
            sys::limit(resource, 0)?;
        }
    }
    if let Some(tasks) = place.tasks {
        sys::limit(libc::RLIMIT_NPROC, tasks)?;
    }
    // SIGXCPU at the limit; SIGKILL a second later for who ignores it.
    place.cpu_s.map_or(Ok(()), |seconds| {
        sys::limits(libc::RLIMIT_CPU, seconds.max(1), seconds.max(1).saturating_add(1))
    })
}

#[derive(Debug, thiserror::Error)]
enum LandlockError {
    #[error(transparent)]
    Ruleset(#[from] landlock::RulesetError),
    #[error(transparent)]
    Path(#[from] landlock::PathFdError),
    #[error("the kernel enforces only part of the domain ({0:?}); ABI 6 (Linux 6.12) is needed")]
    Partly(RulesetStatus),
}

fn landlock(confinement: &Confinement, scratch: &Path) -> Result<(), LandlockError> {
    // ABI 6 brought scopes for signals and abstract sockets: without these, forks of one zygote could reach each
    // other. HardRequirement makes anything less an error.
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let own = all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(scratch)?, own))?;
    for path in &confinement.execute {
        ruleset =
            ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, read | AccessFs::Execute))?;
    }
    for path in &confinement.read {
        let access = if path.is_dir() { read } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    for path in &confinement.devices {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    let status = ruleset.restrict_self()?.ruleset;
    if status == RulesetStatus::FullyEnforced { Ok(()) } else { Err(LandlockError::Partly(status)) }
}

/// Output becomes descriptors 1 and 2; whatever else the zygote has open becomes `/dev/null`.
///
/// A descriptor shared with the zygote is a way to it: Node.js' own threads there read from event descriptors and
/// signal pipes, and believe what they read. Closing is not enough: libuv still knows their numbers, and would write
/// to whatever file gets one of them next.
fn sever_from_zygote(place: &Place, output: &OwnedFd) -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut own = vec![place.stream.as_raw_fd(), output.as_raw_fd(), null.as_raw_fd()];
    own.extend(place.join.iter().map(AsRawFd::as_raw_fd));
    for fd in sys::open_descriptors()? {
        if fd > 2 && !own.contains(&fd) {
            sys::replace(null.as_raw_fd(), fd)?;
        }
    }
    sys::place(output.as_raw_fd(), 1)?;
    sys::place(output.as_raw_fd(), 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Read;

    use super::*;
    use crate::filter::Who;
    use crate::stages::tests::each_that_fails_is_the_last;

    /// On a kernel that lacks this, with no stage carried out.
    fn names(lacks: &[Lack]) -> String {
        let (mut guest, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        let (_, output) = rustix::pipe::pipe().unwrap();
        let filters = filter::compile(Who::Sandbox, lacks).unwrap();
        let nothing = Vec::new;
        let confinement = Confinement {
            execute: nothing(),
            read: nothing(),
            devices: nothing(),
            lacks: lacks.to_vec(),
            filters,
        };
        let (scratch, join) = ("/".into(), Vec::new());
        let place = Place { stream: stream.into(), join, scratch, cpu_s: None, tasks: None };
        let names = each_that_fails_is_the_last(|by| confine(&confinement, &place, &output, by));
        // Once it was through, and each failure was told to the guest.
        drop(place);
        let mut told = String::new();
        guest.read_to_string(&mut told).unwrap();
        let failed = names.iter().map(|name| format!("E{name}: planted\n"));
        assert_eq!(told, format!("R{}", failed.collect::<String>()));
        names.join(" ")
    }

    #[test]
    fn each_stage_that_fails_ends_it_and_is_told() {
        assert_eq!(
            names(&[]),
            "descriptors session cgroup user_namespace uid_map uid capabilities dumpable scratch rlimits no_new_privs \
             landlock seccomp"
        );
        let without = [Lack::Landlock, Lack::TmpLink, Lack::HiddenProcesses];
        assert_eq!(
            names(&without),
            "descriptors session cgroup user_namespace uid_map uid tmp capabilities dumpable scratch umask rlimits \
             no_new_privs seccomp"
        );
    }
}
