//! From a sandbox that ends to a free slot.

use std::io;

use bulkhead_protocol::FromGuest;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::{Guest, now};
use crate::reclaim;
use crate::sandbox::Step;
use crate::sys;

impl Guest {
    /// Takes the next step of every sandbox that ends.
    pub(super) fn settle_all(&mut self) -> io::Result<()> {
        let now = now();
        let steps: Vec<(u32, Step)> = self
            .sandboxes
            .iter()
            .map(|(number, sandbox)| (*number, sandbox.next_step(now)))
            .filter(|(_, step)| *step != Step::Wait)
            .collect();
        for (number, step) in steps {
            match step {
                Step::Wait => {}
                Step::Reclaim => self.reclaim(number)?,
                Step::Bury => self.bury(number),
            }
        }
        Ok(())
    }

    fn reclaim(&mut self, number: u32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        // A child that has not taken the slot's uid yet is not among those that the reclaimer can kill.
        if let Some(pidfd) = &sandbox.pidfd {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let (None, Some(pid)) = (&sandbox.pidfd, sandbox.unconfined()) {
            sys::kill(pid)?;
        }
        sandbox.scratch_full |= self.slots.config(sandbox.slot).scratch_is_full();
        sandbox.reclaimer = Some(reclaim::start(self.slots.config(sandbox.slot), self.by)?);
        Ok(())
    }

    fn bury(&mut self, number: u32) {
        let Some(sandbox) = self.sandboxes.remove(&number) else { return };
        let slot = self.slots.config(sandbox.slot);
        let gone = sandbox.verdict(slot.counters());
        let usage = sandbox.usage(slot.usage(sandbox.before));
        if sandbox.reclaimed == Some(true) {
            self.slots.give_back(sandbox.slot);
        }
        // A slot that could not be made as new is never used again; the compartment ends when none is left.
        self.tell(&FromGuest::SandboxGone { sandbox: number, gone, usage });
    }
}
