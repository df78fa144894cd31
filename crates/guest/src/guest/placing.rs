//! The first bytes between a forked child and the guest: where it gets its uid, and where the guest looks for
//! itself whether the child is confined.

use std::io;
use std::os::fd::AsFd;

use bulkhead_protocol::FromGuest;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Guest, Token};
use crate::config::Lack;
use crate::fdpass;
use crate::filter::FILTERS_OF_SANDBOX;
use crate::sample;
use crate::sandbox::Stage;
use crate::stages::{Run, Sequence};
use crate::zygote_wire::{SANDBOX_UID, handshake};

impl Guest {
    pub(super) fn on_handshake(&mut self, number: u32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        let mut first = [0_u8; 1];
        let received = match fdpass::receive(&sandbox.link.fd, &mut first) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => {
                sandbox.refuse("fork", error.to_string());
                sandbox.link.ended = true;
                return self.watch_stream(number);
            }
        };
        if received.bytes == 0 {
            sandbox.refuse("fork", "it ended before it was confined".to_owned());
            sandbox.link.ended = true;
            return self.watch_stream(number);
        }
        match (sandbox.stage, first[0], received.pid) {
            (Stage::Forking, handshake::HELLO, Some(pid)) => self.map(number, pid),
            (Stage::Mapped, handshake::READY, _) => self.check(number),
            (_, handshake::FAILED, _) => {
                let mut text = [0_u8; 512];
                let count = rustix::io::read(&sandbox.link.fd, &mut text).unwrap_or(0);
                let text = String::from_utf8_lossy(&text[..count]);
                let (stage, message) = text.trim().split_once(": ").unwrap_or(("fork", &text));
                sandbox.refuse(stage, message.to_owned());
                Ok(())
            }
            _ => {
                sandbox.refuse("fork", "it did not follow the handshake".to_owned());
                Ok(())
            }
        }
    }

    /// Gives the child its uid: maps exactly the slot's into the child's user namespace.
    fn map(&mut self, number: u32, pid: i32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        let uid = self.slots.config(sandbox.slot).uid;
        sandbox.pid = Some(pid);
        let mapping = format!("{SANDBOX_UID} {uid} 1\n");
        let by_number = self.config.lacks.contains(&Lack::ProcessDescriptors);
        let mut pidfd = None;
        let run = Run { by: self.by, sequence: Sequence::Placing };
        let mapped = run.stage("uid_map", || {
            std::fs::write(format!("/proc/{pid}/uid_map"), &mapping)?;
            std::fs::write(format!("/proc/{pid}/gid_map"), &mapping)?;
            if !by_number {
                let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
                pidfd = Some(pidfd_open(pid, PidfdFlags::empty())?);
            }
            Ok(())
        });
        match mapped {
            Ok(()) => {
                sandbox.stage = Stage::Mapped;
                rustix::io::write(&sandbox.link.fd, &[handshake::MAPPED])?;
                sandbox.pidfd = pidfd;
                let sandbox = &self.sandboxes[&number];
                let pidfd = sandbox.pidfd.as_ref().map(AsFd::as_fd);
                pidfd.map_or(Ok(()), |fd| self.watch(fd, Token::Death(number), EventFlags::IN))
            }
            Err(error) => {
                sandbox.refuse(&error.stage, error.message);
                Ok(())
            }
        }
    }

    /// Looks from outside: the child's word that it is confined is not enough.
    fn check(&mut self, number: u32) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&number) else { return Ok(()) };
        let slot = self.slots.config(sandbox.slot);
        let lacks = match sandbox.pid {
            None => Some("process"),
            Some(pid) if !slot.holds(pid) => Some("cgroup"),
            Some(pid) => match std::fs::read_to_string(format!("/proc/{pid}/status")) {
                Ok(status) => lacking(&status, slot.uid, &self.config.lacks),
                Err(_) => Some("process"),
            },
        };
        if let Some(lacks) = lacks {
            sandbox.refuse(lacks, "the child is not confined as it said".to_owned());
            return Ok(());
        }
        if let Some((sampled, pid)) = sandbox.sampled.as_mut().zip(sandbox.pid) {
            sampled.begin(sample::memory_bytes_of(pid).unwrap_or(0));
        }
        sandbox.stage = Stage::Ready;
        rustix::net::sockopt::set_socket_passcred(&sandbox.link.fd, false)?;
        let fork_us = u64::try_from(sandbox.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tell(&FromGuest::SandboxReady { sandbox: number, fork_us });
        Ok(())
    }
}

