//! Building a compartment: from a fork of the launcher to the program that runs in it. What the launcher does is in
//! [`HostStage`]; what happens in the fork is the [`Kind`]'s list of [`Stage`]s. None is skipped, and the first that
//! fails is told by its name, and undoes the rest.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use bulkhead_guest::config::SlotConfig;
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

/// What the launcher does itself for a compartment, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStage {
    /// Makes the cgroups, with their limits.
    Cgroup,
    /// Makes the stream to the guest.
    Stream,
    /// Makes the pipes by which process 1 and the launcher talk meanwhile.
    Pipe,
    /// Forks process 1 into new namespaces.
    Namespaces,
    /// Maps the users of its user namespace, when it is there.
    UidMap,
    /// Maps the groups.
    GidMap,
}

impl HostStage {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cgroup, Self::Stream, Self::Pipe, Self::Namespaces, Self::UidMap, Self::GidMap];

    /// As errors name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Stream => "stream",
            Self::Pipe => "pipe",
            Self::Namespaces => "namespaces",
            Self::UidMap => "uid_map",
            Self::GidMap => "gid_map",
        }
    }
}

/// Carries out one of the launcher's stages, if the kind lets it.
pub(crate) fn host_stage<T>(
    kind: &dyn Kind,
    stage: HostStage,
    run: impl FnOnce() -> io::Result<T>,
) -> Result<T, WallError> {
    let done = kind.permit(stage).and_then(|()| run());
    done.map_err(|error| WallError::new(stage.name(), error.to_string()))
}

/// One step from a fork of the launcher to the program in the compartment.
pub struct Stage<'k> {
    /// As errors name it.
    pub name: &'static str,
    run: Box<Run<'k>>,
}

type Run<'k> = dyn FnOnce(&mut Child<'_>) -> io::Result<()> + 'k;

impl<'k> Stage<'k> {
    /// A stage that does `run`.
    #[must_use]
    pub fn new(
        name: &'static str,
        run: impl FnOnce(&mut Child<'_>) -> io::Result<()> + 'k,
    ) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Carries it out. A panic is a failure: it must not unwind into a second launcher.
    ///
    /// # Errors
    /// Names the stage.
    pub fn run(self, child: &mut Child<'_>) -> Result<(), WallError> {
        let done = catch_unwind(AssertUnwindSafe(|| (self.run)(child)));
        let done = done.unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        done.map_err(|error| WallError::new(self.name, error.to_string()))
    }
}

/// What the fork of the launcher has that is to become process 1.
#[derive(Debug)]
pub struct Child<'a> {
    /// What to build.
    pub plan: Plan<'a>,
    /// Where standard output and error may go.
    pub words: OwnedFd,
    /// The slots that the guest will be told of.
    pub slots: Vec<SlotConfig>,
    stream: Option<OwnedFd>,
    word: &'a OwnedFd,
    go: &'a OwnedFd,
}

impl Child<'_> {
    /// The guest's end of the stream, once.
    ///
    /// # Errors
    /// When it was taken before.
    pub fn take_stream(&mut self) -> io::Result<OwnedFd> {
        self.stream.take().ok_or_else(|| io::Error::other("the stream was given away before"))
    }

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
    let (stream, theirs) = host_stage(kind, HostStage::Stream, || {
        Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
    })?;
    let pipes = host_stage(kind, HostStage::Pipe, || {
        let told = pipe_with(PipeFlags::CLOEXEC)?;
        let telling = pipe_with(PipeFlags::CLOEXEC)?;
        // Whoever writes more than fits loses it, and does not wait for somebody to read.
        Ok((told, telling, pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?))
    })?;
    let ((word, their_word), (go, our_go), (words, their_words)) = pipes;
    let fork = || sys::clone_into(namespaces::AT_BIRTH);
    let pid = host_stage(kind, HostStage::Namespaces, fork)?;
    if pid == 0 {
        drop((stream, word, our_go, words));
        let (stream, words) = (Some(theirs), their_words);
        let (word, go) = (&their_word, &go);
        become_guest(kind, Child { plan: *plan, words, slots: Vec::new(), stream, word, go });
    }
    drop((theirs, their_word, their_words, go));
    match see_through(kind, pid, plan.place, &word, our_go) {
        Ok(()) => Ok(Built { pid, stream, words }),
        Err(error) => {
            let named = |stage: &str, error: io::Error| WallError::new(stage, error.to_string());
            sys::kill(pid).map_err(|error| named("kill", error))?;
            reap(pid).map_err(|error| named("reap", error))?;
            Err(error)
        }
    }
}

/// Goes through the kind's stages. The last one that succeeds replaces this program; a failed one is told.
fn become_guest(kind: &dyn Kind, mut child: Child<'_>) -> ! {
    let failed = kind.stages().into_iter().find_map(|stage| stage.run(&mut child).err());
    let error = failed.unwrap_or_else(|| WallError::new("exec", "no stage ran a program"));
    let text = format!("{}: {}", error.stage, error.message);
    let told = rustix::io::write(child.word, text.as_bytes());
    sys::exit_now(if told.is_ok() { 1 } else { 2 });
}

/// The launcher's side: maps the user namespace when asked, and waits until the guest runs or a stage has failed.
fn see_through(
    kind: &dyn Kind,
    pid: i32,
    place: u32,
    word: &OwnedFd,
    go: OwnedFd,
) -> Result<(), WallError> {
    let mut first = [0_u8; 1];
    await_readable(word)?;
    let count = rustix::io::read(word, &mut first)
        .map_err(|error| WallError::new("word", error.to_string()))?;
    if count == 1 && first[0] == b'U' {
        let mapping = namespaces::mapping(place);
        for map in [HostStage::UidMap, HostStage::GidMap] {
            let file = format!("/proc/{pid}/{}", map.name());
            host_stage(kind, map, || std::fs::write(file, &mapping))?;
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
