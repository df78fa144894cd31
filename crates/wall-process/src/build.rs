//! Building a compartment: from a fork of the launcher to the program that runs in it. What happens in the fork is the
//! [`Kind`]'s: a list of stages; none is skipped, and the first that fails is told to the launcher, which undoes the
//! rest.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use bulkhead_wall::{CompartmentSpec, WallError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::Cgroups;
use crate::kind::Kind;
use crate::{namespaces, sys};

/// Each of process 1's stages must be through within this time.
const STAGES_MAX: Duration = Duration::from_secs(20);

/// A compartment whose guest runs.
#[derive(Debug)]
pub(crate) struct Built {
    /// Process 1, as the host knows it.
    pub(crate) pid: i32,
    /// The worker's end of the stream.
    pub(crate) stream: OwnedFd,
    /// What process 1 writes to its standard output and error, as much as fits into a pipe.
    pub(crate) words: OwnedFd,
}

/// What a compartment is built from.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The runtime image's root file system.
    pub rootfs: &'a Path,
    /// Below which bundles are; nothing else of the host is mounted.
    pub bundles: &'a Path,
    /// The trees of this server.
    pub cgroups: &'a Cgroups,
    /// What was asked for.
    pub spec: &'a CompartmentSpec,
    /// Of the compartment; never used twice.
    pub number: u64,
    /// Place among the compartments that exist: decides the uids.
    pub place: u32,
}

/// What the fork of the launcher has that is to become process 1.
#[derive(Debug)]
pub struct Child<'a> {
    /// What to build.
    pub plan: Plan<'a>,
    /// The guest's end of the stream.
    pub stream: OwnedFd,
    /// Where standard output and error may go.
    pub words: OwnedFd,
    word: &'a OwnedFd,
    go: &'a OwnedFd,
}

impl Child<'_> {
    /// Waits until the launcher has mapped the user namespace that this process has entered.
    ///
    /// # Errors
    /// When the launcher did not.
    pub fn await_mapping(&self) -> io::Result<()> {
        rustix::io::write(self.word, b"U")?;
        let mut answer = [0_u8; 1];
        match rustix::io::read(self.go, &mut answer)? {
            1 if answer[0] == b'G' => Ok(()),
            _ => Err(io::Error::other("the launcher did not map the user namespace")),
        }
    }
}

/// Builds one. Its cgroups exist already.
pub(crate) fn build(kind: &dyn Kind, plan: &Plan<'_>) -> Result<Built, WallError> {
    let named = |stage: &str, error: io::Error| WallError::new(stage, error.to_string());
    let (stream, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| named("stream", error.into()))?;
    let (word, their_word) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| named("pipe", error.into()))?;
    let (go, our_go) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| named("pipe", error.into()))?;
    // Whoever writes more than fits loses it, and does not wait for somebody to read.
    let (words, their_words) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|error| named("pipe", error.into()))?;
    let pid = sys::clone_into(namespaces::AT_BIRTH).map_err(|error| named("namespaces", error))?;
    if pid == 0 {
        drop((stream, word, our_go, words));
        // A panic must not unwind into a second launcher.
        let stages = catch_unwind(AssertUnwindSafe(|| {
            let (stream, words) = (theirs, their_words);
            kind.become_guest(Child { plan: *plan, stream, words, word: &their_word, go: &go })
        }));
        let error = stages.unwrap_or_else(|_| WallError::new("panic", "a stage panicked"));
        let text = format!("{}: {}", error.stage, error.message);
        let told = rustix::io::write(&their_word, text.as_bytes());
        sys::exit_now(if told.is_ok() { 1 } else { 2 });
    }
    drop((theirs, their_word, their_words, go));
    match see_through(pid, plan.place, &word, our_go) {
        Ok(()) => Ok(Built { pid, stream, words }),
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
