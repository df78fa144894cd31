//! What happens to the guest: bytes, deaths, and the passing of time.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bulkhead_protocol::{Frame, FromGuest, HEADER_BYTES, Kind, SandboxGone};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::{Guest, Token, now};
use crate::config::BASE_MEMORY_MIB;
use crate::pace::Totals;
use crate::sample::{self, Sample};
use crate::sandbox::{START_MAX, Stage};
use crate::sys::{self, Exited, WaitStatus};
use crate::zygote_wire::FromZygote;

/// Bytes of standard output taken at once.
const OUTPUT_BYTES: usize = 16 * 1024;

/// Reads of standard output, and packets of a zygote, that are taken in one turn: more than a pipe and a socket hold. Who
/// goes on writing meanwhile waits for the next turn, and holds up nobody.
const TURN_MAX: usize = 32;

/// How long a result waits for the word how its sandbox, which was faster, ended.
const EXIT_WORD_MAX: Duration = Duration::from_millis(20);

impl Guest {
    pub(super) fn on_event(&mut self, token: Token, flags: EventFlags) -> io::Result<()> {
        match token {
            Token::Worker => self.on_worker(flags),
            Token::Children => self.on_children(),
            Token::ZygoteControl(number) => self.on_zygote(number, flags),
            Token::ZygoteOutput(number) => self.on_zygote_output(number),
            Token::Stream(number) => self.on_stream(number, flags),
            Token::Output(number) => self.on_output(number),
            Token::Death(number) => self.on_death(number),
        }
    }

    fn on_worker(&mut self, flags: EventFlags) -> io::Result<()> {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let frames = self.worker.read_frames().map_err(io::Error::other)?;
        frames.into_iter().try_for_each(|frame| self.on_worker_frame(frame))
    }

    /// Reaps whatever ended: zygotes, reclaimers, and orphans that came to process 1.
    fn on_children(&mut self) -> io::Result<()> {
        sys::drain_child_events(&self.children)?;
        while let Some(exited) = sys::reap_one(-1)? {
            if let Some(sandbox) =
                self.sandboxes.values_mut().find(|s| s.reclaimer == Some(exited.pid))
            {
                sandbox.reclaimed = Some(exited.status.exited() == Some(0));
                sandbox.reclaimed_at = Some(now());
            } else if let Some(sandbox) =
                self.sandboxes.values_mut().find(|s| s.pid == Some(exited.pid))
            {
                sandbox.exited = Some(exited);
                sandbox.dead.get_or_insert_with(now);
            } else if let Some(zygote) =
                self.zygotes.values_mut().find(|z| z.pid == Some(exited.pid))
            {
                // What it said before it left comes first; its number may soon be somebody else's.
                zygote.pid = None;
                zygote.ready_by.get_or_insert_with(now);
            }
        }
        Ok(())
    }

    fn on_zygote(&mut self, number: u32, flags: EventFlags) -> io::Result<()> {
        let Some(zygote) = self.zygotes.get_mut(&number) else { return Ok(()) };
        if flags.contains(EventFlags::OUT) {
            zygote.send_requests();
        }
        for _ in 0..TURN_MAX {
            let packet = self.zygotes.get_mut(&number).and_then(|zygote| zygote.receive());
            let Some(packet) = packet else { break };
            self.on_zygote_packet(number, packet);
        }
        self.bury_zygote_if_failed(number)?;
        self.watch_zygote(number)
    }

