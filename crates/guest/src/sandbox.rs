//! One sandbox as the guest sees it: from the request for a fork until nothing of it is left.
//!
//! ```text
//! Forking → (hello) Mapped → (ready, checked) Ready → ending → reclaimed → gone
//! ```
//! What to do next is decided in [`Sandbox::next_step`] from what has been seen so far, in whatever order that came.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bulkhead_protocol::{GuestError, SANDBOX_WINDOW_BYTES, SandboxGone, SandboxLimits, SlotUsage};

use crate::config::RUNTIME_TASKS;
use crate::link::Link;
use crate::sample::Sample;
use crate::slot::Counters;
use crate::sys::{Exited, RawPid, WaitStatus};

/// From the request until the child is confined, at most. Generous: a machine may be very busy, and a start that
/// is given up is work lost.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);

/// How long the guest waits for the word how a dead process ended, and for the rest of its streams.
pub(crate) const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Bytes that may wait for a sandbox that does not read; more end it. The worker keeps to windows far below.
pub(crate) const UNREAD_BYTES_MAX: usize = 96 << 20;

/// How far the child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The zygote was asked.
    Forking,
    /// It runs in a user namespace, which is mapped; it confines itself.
    Mapped,
    /// Confined and checked; frames flow.
    Ready,
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) zygote: u32,
    pub(crate) slot: usize,
    pub(crate) stage: Stage,
    pub(crate) asked: Instant,
    pub(crate) link: Link,
    pub(crate) output: Option<OwnedFd>,
    pub(crate) pid: Option<RawPid>,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Bytes that the worker lets it send; goes below zero by at most one read.
    pub(crate) credit: i64,
    /// CPU time it may use, microseconds.
    pub(crate) cpu_us_max: Option<u64>,
    pub(crate) before: Counters,
    /// Its first result has been passed on.
    pub(crate) answers: bool,
    /// Seen full when last looked at.
    pub(crate) scratch_full: bool,
    /// What ended it, if the guest or the worker did.
    pub(crate) cause: Option<SandboxGone>,
    /// When its main process was found dead.
    pub(crate) dead: Option<Instant>,
    pub(crate) exited: Option<Exited>,
    pub(crate) reclaimer: Option<RawPid>,
    /// How reclaiming ended: `true` is clean.
    pub(crate) reclaimed: Option<bool>,
    pub(crate) reclaimed_at: Option<Instant>,
    /// What epoll was last told to watch for: reading, writing.
    pub(crate) watching: (bool, bool),
    /// The far side hung up while it may not be read; epoll does not watch the stream until it may.
    pub(crate) parked_hangup: bool,
    /// The worker has said something to it: it is parked no longer.
    pub(crate) begun: bool,
    /// Its memory and processes, where no cgroup counts them.
    pub(crate) sampled: Option<Sampled>,
}

/// What was counted of a sandbox in `/proc`, and what it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampled {
    /// Processes and threads it may have.
    pub(crate) tasks: u64,
    memory_bytes_max: u64,
    /// What it shares with its zygote since birth, which is not its own.
    born_with_bytes: u64,
    memory_bytes_peak: u64,
    refused: bool,
}

/// The least that a process has.
const PAGE_BYTES: u64 = 4096;

impl Sampled {
    pub(crate) fn new(limits: &SandboxLimits) -> Self {
        Self {
            tasks: u64::from(limits.processes) + RUNTIME_TASKS,
            memory_bytes_max: limits.memory_mib << 20,
            born_with_bytes: 0,
            memory_bytes_peak: 0,
            refused: false,
        }
    }

    /// From here on it counts.
    pub(crate) fn begin(&mut self, memory_bytes: u64) {
        self.born_with_bytes = memory_bytes;
    }

    /// Takes a look into account; the limit that it shows to be exceeded, if any.
    pub(crate) fn look(&mut self, seen: Sample) -> Option<SandboxGone> {
        let memory_bytes = seen.memory_bytes.saturating_sub(self.born_with_bytes);
        // What it shares with its zygote and changes is not counted, so this is a least value.
        self.memory_bytes_peak = self.memory_bytes_peak.max(memory_bytes).max(PAGE_BYTES);
        // RLIMIT_NPROC lets it come this far and no further.
        self.refused |= seen.tasks >= self.tasks;
        if self.refused {
            return Some(SandboxGone::ProcessLimit);
        }
        (memory_bytes > self.memory_bytes_max).then_some(SandboxGone::OutOfMemory)
    }

