//! The launcher: the only part that keeps root. A single-threaded program without network that builds and tears
//! down compartments on request, and when the server goes away, however that happens, leaves nothing behind.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_wall::{Capability, CompartmentSpec, WallError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, socketpair,
};

use crate::build::{self, Built, HostStage, Plan};
use crate::cgroup::{self, Cgroups};
use crate::kind::Kind;
use crate::namespaces::COMPARTMENTS_MAX;
use crate::sys;
use crate::wire::{Done, Op, PACKET_BYTES_MAX, Reply, Request};

/// How long a start waits for the launcher of a server that was killed, which clears away what it built.
const PREDECESSOR_MAX: Duration = Duration::from_secs(20);

/// How often compartments that are ending are looked at, and a predecessor that is.
const ENDING_POLL: Duration = Duration::from_millis(5);

/// Slots that one compartment may have.
const SLOTS_MAX: u32 = 1_024;

/// What a launcher is started with.
pub struct LauncherConfig {
    /// The runtime image's root file system.
    pub rootfs: PathBuf,
    /// Below which the server keeps bundles: of nothing else will it be shown anything inside of a compartment.
    pub bundles: PathBuf,
    /// Whether an image that has a hole in it on purpose may be used: to see that the audit notices.
    pub holes: Holes,
    /// Names this server among those of the machine: letters, digits and dashes, the same at every start, so that
    /// a start can clean up what a killed predecessor left.
    pub instance: String,
    /// What it can build; one of each.
    pub walls: Vec<Box<dyn Kind>>,
}

/// Whether an image with a hole in it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holes {
    /// As ever.
    #[default]
    Refused,
    /// By a test of the audit.
    Wanted,
}

/// The server's end: to be made walls of ([`crate::walls`]).
#[derive(Debug)]
pub struct LauncherHandle {
    pub(crate) socket: OwnedFd,
    pub(crate) walls: Vec<Found>,
}

/// A kind of wall that the launcher can build.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: &'static str,
    /// As root found it: who asks later has dropped what the probes look for.
    pub(crate) capability: Capability,
    pub(crate) patience: Duration,
}

/// Forks the launcher. To be called first thing in `main`, as root, while the process has one thread.
///
/// # Errors
/// When the process has more than one thread, is not root, the image is not there, or cgroups can't be used; the
/// error names the stage.
pub fn start(config: LauncherConfig) -> Result<LauncherHandle, WallError> {
    check(&config)?;
    let found = |kind: &dyn Kind| Found {
        name: kind.name(),
        capability: kind.probe(),
        patience: kind.patience(),
    };
    let walls = config.walls.iter().map(|kind| found(kind.as_ref())).collect();
    let failed = |error: io::Error| WallError::new("launcher", error.to_string());
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| failed(error.into()))?;
    let name = claim(&config.instance, PREDECESSOR_MAX)?;
    let layout = cgroup::detect().map_err(|error| WallError::new("cgroup", error.to_string()))?;
    let cgroups = Cgroups::new(layout, &config.instance);
    let cgroup_failed = |error: io::Error| WallError::new("cgroup", error.to_string());
    cgroups.clean_up().map_err(cgroup_failed)?;
    cgroups.prepare().map_err(cgroup_failed)?;
    if sys::fork().map_err(failed)? != 0 {
        drop(name);
        return Ok(LauncherHandle { socket: ours, walls });
    }
    drop(ours);
    let ended = run(theirs, config, cgroups);
    drop(name);
    sys::exit_now(i32::from(ended.is_err()))
}