    fn on_zygote_packet(&mut self, number: u32, packet: FromZygote) {
        let Some(zygote) = self.zygotes.get_mut(&number) else { return };
        match packet {
            FromZygote::Ready => {
                if let Some(shared) = zygote.pid.and_then(sample::shared_memory_of) {
                    zygote.fail("shared_memory", format!("its forks would share {shared}"));
                    return;
                }
                zygote.ready_by = None;
                let load_us =
                    u64::try_from(zygote.started.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.tell(&FromGuest::ZygoteReady { zygote: number, load_us });
            }
            FromZygote::Failed(error) => zygote.failed = Some(error),
            FromZygote::NotForked { sandbox, error } => {
                let its_own = self.sandboxes.get_mut(&sandbox).filter(|it| it.zygote == number);
                if let Some(sandbox) = its_own.filter(|it| it.pid.is_none()) {
                    sandbox.refuse(&error.stage, error.message);
                }
            }
            FromZygote::Exited { pid, status, cpu_us, memory_bytes_peak } => {
                let its_own =
                    |it: &&mut crate::sandbox::Sandbox| it.zygote == number && it.pid == Some(pid);
                if let Some(sandbox) = self.sandboxes.values_mut().find(its_own) {
                    let status = WaitStatus(status);
                    sandbox.exited.get_or_insert(Exited { pid, status, cpu_us, memory_bytes_peak });
                    sandbox.dead.get_or_insert_with(now);
                }
            }
        }
    }

    pub(super) fn bury_zygote_if_failed(&mut self, number: u32) -> io::Result<()> {
        let Some(zygote) = self.zygotes.get_mut(&number) else { return Ok(()) };
        let Some(obituary) = zygote.obituary(number) else { return Ok(()) };
        zygote.pid.map_or(Ok(()), sys::kill)?;
        self.zygotes.remove(&number);
        self.tell(&obituary);
        for sandbox in
            self.sandboxes.values_mut().filter(|it| it.zygote == number && it.pid.is_none())
        {
            sandbox.refuse("zygote", "its zygote died".to_owned());
        }
        Ok(())
    }

    fn on_zygote_output(&mut self, number: u32) -> io::Result<()> {
        let Some(zygote) = self.zygotes.get_mut(&number) else { return Ok(()) };
        if !zygote.read_output() {
            epoll::delete(&self.epoll, &zygote.output_pipe)?;
        }
        Ok(())
    }

    fn on_stream(&mut self, number: u32, flags: EventFlags) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        if sandbox.link.ended {
            // Read to its end: epoll must not report the hang-up over and over.
            return self.park_hangup(number);
        }
        if sandbox.stage != Stage::Ready {
            return self.on_handshake(number);
        }
        if flags.contains(EventFlags::OUT) {
            sandbox.link.flush();
        }
        if sandbox.watching.0
            && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
        {
            let frames = sandbox.link.read_frames();
            self.on_sandbox_frames(number, frames);
        } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) && !sandbox.watching.0 {
            // Closed on the far side while it may not be read: look again when the worker grants more.
            self.park_hangup(number)?;
        }
        self.watch_stream(number)
    }

    /// Stops watching a stream that hung up, until [`Guest::watch_stream`] wants something of it again.
    fn park_hangup(&mut self, number: u32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number).filter(|it| !it.parked_hangup) else {
            return Ok(());
        };
        epoll::delete(&self.epoll, &sandbox.link.fd)?;
        sandbox.parked_hangup = true;
        Ok(())
    }

    fn on_sandbox_frames(
        &mut self,
        number: u32,
        frames: Result<Vec<Frame>, bulkhead_protocol::FrameError>,
    ) {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return };
        let violation = |error: String| SandboxGone::ProtocolViolation { error };
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) => {
                sandbox.link.ended = true;
                sandbox.end(violation(error.to_string()));
                return;
            }
        };
        for frame in frames {
            let Some(sandbox) = self.sandboxes.get_mut(&number) else { return };
            if !frame.kind.from_sandbox() {
                sandbox.link.ended = true;
                sandbox.end(violation(format!("a sandbox may not send {:?}", frame.kind)));
                return;
            }
            let bytes = HEADER_BYTES + frame.payload.len();
            sandbox.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
            if frame.kind == Kind::Result && !std::mem::replace(&mut sandbox.answers, true) {
                self.before_result(number);
            }
            self.relay(number, frame);
        }
    }

    /// An attempt ends with its result: what the sandbox wrote and used before comes before.
    fn before_result(&mut self, number: u32) {
        for _ in 0..TURN_MAX {
            if self.relay_output(number) != Some(OUTPUT_BYTES) {
                break;
            }
        }
        let Some(pid) = self.sandboxes.get(&number).and_then(|sandbox| sandbox.pid) else { return };
        let cpu_us = sys::cpu_us_of(pid).unwrap_or_else(|| self.cpu_us_at_exit(number));
        self.look_at(number, pid);
        let Some(sandbox) = self.sandboxes.get(&number) else { return };
        let mut usage = self.slots.config(sandbox.slot).usage(sandbox.before);
        usage = sandbox.usage(usage);
        usage.cpu_us = cpu_us;
        self.tell(&FromGuest::SandboxAnswers { sandbox: number, usage });
    }

    /// The CPU time of a sandbox that has left already, by the word of its zygote, which is on its way. The wait is
    /// short and at the cost of one function only, or of one tenant's: a compartment serves no other.
    fn cpu_us_at_exit(&mut self, number: u32) -> u64 {
        let Some(zygote) = self.sandboxes.get(&number).map(|sandbox| sandbox.zygote) else {
            return 0;
        };
        let until = now() + EXIT_WORD_MAX;
        loop {
            for _ in 0..TURN_MAX {
                let packet = self.zygotes.get_mut(&zygote).and_then(|it| it.receive());
                let Some(packet) = packet else { break };
                self.on_zygote_packet(zygote, packet);
            }
            let exited = self.sandboxes.get(&number).and_then(|sandbox| sandbox.exited);
            let wait = until.saturating_duration_since(now());
            match (exited, self.zygotes.get(&zygote)) {
                (Some(exited), _) => return exited.cpu_us,
                (None, Some(zygote)) if !wait.is_zero() && zygote.failed.is_none() => {
                    sys::await_readable(zygote.control.as_fd(), wait);
                }
                _ => return 0,
            }
        }
    }

    /// Standard output and error: passed on as they are, and charged like frames.
    fn on_output(&mut self, number: u32) -> io::Result<()> {
        if self.relay_output(number) != Some(0) {
            return Ok(());
        }
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        sandbox.output.take().map_or(Ok(()), |output| Ok(epoll::delete(&self.epoll, &output)?))
    }

    /// Passes on what waits in the pipe, up to [`OUTPUT_BYTES`]; says how much that was, 0 at the end of the pipe.
    fn relay_output(&mut self, number: u32) -> Option<usize> {
        let backlog = self.backlog;
        let sandbox = self.sandboxes.get_mut(&number)?;
        let output = sandbox.output.as_ref()?;
        let mut buffer = [0_u8; OUTPUT_BYTES];
        let count = match rustix::io::read(output, &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => 0,
        };
        // A sandbox that floods its output beyond its credit loses what does not fit: it is text for people, and
        // the log has its limit anyway.
        if count > 0 && sandbox.credit > 0 && !backlog {
            sandbox.credit -= i64::try_from(HEADER_BYTES + count).unwrap_or(0);
            self.relay(number, Frame::new(number, 0, Kind::Output, buffer[..count].to_vec()));
        }
        Some(count)
    }

    fn on_death(&mut self, number: u32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        sandbox.dead.get_or_insert_with(now);
        if let Some(pidfd) = sandbox.pidfd.take() {
            epoll::delete(&self.epoll, pidfd.as_fd())?;
        }
        Ok(())
    }

    /// Counts what the main process of a sandbox uses now, where no cgroup does.
    fn look_at(&mut self, number: u32, pid: i32) {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return };
        let Some(sampled) = &mut sandbox.sampled else { return };
        let memory_bytes = sample::memory_bytes_of(pid).unwrap_or(0);
        let seen = Sample { tasks: 1, memory_bytes };
        // Its result is here: what it used so far is told along, and limits are for what goes on.
        if !sampled.is_near(seen) {
            sampled.look(seen);
        }
    }

    /// The same for all processes of all sandboxes.
    fn look_at_all(&mut self, seen: &HashMap<u32, Sample>) -> io::Result<()> {
        for sandbox in self.sandboxes.values_mut().filter(|it| it.stage == Stage::Ready) {
            let uid = self.slots.config(sandbox.slot).uid;
            let (Some(sampled), Some(seen)) = (&mut sandbox.sampled, seen.get(&uid)) else {
                continue;
            };
            let mut seen = *seen;
            if sampled.is_near(seen) {
                let zygote = self.zygotes.get(&sandbox.zygote).and_then(|zygote| zygote.pid);
                let zygote_bytes = zygote.map_or(0, sample::anonymous_bytes_of);
                let own_bytes = sample::anonymous_bytes_of_user(uid)?;
                seen.memory_bytes = sampled.close(own_bytes, zygote_bytes);
            }
            if let Some(gone) = sampled.look(seen) {
                sandbox.end(gone);
            }
        }
        Ok(())
    }

    /// Ends zygotes that use more memory than is theirs, where no cgroup does.
    fn look_at_zygotes(&mut self, seen: &HashMap<u32, Sample>) -> io::Result<()> {
        let used = seen.get(&self.config.zygote_uid).map_or(0, |sample| sample.memory_bytes);
        if used <= BASE_MEMORY_MIB << 20 {
            return Ok(());
        }
        let numbers: Vec<u32> = self.zygotes.keys().copied().collect();
        for number in numbers {
            if let Some(zygote) = self.zygotes.get_mut(&number) {
                zygote.fail("memory", format!("it used more than {BASE_MEMORY_MIB} MiB"));
            }
            self.bury_zygote_if_failed(number)?;
        }
        Ok(())
    }

    /// Deadlines, and limits that have no event.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        let now = now();
        if self.samples() && self.glance.opens(Totals::read(), now) {
            let seen = sample::of_all_users()?;
            self.look_at_zygotes(&seen)?;
            self.look_at_all(&seen)?;
        }
        for sandbox in self.sandboxes.values_mut().filter(|sandbox| !sandbox.ending()) {
            let slot = self.slots.config(sandbox.slot);
            sandbox.scratch_full = slot.scratch_is_full();
            if slot.counters().processes_refused > sandbox.before.processes_refused {
                sandbox.end(SandboxGone::ProcessLimit);
            }
            if sandbox.stage != Stage::Ready && now.duration_since(sandbox.asked) > START_MAX {
                sandbox.refuse("fork", format!("not confined within {} s", START_MAX.as_secs()));
            }
        }
        let late: Vec<u32> = self
            .zygotes
            .iter()
            .filter(|(_, zygote)| zygote.ready_by.is_some_and(|by| now >= by))
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            if let Some(zygote) = self.zygotes.get_mut(&number) {
                zygote.is_late();
            }
            self.bury_zygote_if_failed(number)?;
        }
        Ok(())
    }
}