    /// Whether memory is to be looked at closely: resident memory counts mapped programs too, and is quick to read.
    pub(crate) fn is_near(&self, seen: Sample) -> bool {
        seen.memory_bytes.saturating_sub(self.born_with_bytes) > self.memory_bytes_max
    }

    /// A close look in place of a quick one: memory of its own, beyond what its zygote has of that.
    pub(crate) fn close(&self, own_bytes: u64, zygote_bytes: u64) -> u64 {
        self.born_with_bytes + own_bytes.saturating_sub(zygote_bytes)
    }
}

/// What is to be done next about a sandbox that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing until something happens.
    Wait,
    /// Kill what is left and wipe the scratch directory.
    Reclaim,
    /// Say that it is gone and free the slot.
    Bury,
}

impl Sandbox {
    pub(crate) fn new(
        zygote: u32,
        slot: usize,
        asked: Instant,
        stream: OwnedFd,
        output: OwnedFd,
        before: Counters,
    ) -> Self {
        Self {
            zygote,
            slot,
            stage: Stage::Forking,
            asked,
            link: Link::new(stream),
            output: Some(output),
            pid: None,
            pidfd: None,
            credit: i64::from(SANDBOX_WINDOW_BYTES),
            cpu_us_max: None,
            before,
            answers: false,
            scratch_full: false,
            cause: None,
            dead: None,
            exited: None,
            reclaimer: None,
            reclaimed: None,
            reclaimed_at: None,
            watching: (false, false),
            parked_hangup: false,
            begun: false,
            sampled: None,
        }
    }

    /// Notes the first reason to end it.
    pub(crate) fn end(&mut self, cause: SandboxGone) {
        self.cause.get_or_insert(cause);
    }

    /// It never came to be.
    pub(crate) fn refuse(&mut self, stage: &str, message: String) {
        self.end(SandboxGone::NotStarted {
            error: GuestError { stage: stage.to_owned(), message },
        });
    }

    /// The process, if it has not taken the slot's uid yet and so is not among those that a reclaimer finds.
    pub(crate) fn unconfined(&self) -> Option<RawPid> {
        let alive = self.dead.is_none() && self.exited.is_none();
        self.pid.filter(|_| alive && self.stage != Stage::Ready)
    }

    pub(crate) fn ending(&self) -> bool {
        self.cause.is_some() || self.dead.is_some()
    }

    pub(crate) fn next_step(&self, now: Instant) -> Step {
        if !self.ending() {
            return Step::Wait;
        }
        if self.reclaimer.is_none() && self.reclaimed.is_none() {
            return Step::Reclaim;
        }
        let Some(reclaimed_at) = self.reclaimed_at else { return Step::Wait };
        // A child that never said hello may not exist: then there is no death to wait for.
        let death_known = self.exited.is_some() || self.pid.is_none();
        let streams_read = self.link.ended && self.output.is_none();
        let patience_over = now.duration_since(reclaimed_at) >= LAST_WORDS_MAX;
        if (death_known && streams_read) || patience_over { Step::Bury } else { Step::Wait }
    }

    /// How it ended, once nothing of it is left.
    pub(crate) fn verdict(&self, after: Counters) -> SandboxGone {
        let oom = after.oom_kills > self.before.oom_kills;
        let status = self.exited.map(|exited| exited.status);
        if let Some(cause) = &self.cause {
            return cause.clone();
        }
        match (status, status.and_then(WaitStatus::signal)) {
            (_, Some(libc::SIGKILL)) if oom => SandboxGone::OutOfMemory,
            (None, _) if oom => SandboxGone::OutOfMemory,
            (_, Some(libc::SIGXCPU)) => SandboxGone::CpuLimit,
            (_, Some(libc::SIGKILL)) if self.cpu_used_up() => SandboxGone::CpuLimit,
            (_, Some(signal)) => SandboxGone::Signalled { signal },
            (Some(status), None) => SandboxGone::Exited { status: status.exited().unwrap_or(-1) },
            // Its zygote died with it and nobody could say: that is a kill from outside.
            (None, _) => SandboxGone::Signalled { signal: libc::SIGKILL },
        }
    }

    fn cpu_used_up(&self) -> bool {
        let used = self.exited.map_or(0, |exited| exited.cpu_us);
        self.cpu_us_max.is_some_and(|max| used >= max)
    }

