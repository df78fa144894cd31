//! Building a compartment: from a fork of the launcher to the guest. [`in_child`] is the privileged sequence, a
//! list of stages; none is skipped, and the first that fails is told to the launcher, which undoes the rest.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bulkhead_guest::config::{GuestConfig, SlotCgroup, SlotConfig};
use bulkhead_guest::fds;
use bulkhead_wall::{CompartmentSpec, WallError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::{self, Cgroups};
use crate::namespaces::{self, SLOT_UID_FIRST, ZYGOTE_UID};
use crate::{mounts, sys};

/// Each of process 1's stages must be through within this time.
const STAGES_MAX: Duration = Duration::from_secs(20);

/// Open files of the guest, where the host allows as many: a few per slot, and streams.
const GUEST_FILES_MAX: u64 = 65_536;

/// The guest's program, inside.
const GUEST: &str = "/runtime/guest";

/// A compartment whose guest runs.
#[derive(Debug)]
pub(crate) struct Built {
    /// Process 1, as the host knows it.
    pub(crate) pid: i32,
    /// The worker's end of the stream.
    pub(crate) stream: OwnedFd,
}

/// What a compartment is built from.
pub(crate) struct Plan<'a> {
    pub(crate) rootfs: &'a Path,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) spec: &'a CompartmentSpec,
    pub(crate) number: u64,
    /// Place among the compartments that exist: decides the uids.
    pub(crate) place: u32,
}

/// Builds one. Its cgroups exist already.
pub(crate) fn build(plan: &Plan<'_>) -> Result<Built, WallError> {
    let named = |stage: &str, error: io::Error| WallError::new(stage, error.to_string());
    let (stream, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| named("stream", error.into()))?;
    let (word, their_word) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| named("pipe", error.into()))?;
    let (go, our_go) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| named("pipe", error.into()))?;
    let pid = sys::clone_into(namespaces::AT_BIRTH).map_err(|error| named("namespaces", error))?;
    if pid == 0 {
        drop((stream, word, our_go));
        // A panic must not unwind into a second launcher.
        let stages = catch_unwind(AssertUnwindSafe(|| in_child(plan, theirs, &their_word, &go)));
        let error = stages.unwrap_or_else(|_| WallError::new("panic", "a stage panicked"));
        let text = format!("{}: {}", error.stage, error.message);
        let told = rustix::io::write(&their_word, text.as_bytes());
        sys::exit_now(if told.is_ok() { 1 } else { 2 });
    }
    drop((theirs, their_word, go));
    match see_through(pid, plan.place, &word, our_go) {
        Ok(()) => Ok(Built { pid, stream }),
        Err(error) => {
            sys::kill(pid).map_err(|error| named("kill", error))?;
            reap(pid).map_err(|error| named("reap", error))?;
            Err(error)
        }
    }
}

/// The launcher's side: maps the user namespace when asked, and waits until the guest runs or a stage has failed.
fn see_through(pid: i32, place: u32, word: &OwnedFd, go: OwnedFd) -> Result<(), WallError> {
    let mut first = [0_u8; 1];
    await_readable(word)?;
    let count = rustix::io::read(word, &mut first)
        .map_err(|error| WallError::new("word", error.to_string()))?;
    if count == 1 && first[0] == b'U' {
        let mapping = namespaces::mapping(place);
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{pid}/{file}"), &mapping)
                .map_err(|error| WallError::new(file, error.to_string()))?;
        }
        rustix::io::write(&go, b"G").map_err(|error| WallError::new("word", error.to_string()))?;
        drop(go);
        await_readable(word)?;
        first = [0];
    }
    // The end of the pipe without a word is the guest's exec: it closed the other end.
    let mut rest = Vec::new();
    let file = std::fs::File::from(
        word.try_clone().map_err(|error| WallError::new("word", error.to_string()))?,
    );
    file.take(4096)
        .read_to_end(&mut rest)
        .map_err(|error| WallError::new("word", error.to_string()))?;
    if rest.is_empty() && first[0] == 0 {
        return Ok(());
    }
    let text = [first.as_slice(), &rest].concat();
    let text = String::from_utf8_lossy(&text);
    let (stage, message) = text.trim_matches('\0').split_once(": ").unwrap_or(("unknown", &text));
    Err(WallError::new(stage, message))
}

fn await_readable(word: &OwnedFd) -> Result<(), WallError> {
    let mut fds = [PollFd::new(word, PollFlags::IN)];
    let limit = Timespec::try_from(STAGES_MAX).ok();
    match poll(&mut fds, limit.as_ref()) {
        Ok(0) => Err(WallError::new("deadline", format!("no word within {STAGES_MAX:?}"))),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(WallError::new("word", error.to_string())),
    }
}

