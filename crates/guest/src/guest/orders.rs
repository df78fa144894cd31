//! What the worker tells the guest to do.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bulkhead_protocol::{
    BundleHead, CONTROL, Frame, FromGuest, GUEST, GuestError, Kind, SandboxGone, SandboxLimits,
    SlotUsage, ToGuest, ZygoteSpec,
};
use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Guest, Token, now};
use crate::sandbox::{Sampled, Sandbox, UNREAD_BYTES_MAX};
use crate::zygote::Zygote;
use crate::zygote_wire::ToZygote;
use crate::{reclaim, spawn, sys};

impl Guest {
    /// A frame from the worker: for the guest, or for a sandbox.
    pub(super) fn on_worker_frame(&mut self, frame: Frame) -> io::Result<()> {
        if frame.sandbox != GUEST {
            return self.pass_down(frame);
        }
        if frame.kind == Kind::Bundle {
            return self.take_bundle(frame.channel, &frame.payload);
        }
        if frame.kind != Kind::ToGuest || frame.channel != CONTROL || frame.more {
            return Err(io::Error::other("the worker sent a frame that is not for a guest"));
        }
        match serde_json::from_slice(&frame.payload)? {
            ToGuest::StartZygote { zygote, spec, bundle } => {
                self.prepare_zygote(zygote, spec, bundle)
            }
            ToGuest::StopZygote { zygote } => self.stop_zygote(zygote),
            ToGuest::NewSandbox { sandbox, zygote, limits } => {
                self.new_sandbox(sandbox, zygote, &limits)
            }
            ToGuest::KillSandbox { sandbox } => {
                if let Some(sandbox) = self.sandboxes.get_mut(&sandbox) {
                    sandbox.end(SandboxGone::Killed);
                }
                Ok(())
            }
            ToGuest::Credit { sandbox, bytes } => {
                if let Some(it) = self.sandboxes.get_mut(&sandbox) {
                    it.credit += i64::from(bytes);
                }
                self.watch_stream(sandbox)
            }
        }
    }

    fn pass_down(&mut self, frame: Frame) -> io::Result<()> {
        let number = frame.sandbox;
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        if sandbox.ending() {
            return Ok(());
        }
        // A rehearsal runs nothing of the author's: what was rehearsed is parked as before.
        sandbox.begun |= frame.kind != Kind::Rehearse;
        sandbox.link.push(&frame);
        sandbox.link.flush();
        if sandbox.link.waiting() > UNREAD_BYTES_MAX {
            let error = format!("it left {UNREAD_BYTES_MAX} bytes unread");
            sandbox.end(SandboxGone::ProtocolViolation { error });
        }
        self.watch_stream(number)
    }

    /// Starts a zygote now, or once its bundle is here: in a compartment for several each comes with one.
    fn prepare_zygote(
        &mut self,
        number: u32,
        spec: ZygoteSpec,
        bundle: Option<BundleHead>,
    ) -> io::Result<()> {
        match (bundle, self.bundles.come_over_the_stream()) {
            (None, false) => self.start_zygote(number, &spec),
            (Some(head), true) => match self.bundles.begin(number, spec, head) {
                Ok(()) => self.take_bundle(number, &[]),
                Err(error) => self.no_zygote(number, error),
            },
            _ => Err(io::Error::other("a bundle where there is no room for one, or none")),
        }
    }

    fn take_bundle(&mut self, number: u32, bytes: &[u8]) -> io::Result<()> {
        match self.bundles.feed(number, bytes) {
            None => Ok(()),
            Some(Ok(spec)) => self.start_zygote(number, &spec),
            Some(Err(error)) => self.no_zygote(number, error),
        }
    }

    fn no_zygote(&mut self, zygote: u32, error: GuestError) -> io::Result<()> {
        self.tell(&FromGuest::ZygoteFailed { zygote, error, output: String::new() });
        Ok(())
    }

