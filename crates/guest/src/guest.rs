//! The event loop of process 1: one thread, one epoll, no clever order. Each event changes what is known of a
//! zygote or a sandbox; then whatever that makes necessary is done.

mod events;
mod orders;
mod placing;
mod settling;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use bulkhead_protocol::{Frame, FromGuest, GuestError, Kind, VERSION, fragments};
use rustix::event::epoll;

use crate::bundles::Bundles;
use crate::config::{CONFIG_BYTES_MAX, GuestConfig, Lack};
use crate::filter::{self, Filters, Who};
use crate::lids;
use crate::link::Link;
use crate::pace::{Glance, Pace};
use crate::sandbox::{Sandbox, Stage};
use crate::slot::Slots;
use crate::stages::{Plainly, Run, Sequence, Stages};
use crate::zygote::Zygote;
use crate::{WEAKENED_MARK, fds, sys};

/// Whether this build has a hole in it, by which the audit is seen to notice.
const WEAKENED: bool = cfg!(any(feature = "weakened-seccomp", feature = "weakened-scratch"));

/// Bytes that may wait for the worker before sandboxes are no longer read.
const WORKER_BACKLOG_BYTES: usize = 4 << 20;

/// Events taken at once.
const EVENTS_MAX: usize = 256;

/// What an event is about; packed into epoll's 64 bits as kind and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Worker,
    Children,
    ZygoteControl(u32),
    ZygoteOutput(u32),
    Stream(u32),
    Output(u32),
    Death(u32),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Worker => (0, 0),
            Self::Children => (1, 0),
            Self::ZygoteControl(number) => (2, number),
            Self::ZygoteOutput(number) => (3, number),
            Self::Stream(number) => (4, number),
            Self::Output(number) => (5, number),
            Self::Death(number) => (6, number),
        };
        kind << 32 | u64::from(number)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let number = u32::try_from(packed & 0xffff_ffff).ok()?;
        Some(match packed >> 32 {
            0 => Self::Worker,
            1 => Self::Children,
            2 => Self::ZygoteControl(number),
            3 => Self::ZygoteOutput(number),
            4 => Self::Stream(number),
            5 => Self::Output(number),
            6 => Self::Death(number),
            _ => return None,
        })
    }
}

/// All that process 1 knows.
pub(crate) struct Guest {
    by: &'static dyn Stages,
    epoll: OwnedFd,
    children: OwnedFd,
    config: GuestConfig,
    filters: Filters,
    worker: Link,
    worker_watch_out: bool,
    slots: Slots,
    bundles: Bundles,
    zygotes: HashMap<u32, Zygote>,
    sandboxes: HashMap<u32, Sandbox>,
    backlog: bool,
    glance: Glance,
}

/// Runs the guest until the worker's stream ends.
///
/// # Errors
/// When the configuration can't be read or the event loop can't be built. As process 1, leaving ends the
/// compartment.
pub fn run() -> io::Result<()> {
    run_by(&Plainly)
}

/// The same, with somebody to carry stages out.
///
/// # Errors
/// The same.
pub fn run_by(by: &'static dyn Stages) -> io::Result<()> {
    serve(read_config()?, by)
}

/// The same with a configuration at hand.
pub(crate) fn serve(config: GuestConfig, by: &'static dyn Stages) -> io::Result<()> {
    if WEAKENED && !std::path::Path::new(WEAKENED_MARK).exists() {
        return Err(io::Error::other("a guest with a hole in it, outside of a test of the audit"));
    }
    let who = if config.zygotes.is_empty() { Who::Guest } else { Who::GuestOfSeveral };
    let own = filter::compile(who, &config.lacks).map_err(io::Error::other)?;
    close(&config, &own, by).map_err(io::Error::other)?;
    let mut guest = Guest::new(config, by)?;
    let slots = u32::try_from(guest.config.slots.len()).unwrap_or(u32::MAX);
    guest.tell(&FromGuest::Hello { version: VERSION, slots });
    guest.serve()
}

/// What is closed before anybody is spoken to.
fn close(config: &GuestConfig, own: &Filters, by: &dyn Stages) -> Result<(), GuestError> {
    let run = Run { by, sequence: Sequence::Guest };
    if config.lacks.contains(&Lack::KernelFiles) {
        run.stage("kernel_files", lids::shut)?;
    }
    run.stage("seccomp", || filter::apply(own).map_err(io::Error::other))
}

fn read_config() -> io::Result<GuestConfig> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        match rustix::io::read(sys::borrowed(fds::CONFIG), &mut buffer)? {
            0 => {
                // Where /proc shows it, a sandbox could open it through the descriptor.
                sys::close(fds::CONFIG)?;
                return Ok(serde_json::from_slice(&text)?);
            }
            count => text.extend_from_slice(&buffer[..count]),
        }
        if text.len() > CONFIG_BYTES_MAX {
            return Err(io::Error::other("configuration too long"));
        }
    }
}