/// Waits for a killed process 1; with it everything in its process-id namespace has ended.
pub(crate) fn reap(pid: i32) -> io::Result<()> {
    while !sys::has_ended(pid)? {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Process 1 on its way to the guest. Returns only when a stage failed.
fn in_child(plan: &Plan<'_>, stream: OwnedFd, word: &OwnedFd, go: &OwnedFd) -> WallError {
    let done = (|| {
        stage("session", rustix::process::setsid().map_err(io::Error::from))?;
        stage("cgroup", plan.cgroups.join_base(plan.number))?;
        stage("cgroup_namespace", sys::unshare(libc::CLONE_NEWCGROUP))?;
        stage("host_name", rustix::system::sethostname(b"sandbox").map_err(io::Error::from))?;
        let slots = stage("slots", slots(plan))?;
        stage("mounts", mounts::build(plan.rootfs, plan.spec, plan.place))?;
        stage("pivot_root", mounts::pivot(plan.rootfs))?;
        stage("rlimits", sys::limit(libc::RLIMIT_CORE, 0))?;
        stage("rlimits", sys::limit_at_most(libc::RLIMIT_NOFILE, GUEST_FILES_MAX))?;
        stage("user_namespace", namespaces::enter_user_namespace())?;
        stage("uid_map", await_mapping(word, go))?;
        stage("capabilities", namespaces::become_guest())?;
        stage("death_signal", die_with_launcher())?;
        stage("descriptors", descriptors(stream, &slots))
    })();
    match done {
        Err(error) => error,
        Ok(()) => {
            #[allow(
                clippy::disallowed_methods,
                reason = "starting guests is what the launcher is for"
            )]
            let error = Command::new(GUEST).env_clear().exec();
            WallError::new("exec", format!("{GUEST}: {error}"))
        }
    }
}

fn stage<T>(name: &str, result: io::Result<T>) -> Result<T, WallError> {
    result.map_err(|error| WallError::new(name, error.to_string()))
}

fn await_mapping(word: &OwnedFd, go: &OwnedFd) -> io::Result<()> {
    rustix::io::write(word, b"U")?;
    let mut answer = [0_u8; 1];
    match rustix::io::read(go, &mut answer)? {
        1 if answer[0] == b'G' => Ok(()),
        _ => Err(io::Error::other("the launcher did not map the user namespace")),
    }
}

fn die_with_launcher() -> io::Result<()> {
    // Cleared by every change of user, so it comes after those. A launcher that is gone by now has closed the
    // stream, and the guest leaves at its first read.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// The slots' descriptions, with their files at the numbers that the guest will find them at.
fn slots(plan: &Plan<'_>) -> io::Result<Vec<SlotConfig>> {
    let mut number = fds::SLOTS_FIRST;
    let mut placed = |file: OwnedFd| {
        let here = number;
        number += 1;
        // Above every number in use: the files go down to their places one by one.
        sys::place(file, here).map(|()| here)
    };
    let mut slots = Vec::new();
    for slot in 0..plan.spec.slots {
        let files = plan.cgroups.open_slot(plan.number, slot)?;
        let cgroup = SlotCgroup {
            name: cgroup::slot_name(slot),
            join: files.join.into_iter().map(&mut placed).collect::<io::Result<_>>()?,
            memory_peak: files.memory_peak.map(&mut placed).transpose()?,
            memory_events: files.memory_events.map(&mut placed).transpose()?,
            pids_events: files.pids_events.map(&mut placed).transpose()?,
        };
        let scratch = PathBuf::from(mounts::SCRATCH).join(slot.to_string());
        slots.push(SlotConfig { uid: SLOT_UID_FIRST + slot, scratch, cgroup });
    }
    Ok(slots)
}

/// Leaves open: nothing but null as standard input and output, the stream, the configuration and the slots' files.
fn descriptors(stream: OwnedFd, slots: &[SlotConfig]) -> io::Result<()> {
    // The image has what its programs were linked against: not every machine has all of these.
    let execute = ["/runtime", "/lib", "/lib64", "/usr"].map(PathBuf::from);
    let config = GuestConfig {
        slots: slots.to_vec(),
        zygote_uid: ZYGOTE_UID,
        execute: execute.into_iter().filter(|path| path.exists()).collect(),
        read: ["/etc", mounts::BUNDLE, "/proc"].map(PathBuf::from).to_vec(),
        devices: ["null", "zero", "full", "random", "urandom"]
            .map(|name| Path::new("/dev").join(name))
            .to_vec(),
    };
    let config = configuration(&serde_json::to_vec(&config)?)?;
    for standard in 0..3 {
        sys::place(null()?, standard)?;
    }
    sys::place(rustix::io::fcntl_dupfd_cloexec(&stream, 5)?, fds::STREAM)?;
    sys::place(config, fds::CONFIG)?;
    let last = slots.iter().flat_map(slot_files).max().unwrap_or(fds::SLOTS_FIRST - 1);
    sys::close_on_exec(5, fds::SLOTS_FIRST.unsigned_abs() - 1)?;
    sys::close_on_exec(last.unsigned_abs() + 1, u32::MAX)
}

/// Above the numbers that are given away: whoever closes it later must not close one of those.
fn null() -> io::Result<OwnedFd> {
    let low = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    Ok(rustix::io::fcntl_dupfd_cloexec(&low, 5)?)
}

fn slot_files(slot: &SlotConfig) -> impl Iterator<Item = i32> {
    let SlotCgroup { join, memory_peak, memory_events, pids_events, .. } = &slot.cgroup;
    join.iter().copied().chain(*memory_peak).chain(*memory_events).chain(*pids_events)
}

/// An anonymous file that holds the configuration, positioned at its start.
fn configuration(text: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("guest-config", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < text.len() {
        written += rustix::io::write(&file, &text[written..])?;
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    // Above the numbers that are about to be given away.
    Ok(rustix::io::fcntl_dupfd_cloexec(&file, 5)?)
}
