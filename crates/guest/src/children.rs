//! A zygote's children, and how it learns that one has ended: from a process descriptor of each, or from signals where
//! the kernel has no such descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::config::Lack;
use crate::sys::{self, Exited};

/// A signal can be taken by a thread that the bundle has started, and its word is then missed: so children are looked
/// at this often in any case.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The children that a zygote has forked.
#[derive(Debug)]
pub(crate) struct Children {
    known: Vec<(i32, Option<OwnedFd>)>,
    /// Where there are no process descriptors.
    signals: Option<OwnedFd>,
}

/// Why a wait came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Woken {
    /// The guest has said something, or is gone.
    pub(crate) guest: bool,
    /// A child may have ended.
    pub(crate) child: bool,
}

impl Children {
    /// Of a process that has none yet.
    ///
    /// # Errors
    /// When signals are needed and can't be watched.
    pub(crate) fn new(lacks: &[Lack]) -> io::Result<Self> {
        let signals = lacks.contains(&Lack::ProcessDescriptors).then(sys::child_events);
        Ok(Self { known: Vec::new(), signals: signals.transpose()? })
    }

    /// Waits for the guest or a child.
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub(crate) fn wait(&self, guest: BorrowedFd<'_>) -> io::Result<Woken> {
        let mut fds = vec![guest];
        fds.extend(self.signals.as_ref().map(AsFd::as_fd));
        fds.extend(self.known.iter().filter_map(|(_, it)| it.as_ref().map(AsFd::as_fd)));
        let by_signal = self.signals.is_some();
        let at_most = Some(LOOK_AGAIN).filter(|_| by_signal && !self.known.is_empty());
        let readable = sys::poll_readable(&fds, at_most)?;
        let child = readable.iter().skip(1).any(|it| *it);
        let late = by_signal && !readable.iter().any(|it| *it);
        Ok(Woken { guest: readable.first().is_some_and(|it| *it), child: child || late })
    }

    /// One more.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)`.
    pub(crate) fn add(&mut self, pid: i32) -> io::Result<()> {
        let descriptor = match &self.signals {
            Some(_) => None,
            None => {
                let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
                Some(pidfd_open(pid, PidfdFlags::empty())?)
            }
        };
        self.known.push((pid, descriptor));
        Ok(())
    }

    /// Those that have ended, reaped.
    ///
    /// # Errors
    /// Those of reading signals; that there are none is no error.
    pub(crate) fn take_ended(&mut self) -> io::Result<Vec<Exited>> {
        if let Some(signals) = &self.signals {
            sys::drain_child_events(signals)?;
        }
        let mut ended = Vec::new();
        self.known.retain(|(pid, _)| match sys::reap_one(*pid) {
            Ok(Some(exited)) => {
                ended.push(exited);
                false
            }
            _ => true,
        });
        Ok(ended)
    }

    /// In a child: nothing of this is its own, and signals come through again.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)`.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.known.clear();
        self.signals.take().map_or(Ok(()), |_| sys::unblock_signals())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(lacks: &[Lack]) {
        let (guest, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut children = Children::new(lacks).unwrap();
        let pid = sys::fork().unwrap();
        if pid == 0 {
            sys::exit_now(7);
        }
        children.add(pid).unwrap();
        loop {
            let woken = children.wait(guest.as_fd()).unwrap();
            assert!(!woken.guest);
            if let Some(exited) = children.take_ended().unwrap().first() {
                assert_eq!((exited.pid, exited.status.exited()), (pid, Some(7)));
                break;
            }
        }
        children.forget().unwrap();
    }

    #[test]
    fn a_childs_end_is_seen_with_and_without_process_descriptors() {
        check(&[]);
        check(&[Lack::ProcessDescriptors]);
    }
}