/// The first restriction that `/proc/PID/status` does not show, of those that this kernel can show.
fn lacking(status: &str, uid: u32, lacks: &[Lack]) -> Option<&'static str> {
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or("").split_whitespace().collect::<Vec<_>>()
    };
    let uid = uid.to_string();
    let all_are = |name: &str, wanted: &str, count: usize| {
        let values = field(name);
        values.len() == count && values.iter().all(|value| *value == wanted)
    };
    let none = "0000000000000000";
    let shows_all = !lacks.contains(&Lack::StatusFields);
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let capabilities = &capabilities[..if shows_all { 5 } else { 4 }];
    let filters: u32 = field("Seccomp_filters").first().and_then(|n| n.parse().ok()).unwrap_or(0);
    if !all_are("Uid", &uid, 4) || !all_are("Gid", &uid, 4) || !field("Groups").is_empty() {
        Some("uid")
    } else if !capabilities.iter().all(|set| all_are(set, none, 1)) {
        Some("capabilities")
    } else if shows_all && !all_are("NoNewPrivs", "1", 1) {
        Some("no_new_privs")
    } else if !all_are("Seccomp", "2", 1) || (shows_all && filters < FILTERS_OF_SANDBOX) {
        Some("seccomp")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &str = "Name:\tnode\nUid:\t9\t9\t9\t9\nGid:\t9\t9\t9\t9\nGroups:\t \n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t4\n";

    #[test]
    fn a_child_that_lacks_any_restriction_is_found_out() {
        assert_eq!(lacking(CONFINED, 9, &[]), None);
        for (from, to, lacks) in [
            ("Uid:\t9\t9\t9\t9", "Uid:\t9\t0\t9\t9", "uid"),
            ("Gid:\t9\t9\t9\t9", "Gid:\t9\t9\t9\t5", "uid"),
            ("Groups:\t ", "Groups:\t0", "uid"),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000000001", "capabilities"),
            ("CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", "capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs"),
            ("Seccomp:\t2", "Seccomp:\t0", "seccomp"),
            ("Seccomp_filters:\t4", "Seccomp_filters:\t3", "seccomp"),
        ] {
            assert_eq!(lacking(&CONFINED.replace(from, to), 9, &[]), Some(lacks), "{to}");
        }
        assert_eq!(lacking("", 9, &[]), Some("uid"));
    }

    #[test]
    fn a_kernel_that_shows_less_is_asked_for_the_rest() {
        let shown = |line: &&str| {
            !["CapAmb", "NoNewPrivs", "Seccomp_filters"].iter().any(|it| line.starts_with(it))
        };
        let less: Vec<&str> = CONFINED.lines().filter(shown).collect();
        let less = less.join("\n");
        assert_eq!(lacking(&less, 9, &[]), Some("capabilities"));
        let check = |text: &str| lacking(text, 9, &[Lack::StatusFields]);
        assert_eq!(check(&less), None);
        assert_eq!(check(&less.replace("Seccomp:\t2", "Seccomp:\t0")), Some("seccomp"));
        assert_eq!(check(&less.replace("CapBnd:\t0", "CapBnd:\t1")), Some("capabilities"));
        assert_eq!(check(&less.replace("Gid:\t9", "Gid:\t0")), Some("uid"));
    }
}