impl Guest {
    fn new(config: GuestConfig, by: &'static dyn Stages) -> io::Result<Self> {
        let filters = filter::compile(Who::Zygote, &config.lacks).map_err(io::Error::other)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stream = rustix::io::fcntl_dupfd_cloexec(sys::borrowed(fds::STREAM), 5)?;
        rustix::io::ioctl_fionbio(&stream, true)?;
        let children = sys::child_events()?;
        let watch = |fd: BorrowedFd<'_>, token: Token, flags| {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(token.pack()), flags)
        };
        watch(AsFd::as_fd(&stream), Token::Worker, epoll::EventFlags::IN)?;
        watch(AsFd::as_fd(&children), Token::Children, epoll::EventFlags::IN)?;
        Ok(Self {
            by,
            epoll,
            children,
            filters,
            worker: Link::new(stream),
            worker_watch_out: false,
            slots: Slots::new(config.slots.clone()),
            bundles: Bundles::new(&config),
            config,
            zygotes: HashMap::new(),
            sandboxes: HashMap::new(),
            backlog: false,
            glance: Glance::default(),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let (mut pace, mut counted_from) = (Pace::Never, now());
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.worker.flush();
            if self.worker.ended {
                return Ok(());
            }
            self.watch_worker()?;
            let was = std::mem::replace(&mut pace, self.pace());
            if was.is_idle() && !pace.is_idle() {
                // What has just begun is not held up by a look that nobody needed before.
                counted_from = now();
            }
            let due = pace.every().map(|every| counted_from + every);
            let wait = due.map(|due| due.saturating_duration_since(now()));
            let timeout = wait.and_then(|wait| rustix::event::Timespec::try_from(wait).ok());
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                if let Some(token) = Token::unpack(event.data.u64()) {
                    self.on_event(token, event.flags)?;
                }
            }
            if due.is_some_and(|due| now() >= due) {
                self.tick()?;
                counted_from = now();
            }
            self.settle_all()?;
        }
    }

    /// Whether memory and processes are counted in `/proc`.
    pub(crate) fn samples(&self) -> bool {
        self.config.lacks.contains(&Lack::SlotCgroups)
    }

    /// How often to look at what has no event of its own: nothing of the author's runs in what is parked.
    fn pace(&self) -> Pace {
        let starts = self.zygotes.values().any(|zygote| zygote.ready_by.is_some());
        let unready = |sandbox: &Sandbox| sandbox.stage != Stage::Ready || sandbox.ending();
        match (self.sandboxes.values().any(|sandbox| sandbox.begun), self.samples()) {
            (true, true) => Pace::Sampled,
            (true, false) => Pace::Usual,
            _ if starts || self.sandboxes.values().any(unready) => Pace::Usual,
            (false, true) if !self.zygotes.is_empty() => Pace::Idle,
            _ => Pace::Never,
        }
    }

    /// Says something to the worker.
    pub(crate) fn tell(&mut self, message: &FromGuest) {
        let text = serde_json::to_vec(message).unwrap_or_default();
        for frame in fragments(bulkhead_protocol::GUEST, 0, Kind::FromGuest, &text) {
            self.worker.push(&frame);
        }
    }

    /// Passes a frame of a sandbox on, under the number of the sandbox whose stream it came from.
    pub(crate) fn relay(&mut self, sandbox: u32, frame: Frame) {
        self.worker.push(&Frame { sandbox, ..frame });
    }

    pub(crate) fn watch(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        flags: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.pack());
        Ok(epoll::add(&self.epoll, fd, data, flags)?)
    }

    pub(crate) fn watch_again(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        flags: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.pack());
        Ok(epoll::modify(&self.epoll, fd, data, flags)?)
    }

    fn watch_worker(&mut self) -> io::Result<()> {
        let out = self.worker.waiting() > 0;
        if out != self.worker_watch_out {
            let flags = if out {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            self.watch_again(AsFd::as_fd(&self.worker.fd), Token::Worker, flags)?;
            self.worker_watch_out = out;
        }
        let backlog = self.worker.waiting() > WORKER_BACKLOG_BYTES;
        if backlog != self.backlog {
            self.backlog = backlog;
            let all: Vec<u32> = self.sandboxes.keys().copied().collect();
            all.into_iter().try_for_each(|sandbox| self.watch_stream(sandbox))?;
        }
        Ok(())
    }

    /// Watches a sandbox's stream for what can be done with it now.
    pub(crate) fn watch_stream(&mut self, number: u32) -> io::Result<()> {
        let backlog = self.backlog;
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        let read = sandbox.credit > 0 && !backlog && !sandbox.link.ended;
        let wanted = (read, sandbox.link.waiting() > 0);
        if wanted == sandbox.watching {
            return Ok(());
        }
        sandbox.watching = wanted;
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, wanted.0);
        flags.set(epoll::EventFlags::OUT, wanted.1);
        let hung_up = std::mem::take(&mut sandbox.parked_hangup);
        let stream = AsFd::as_fd(&self.sandboxes[&number].link.fd);
        let token = Token::Stream(number);
        if hung_up {
            self.watch(stream, token, flags)
        } else {
            self.watch_again(stream, token, flags)
        }
    }
}

/// The guest measures durations of its own; it decides nothing that a simulator would have to replay.
#[allow(clippy::disallowed_methods, reason = "process 1 is the edge: deadlines of real processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::stages::tests::each_that_fails_is_the_last;

    #[test]
    fn each_stage_that_fails_is_the_last_before_the_first_word() {
        let names = |lacks: &[Lack]| {
            let config = GuestConfig {
                slots: Vec::new(),
                zygote_uid: 500,
                zygotes: Vec::new(),
                execute: Vec::new(),
                read: Vec::new(),
                devices: Vec::new(),
                lacks: lacks.to_vec(),
            };
            let own = filter::compile(Who::Guest, lacks).unwrap();
            each_that_fails_is_the_last(|by| close(&config, &own, by)).join(" ")
        };
        assert_eq!(names(&[]), "seccomp");
        assert_eq!(names(&[Lack::KernelFiles]), "kernel_files seccomp");
    }
}