    pub(crate) fn usage(&self, mut counted: SlotUsage) -> SlotUsage {
        if let Some(exited) = self.exited {
            counted.cpu_us = exited.cpu_us;
            if counted.memory_bytes_peak == 0 {
                counted.memory_bytes_peak = exited.memory_bytes_peak;
            }
        }
        if let Some(sampled) = &self.sampled {
            counted.memory_bytes_peak = sampled.memory_bytes_peak;
            counted.process_refused |= sampled.refused;
        }
        counted.scratch_full |= self.scratch_full;
        counted
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sandbox(now: Instant) -> Sandbox {
        let (ours, _) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let (output, _) = rustix::pipe::pipe().unwrap();
        let before = Counters { oom_kills: 1, processes_refused: 0 };
        Sandbox { pid: Some(7), ..Sandbox::new(1, 0, now, ours, output, before) }
    }

    fn exited(status: i32) -> Option<Exited> {
        Some(Exited { pid: 7, status: WaitStatus(status), cpu_us: 5, memory_bytes_peak: 9 })
    }

    #[test]
    fn a_slot_is_freed_only_when_all_is_dead_wiped_and_read() {
        let now = crate::guest::now();
        let mut it = sandbox(now);
        assert_eq!(it.next_step(now), Step::Wait);
        it.dead = Some(now);
        assert_eq!(it.next_step(now), Step::Reclaim);
        it.reclaimer = Some(9);
        assert_eq!(it.next_step(now), Step::Wait);
        (it.reclaimed, it.reclaimed_at) = (Some(true), Some(now));
        assert_eq!(it.next_step(now), Step::Wait, "its streams still hold words");
        (it.link.ended, it.output) = (true, None);
        assert_eq!(it.next_step(now), Step::Wait, "how it ended is not known");
        assert_eq!(it.next_step(now + LAST_WORDS_MAX), Step::Bury, "but patience ends");
        it.exited = exited(0);
        assert_eq!(it.next_step(now), Step::Bury);
    }

    #[test]
    fn what_is_counted_in_proc_ends_a_sandbox_at_its_limit_and_not_before() {
        let limits = SandboxLimits { memory_mib: 1, cpu_ms: None, processes: 4 };
        let mut it = Sampled::new(&limits);
        it.begin(5 << 20);
        let mut look = |tasks, memory_bytes| it.look(Sample { tasks, memory_bytes });
        assert_eq!(look(19, 6 << 20), None, "what it was born with does not count");
        assert_eq!(look(1, (6 << 20) + 1), Some(SandboxGone::OutOfMemory));
        assert!(it.is_near(Sample { tasks: 1, memory_bytes: (6 << 20) + 1 }));
        assert_eq!(it.close(9 << 20, 8 << 20), 6 << 20);
        let mut look = |tasks, memory_bytes| it.look(Sample { tasks, memory_bytes });
        assert_eq!(look(20, 0), Some(SandboxGone::ProcessLimit), "16 are the runtime's");
        let mut sandbox = sandbox(crate::guest::now());
        sandbox.sampled = Some(it);
        let used = sandbox.usage(SlotUsage::default());
        assert_eq!((used.memory_bytes_peak, used.process_refused), ((1 << 20) + 1, true));
    }

    #[test]
    fn the_verdict_names_what_ended_it() {
        let now = crate::guest::now();
        let same = Counters { oom_kills: 1, processes_refused: 0 };
        let oom = Counters { oom_kills: 2, processes_refused: 0 };
        let check = |status, after, cause: Option<SandboxGone>| {
            let mut it = sandbox(now);
            (it.exited, it.cause) = (exited(status), cause);
            it.verdict(after)
        };
        assert_eq!(check(0, same, None), SandboxGone::Exited { status: 0 });
        assert_eq!(check(3 << 8, same, None), SandboxGone::Exited { status: 3 });
        assert_eq!(check(6, same, None), SandboxGone::Signalled { signal: 6 });
        assert_eq!(check(9, same, None), SandboxGone::Signalled { signal: 9 });
        assert_eq!(check(9, oom, None), SandboxGone::OutOfMemory);
        assert_eq!(check(24, same, None), SandboxGone::CpuLimit);
        let ignored = Sandbox { exited: exited(9), cpu_us_max: Some(5), ..sandbox(now) };
        assert_eq!(ignored.verdict(same), SandboxGone::CpuLimit, "it ignored SIGXCPU");
        assert_eq!(check(9, oom, Some(SandboxGone::Killed)), SandboxGone::Killed);
    }
}