    fn start_zygote(&mut self, number: u32, spec: &ZygoteSpec) -> io::Result<()> {
        let setup = ToZygote::Setup {
            execute: self.config.execute.clone(),
            read: self.config.read.clone(),
            devices: self.config.devices.clone(),
            lacks: self.config.lacks.clone(),
        };
        let started = now();
        let lodging = self.bundles.lodging(number);
        let spawned = match spawn::zygote(spec, &lodging, (&self.filters, self.by), &setup) {
            Ok(spawned) => spawned,
            Err(error) => return self.no_zygote(number, error),
        };
        let zygote =
            Zygote::new(spawned, started, started + Duration::from_millis(spec.ready_ms_max));
        self.watch(zygote.control.as_fd(), Token::ZygoteControl(number), EventFlags::IN)?;
        self.watch(zygote.output_pipe.as_fd(), Token::ZygoteOutput(number), EventFlags::IN)?;
        self.zygotes.insert(number, zygote);
        Ok(())
    }

    fn stop_zygote(&mut self, number: u32) -> io::Result<()> {
        if let Some(zygote) = self.zygotes.remove(&number) {
            zygote.pid.map_or(Ok(()), sys::kill)?;
        }
        // What it left behind must not be there when the next zygote is.
        let left = self.bundles.forget(number)?;
        left.map_or(Ok(()), reclaim::kill_user)
    }

    fn new_sandbox(&mut self, number: u32, zygote: u32, limits: &SandboxLimits) -> io::Result<()> {
        let refuse = |guest: &mut Self, stage: &str, message: &str| {
            let error = GuestError { stage: stage.to_owned(), message: message.to_owned() };
            let gone = SandboxGone::NotStarted { error };
            let usage = SlotUsage::default();
            guest.tell(&FromGuest::SandboxGone { sandbox: number, gone, usage });
            Ok(())
        };
        if self.sandboxes.contains_key(&number) || number == GUEST {
            return refuse(self, "sandbox", "this number was used before");
        }
        if self.zygotes.get(&zygote).is_none_or(|zygote| zygote.ready_by.is_some()) {
            return refuse(self, "zygote", "no such zygote is ready");
        }
        let Some(slot) = self.slots.take() else {
            return refuse(self, "slot", "all slots are in use");
        };
        if let Err(error) = self.slots.config(slot).reset_peak() {
            self.slots.give_back(slot);
            return refuse(self, &error.stage, &error.message);
        }
        self.ask_for_fork(number, zygote, slot, limits)
    }

    fn ask_for_fork(
        &mut self,
        number: u32,
        zygote: u32,
        slot: usize,
        limits: &SandboxLimits,
    ) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        let (stream, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let (output, their_output) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&stream, true)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        // The kernel tells who says hello.
        rustix::net::sockopt::set_socket_passcred(&stream, true)?;
        let config = self.slots.config(slot);
        let join: io::Result<Vec<_>> = config
            .cgroup
            .join
            .iter()
            .map(|file| Ok(rustix::io::fcntl_dupfd_cloexec(sys::borrowed(*file), 5)?))
            .collect();
        let sampled = self.samples().then(|| Sampled::new(limits));
        let request = ToZygote::Fork {
            sandbox: number,
            scratch: config.scratch.clone(),
            cpu_s: limits.cpu_ms.map(|ms| ms.div_ceil(1_000)),
            tasks: sampled.map(|limits| limits.tasks),
        };
        let before = config.counters();
        let sandbox = Sandbox::new(zygote, slot, now(), stream, output, before);
        self.watch(sandbox.link.fd.as_fd(), Token::Stream(number), EventFlags::IN)?;
        if let Some(output) = &sandbox.output {
            self.watch(output.as_fd(), Token::Output(number), EventFlags::IN)?;
        }
        let cpu_us_max = limits.cpu_ms.map(|ms| ms.saturating_mul(1_000));
        let sandbox = Sandbox { watching: (true, false), cpu_us_max, sampled, ..sandbox };
        self.sandboxes.insert(number, sandbox);
        let mut fds = vec![theirs, their_output];
        fds.extend(join?);
        if let Some(zygote) = self.zygotes.get_mut(&zygote) {
            zygote.ask(request, fds);
        }
        self.watch_zygote(zygote)
    }

    pub(super) fn watch_zygote(&mut self, number: u32) -> io::Result<()> {
        let Some(zygote) = self.zygotes.get(&number) else { return Ok(()) };
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, zygote.has_requests());
        self.watch_again(zygote.control.as_fd(), Token::ZygoteControl(number), flags)
    }
}
