//! One zygote as the guest sees it: its control socket, what it writes, and the forks it was asked for.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_protocol::{FromGuest, GuestError};
use rustix::io::Errno;

use crate::fdpass;
use crate::sample;
use crate::spawn::Spawned;
use crate::sys::RawPid;
use crate::zygote_wire::{FromZygote, PACKET_BYTES_MAX, ToZygote};

/// How much of a zygote's output is kept to explain why it failed.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Zygote {
    /// `None` once it is reaped.
    pub(crate) pid: Option<RawPid>,
    pub(crate) control: OwnedFd,
    pub(crate) output_pipe: OwnedFd,
    pub(crate) started: Instant,
    /// Until when it must be ready; `None` once it is.
    pub(crate) ready_by: Option<Instant>,
    /// How long that was at first.
    ready_within: Duration,
    output: VecDeque<u8>,
    requests: VecDeque<(ToZygote, Vec<OwnedFd>)>,
    /// Why it failed, until the worker is told.
    pub(crate) failed: Option<GuestError>,
}

impl Zygote {
    pub(crate) fn new(spawned: Spawned, started: Instant, ready_by: Instant) -> Self {
        Self {
            pid: Some(spawned.pid),
            control: spawned.control,
            output_pipe: spawned.output,
            started,
            ready_by: Some(ready_by),
            ready_within: ready_by.saturating_duration_since(started),
            output: VecDeque::new(),
            requests: VecDeque::new(),
            failed: None,
        }
    }

    /// Asks for a fork; the descriptors are closed here once they are sent.
    pub(crate) fn ask(&mut self, request: ToZygote, fds: Vec<OwnedFd>) {
        self.requests.push_back((request, fds));
        self.send_requests();
    }

    /// Whether requests wait for room in the socket.
    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(crate) fn send_requests(&mut self) {
        while let Some((request, fds)) = self.requests.front() {
            let bytes = serde_json::to_vec(request).unwrap_or_default();
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match fdpass::send(&self.control, &bytes, &borrowed) {
                Ok(()) => {
                    self.requests.pop_front();
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(error) => {
                    self.requests.clear();
                    self.fail("zygote", format!("its control socket is broken: {error}"));
                }
            }
        }
    }

    /// The next packet, if one has come. A broken socket or a packet that is none fails the zygote.
    pub(crate) fn receive(&mut self) -> Option<FromZygote> {
        let mut buffer = vec![0_u8; PACKET_BYTES_MAX];
        let mut next = fdpass::receive(&self.control, &mut buffer);
        if matches!(next, Err(Errno::CONNRESET)) {
            // It left without having read all that was said to it, and that is told once, before what it said itself.
            next = fdpass::receive(&self.control, &mut buffer);
        }
        let count = match next {
            Ok(received) if received.bytes == 0 => {
                self.fail("zygote", "it ended".to_owned());
                return None;
            }
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(error) => {
                self.fail("zygote", format!("its control socket is broken: {error}"));
                return None;
            }
        };
        match serde_json::from_slice(&buffer[..count]) {
            Ok(packet) => Some(packet),
            Err(error) => {
                self.fail("zygote", format!("it said what is no packet: {error}"));
                None
            }
        }
    }

    /// Notes the first reason.
    pub(crate) fn fail(&mut self, stage: &str, message: String) {
        self.failed.get_or_insert(GuestError { stage: stage.to_owned(), message });
    }

    /// It was to be ready by now.
    pub(crate) fn is_late(&mut self) {
        let had = self.pid.map(|pid| sample::cpu_time_of(pid).unwrap_or_default());
        let (stage, message) = why_late(had, self.ready_within);
        self.fail(stage, message);
    }

    /// Keeps the end of what it writes, as much as a pipe holds in one turn. `false` at the end of the pipe.
    pub(crate) fn read_output(&mut self) -> bool {
        let mut buffer = [0_u8; 4096];
        for _ in 0..OUTPUT_BYTES_MAX / 1024 {
            match rustix::io::read(&self.output_pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.output.extend(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
            let over = self.output.len().saturating_sub(OUTPUT_BYTES_MAX);
            self.output.drain(..over);
        }
        true
    }

    /// The word to the worker about a zygote that failed.
    pub(crate) fn obituary(&mut self, zygote: u32) -> Option<FromGuest> {
        let error = self.failed.take()?;
        self.read_output();
        let output = String::from_utf8_lossy(self.output.make_contiguous()).into_owned();
        Some(FromGuest::ZygoteFailed { zygote, error, output })
    }
}

/// Whose failure it is that a zygote is not ready, and why. `had` is the CPU time that it has had; `None`: it is gone.
/// Loading is work from beginning to end, so one that had the processor for less than half of its time was kept waiting,
/// by a machine with too much to do. That is not the bundle's failure, and may go better the next time.
fn why_late(had: Option<Duration>, within: Duration) -> (&'static str, String) {
    let seconds = within.as_secs();
    match had {
        None => ("zygote", "it left before it was ready".to_owned()),
        Some(had) if had >= within / 2 => {
            ("zygote", format!("it was not ready within {seconds} s, and busy all the time"))
        }
        Some(had) => (
            "late",
            format!(
                "it was not ready within {seconds} s, of which it had the processor for {:.1} s",
                had.as_secs_f64()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zygote_that_was_kept_waiting_is_not_its_bundles_failure() {
        let seconds = Duration::from_secs;
        let verdict = |had: Option<u64>| {
            let (stage, message) = why_late(had.map(seconds), seconds(30));
            format!("{stage}: {message}")
        };
        assert_eq!(
            [None, Some(30), Some(15), Some(14), Some(0)].map(verdict),
            [
                "zygote: it left before it was ready",
                "zygote: it was not ready within 30 s, and busy all the time",
                "zygote: it was not ready within 30 s, and busy all the time",
                "late: it was not ready within 30 s, of which it had the processor for 14.0 s",
                "late: it was not ready within 30 s, of which it had the processor for 0.0 s",
            ]
        );
    }
}
