//! One zygote as the guest sees it: its control socket, what it writes, and the forks it was asked for.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use bulkhead_protocol::{FromGuest, GuestError};
use rustix::io::Errno;

use crate::fdpass;
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
        let count = match fdpass::receive(&self.control, &mut buffer) {
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