/// Takes the instance's name among the abstract sockets of this machine, which the kernel gives back with the last process
/// that holds it: two launchers of one name would kill what the other builds.
fn claim(instance: &str, wait: Duration) -> Result<OwnedFd, WallError> {
    let failed = |error: Errno| WallError::new("launcher", error.to_string());
    let name = format!("bulkhead-launcher-{instance}");
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    let mut left = wait;
    loop {
        match bind(&socket, &name) {
            Ok(()) => return Ok(socket),
            Err(Errno::ADDRINUSE) if !left.is_zero() => {
                std::thread::sleep(ENDING_POLL);
                left = left.saturating_sub(ENDING_POLL);
            }
            Err(Errno::ADDRINUSE) => {
                let message = "another server runs over this data directory, or what it left does not end; stop it, or \
                               give this one a directory of its own";
                return Err(WallError::new("launcher", message));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn check(config: &LauncherConfig) -> Result<(), WallError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(WallError::new(
            "launcher",
            format!("started with {threads} threads, needs one"),
        ));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(WallError::new(
            "launcher",
            "building compartments needs root; `bulkhead doctor` tells what else would do",
        ));
    }
    check_image(config)?;
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if config.instance.is_empty()
        || config.instance.len() > 64
        || !config.instance.chars().all(safe)
    {
        return Err(WallError::new(
            "launcher",
            format!("{:?} is no instance name", config.instance),
        ));
    }
    Ok(())
}

/// The runtime image is there, and whole.
fn check_image(config: &LauncherConfig) -> Result<(), WallError> {
    if !config.rootfs.join("runtime/guest").exists() {
        let message = format!(
            "{} holds no runtime image; `cargo xtask build` makes one",
            config.rootfs.display()
        );
        return Err(WallError::new("image", message));
    }
    let mark = bulkhead_guest::WEAKENED_MARK.trim_start_matches('/');
    if config.rootfs.join(mark).exists() && config.holes == Holes::Refused {
        let message = format!(
            "{} has a hole in it on purpose, for tests of the audit, and isolates nothing: \
             `cargo xtask image` makes one without",
            config.rootfs.display()
        );
        return Err(WallError::new("image", message));
    }
    Ok(())
}

struct Launcher {
    socket: OwnedFd,
    config: LauncherConfig,
    cgroups: Cgroups,
    /// Those that run, by number.
    compartments: BTreeMap<u64, Running>,
    /// Those that were killed and are not gone yet, with the request to answer.
    ending: Vec<Ending>,
    last_number: u64,
}

struct Running {
    pid: i32,
    place: u32,
}

struct Ending {
    number: u64,
    pid: i32,
    /// Keeps the place taken until nothing runs there any more.
    place: u32,
    reaped: bool,
    /// What is then answered to which request.
    answer: (u64, Result<Done, WallError>),
}

fn run(socket: OwnedFd, config: LauncherConfig, cgroups: Cgroups) -> io::Result<()> {
    let socket = sys::keep_only(socket)?;
    // Its own session: a Ctrl-C at the terminal is for the server, whose end is then seen here.
    rustix::process::setsid()?;
    rustix::thread::set_name(c"bulkhead-launch")?;
    let mut launcher = Launcher {
        socket,
        config,
        cgroups,
        compartments: BTreeMap::new(),
        ending: Vec::new(),
        last_number: 0,
    };
    let served = launcher.serve();
    // Whatever happened, nothing is left behind.
    launcher.end_all();
    launcher.cgroups.clean_up()?;
    served
}

impl Launcher {
    /// Serves requests until the server goes away.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let ending = !self.ending.is_empty();
            let timeout = Timespec::try_from(ENDING_POLL).ok().filter(|_| ending);
            let ready = match poll(&mut fds, timeout.as_ref()) {
                Ok(count) => count > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            if ready && !self.take_request()? {
                return Ok(());
            }
            self.look_after_ending()?;
        }
    }

    /// `false` when the server has gone.
    fn take_request(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0_u8; PACKET_BYTES_MAX];
        let received = bulkhead_guest::receive(&self.socket, &mut buffer)?;
        if received.bytes == 0 {
            return Ok(false);
        }
        let Request { id, op } = serde_json::from_slice(&buffer[..received.bytes])?;
        match op {
            Op::Create { wall, spec } => match self.create(id, &wall, &spec) {
                Ok(Some((compartment, built))) => {
                    let fds = [built.stream.as_fd(), built.words.as_fd()];
                    self.answer(id, &Ok(Done::Created { compartment }), &fds)?;
                }
                // Answered once everything is undone.
                Ok(None) => {}
                Err(error) => self.answer(id, &Err(error), &[])?,
            },
            Op::Destroy { compartment } => match self.compartments.remove(&compartment) {
                Some(running) => self.end(compartment, &running, id)?,
                None => {
                    let error =
                        WallError::new("destroy", format!("there is no compartment {compartment}"));
                    self.answer(id, &Err(error), &[])?;
                }
            },
            Op::Memory { compartment } => {
                let bytes = self.cgroups.memory_bytes(compartment);
                self.answer(id, &Ok(Done::Memory { bytes }), &[])?;
            }
        }
        Ok(true)
    }

    /// `None` when something failed that has to be undone: request `id` is answered after that.
    fn create(
        &mut self,
        id: u64,
        wall: &str,
        spec: &CompartmentSpec,
    ) -> Result<Option<(u64, Built)>, WallError> {
        if spec.slots == 0 || spec.slots > SLOTS_MAX {
            let message = format!("{} slots; 1 to {SLOTS_MAX} are possible", spec.slots);
            return Err(WallError::new("slots", message));
        }
        let place = self.free_place()?;
        let kind = self.config.walls.iter().find(|kind| kind.name() == wall);
        let Some(kind) = kind else {
            return Err(WallError::new("wall", format!("this launcher builds no {wall} wall")));
        };
        if spec.zygotes > kind.zygotes_max() {
            let message = format!("{} zygotes; {} are possible", spec.zygotes, kind.zygotes_max());
            return Err(WallError::new("zygotes", message));
        }
        self.last_number += 1;
        let number = self.last_number;
        let cgroups = self.cgroups.clone();
        let rootfs = self.config.rootfs.clone();
        let bundles = std::path::absolute(&self.config.bundles)
            .map_err(|error| WallError::new("mounts", error.to_string()))?;
        let plan =
            Plan { rootfs: &rootfs, bundles: &bundles, cgroups: &cgroups, spec, number, place };
        let kind = kind.as_ref();
        let make_cgroups = || cgroups.create(number, &kind.tree(spec));
        let built = build::host_stage(kind, HostStage::Cgroup, make_cgroups)
            .and_then(|()| build::build(kind, &plan));
        match built {
            Ok(built) => {
                self.compartments.insert(number, Running { pid: built.pid, place });
                Ok(Some((number, built)))
            }
            Err(error) => {
                // Process 1 is dead and reaped: what is left are empty cgroups.
                let answer = (id, Err(error));
                self.ending.push(Ending { number, pid: 0, place, reaped: true, answer });
                Ok(None)
            }
        }
    }

    fn free_place(&self) -> Result<u32, WallError> {
        let taken = |place: &u32| {
            self.compartments.values().any(|it| it.place == *place)
                || self.ending.iter().any(|it| it.place == *place)
        };
        // Begins at a place that grows: a uid is used again as late as possible.
        let start = u32::try_from(self.last_number % u64::from(COMPARTMENTS_MAX)).unwrap_or(0);
        (0..COMPARTMENTS_MAX)
            .map(|step| (start + step) % COMPARTMENTS_MAX)
            .find(|place| !taken(place))
            .ok_or_else(|| WallError::new("uids", format!("{COMPARTMENTS_MAX} compartments exist")))
    }

    fn end(&mut self, number: u64, running: &Running, request: u64) -> io::Result<()> {
        sys::kill(running.pid)?;
        let Running { pid, place } = *running;
        let answer = (request, Ok(Done::Destroyed));
        self.ending.push(Ending { number, pid, place, reaped: false, answer });
        Ok(())
    }

    fn look_after_ending(&mut self) -> io::Result<()> {
        for mut ending in std::mem::take(&mut self.ending) {
            ending.reaped = ending.reaped || sys::has_ended(ending.pid)?;
            if !ending.reaped || !self.cgroups.remove(ending.number)? {
                self.ending.push(ending);
            } else {
                let (request, result) = &ending.answer;
                self.answer(*request, result, &[])?;
            }
        }
        Ok(())
    }

    fn end_all(&mut self) {
        for running in self.compartments.values() {
            // Killing a child of ours can't fail but for its being gone; the cgroups are cleaned in any case, and
            // that kills whatever this missed.
            if sys::kill(running.pid).is_ok() && build::reap(running.pid).is_err() {
                continue;
            }
        }
    }

    fn answer(
        &self,
        id: u64,
        result: &Result<Done, WallError>,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Reply { id, result: result.clone() })?;
        debug_assert!(self.socket.as_raw_fd() == 3);
        bulkhead_guest::send(&self.socket, &bytes, fds)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_is_one_launchers_until_that_is_gone() {
        let name = format!("claimed-{}", std::process::id());
        let first = claim(&name, Duration::ZERO).unwrap();
        let refused = claim(&name, Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("another server"), "{refused}");
        drop(first);
        drop(claim(&name, Duration::ZERO).unwrap());
    }

    #[test]
    fn an_image_with_a_hole_in_it_is_refused_by_name() {
        let image = tempfile::tempdir().unwrap();
        std::fs::create_dir(image.path().join("runtime")).unwrap();
        std::fs::write(image.path().join("runtime/guest"), "").unwrap();
        let check = |holes| {
            let config = LauncherConfig {
                rootfs: image.path().into(),
                bundles: image.path().into(),
                holes,
                instance: "it".to_owned(),
                walls: Vec::new(),
            };
            check_image(&config).map_err(|error| error.to_string())
        };
        assert_eq!(check(Holes::Refused), Ok(()));
        std::fs::write(image.path().join("runtime/weakened"), "").unwrap();
        assert!(check(Holes::Refused).unwrap_err().contains("has a hole in it on purpose"));
        assert_eq!(check(Holes::Wanted), Ok(()));
    }
}
