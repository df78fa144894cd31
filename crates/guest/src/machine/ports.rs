//! The machine's serial ports (virtio-serial), which are all that it has of the outside.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// To the worker.
pub const STREAM: u32 = 1;

/// From the wall: the parcel.
pub const PARCEL: u32 = 2;

/// To the wall: why the machine ends.
pub const WORDS: u32 = 3;

/// How often a port is looked for, and how long in all. The kernel makes them in the background.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 30_000;

/// Opens a port, as soon as it is there and its other side is connected.
pub(super) fn open(number: u32) -> io::Result<File> {
    let path = format!("/dev/vport0p{number}");
    let mut looks = 0..LOOKS_MAX;
    let again = |looks: &mut std::ops::Range<u32>| {
        std::thread::sleep(LOOK_EVERY);
        let gone = || io::Error::new(io::ErrorKind::TimedOut, format!("no {path}"));
        looks.next().map(drop).ok_or_else(gone)
    };
    let port = loop {
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(port) => break port,
            // The file may be there before the port behind it is.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => {
                again(&mut looks)?;
            }
            Err(error) => return Err(error),
        }
    };
    // Until the kernel knows that the other side is there, a read says "the end".
    while !is_connected(&port)? {
        again(&mut looks)?;
    }
    Ok(port)
}

/// Connected, or has been and has left something to read.
fn is_connected(port: &File) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let flags = polled[0].revents();
    Ok(flags.contains(PollFlags::IN) || !flags.contains(PollFlags::HUP))
}
