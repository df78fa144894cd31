//! A non-blocking stream of frames: bytes wait in a bounded buffer until the other side takes them.

use std::os::fd::OwnedFd;

use bulkhead_protocol::{Decoder, Frame, FrameError};
use rustix::io::Errno;

/// Bytes read at once; also what one turn of one sandbox may bring, so that turns are fair.
const READ_BYTES: usize = 64 * 1024;

/// A stream of frames and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) fd: OwnedFd,
    decoder: Decoder,
    out: Vec<u8>,
    written: usize,
    /// The other side has closed, or the stream is broken.
    pub(crate) ended: bool,
}

impl Link {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, decoder: Decoder::default(), out: Vec::new(), written: 0, ended: false }
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Adds a frame to what is written next.
    pub(crate) fn push(&mut self, frame: &Frame) {
        frame.encode(&mut self.out);
    }

    /// Writes as much as goes now.
    pub(crate) fn flush(&mut self) {
        while self.waiting() > 0 && !self.ended {
            // Not every stream is a socket: a virtual machine's is a character device. A broken pipe is an error and
            // no signal, for the program's start has seen to that.
            match rustix::io::write(&self.fd, &self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => self.ended = true,
            }
        }
        if self.waiting() == 0 || self.ended {
            self.out.clear();
            self.written = 0;
            // A burst must not keep its memory for good.
            self.out.shrink_to(READ_BYTES);
        } else if self.written > READ_BYTES {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Reads once and returns the frames that are whole now. Sets `ended` at the end of the stream.
    pub(crate) fn read_frames(&mut self) -> Result<Vec<Frame>, FrameError> {
        let mut buffer = [0_u8; READ_BYTES];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.decoder.feed(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.ended = true,
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }
}
